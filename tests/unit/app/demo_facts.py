"""A small demo as the keeper journals it: one borrower restored in two calls, one toxic, one healthy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from keeper.app.demo import DemoResult
from keeper.app.demo_check import CASES, Account, Readings
from keeper.app.demo_record import Record, Token
from keeper.cli.render import short_address
from keeper.core import attempt_build, event_build
from keeper.core.events import Event
from keeper.core.lending import LiquidationEvent
from keeper.core.order import Outcome, Profit
from keeper.core.outcome import Reason, Verdict
from keeper.core.standing import ORDERED, Standing
from keeper.core.units import WAD, Address
from keeper.devnet.openings import Opening
from tests.unit.store import facts

RESTORED, TOXIC, HEALTHY = facts.BORROWER, facts.OTHER_BORROWER, Address(bytes.fromhex("b2" * 20))
RESTORED_NAME, TOXIC_NAME = f"sequence {short_address(RESTORED)}", f"toxic {short_address(TOXIC)}"
TOKENS = {facts.WETH: Token("WETH", 18), facts.USDC: Token("USDC", 6)}
TARGET_WAD = 105 * WAD // 100
AFTER_WAD = TARGET_WAD + 11
CRASH_BLOCK, INCLUSION_BLOCK, FINAL_BLOCK = 100, 101, 102
USD = 10**8


def outcome() -> Outcome:
    """Two calls on one pair: 950 and 120 USDC repaid, 0.499 and 0.0625 WETH received."""
    amounts = ((950_000_000, 499 * 10**15), (120_000_000, 625 * 10**14))
    return replace(
        facts.outcome(),
        liquidations=tuple(
            LiquidationEvent(facts.WETH, facts.USDC, RESTORED, repaid_raw, received_raw, facts.LIQUIDATOR, index)
            for index, (repaid_raw, received_raw) in enumerate(amounts)
        ),
        profit=Profit(received_base=1_123 * USD, repaid_base=1_070 * USD, gas_base=2 * USD),
    )


def toxic() -> Standing:
    return Standing(Reason.TOXIC, "no call helps", Verdict.TOXIC, 7 * WAD // 10)


def ordered() -> Standing:
    return Standing(ORDERED, "sent", Verdict.REACHES_TARGET, 97 * WAD // 100, facts.ATTEMPT)


def empty_record() -> Record:
    return Record({RESTORED: "sequence", TOXIC: "toxic", HEALTHY: "long"}, TOKENS)


def opening_events() -> list[Event]:
    return [
        event_build.market_verified(
            facts.CHAIN, facts.MARKET, 99, protocol="aave_v3", revision="Aave v3.6", checked_borrowers=50
        ),
        attempt_build.decided(facts.CHAIN, facts.ATTEMPT, facts.plan(), facts.prices()),
        attempt_build.sent(facts.CHAIN, facts.submission()),
    ]


def sent_record() -> Record:
    """The attempt is under way, the toxic borrower has its reason."""
    record = empty_record()
    for event in opening_events():
        record.hear(event)
    record.judge(CRASH_BLOCK, {RESTORED: ordered(), TOXIC: toxic()})
    return record


def settled_record(result: Outcome | None = None) -> Record:
    record = sent_record()
    for event in attempt_build.outcome_events(facts.CHAIN, result or outcome()):
        record.hear(event)
    record.judge(FINAL_BLOCK, {TOXIC: toxic()})
    return record


def openings() -> list[Opening]:
    return [Opening(each, "long", (), (), 1 if each == RESTORED else 0) for each in (RESTORED, TOXIC, HEALTHY)]


def readings(after_wad: int = AFTER_WAD, toxic_collateral_base: int = 1_100 * USD) -> Readings:
    sick = Account(toxic_collateral_base, 1_000 * USD, 7 * WAD // 10)
    fine = Account(3_000 * USD, 1_000 * USD, 2 * WAD)
    return Readings(
        crash={RESTORED: Account(1_200 * USD, 1_000 * USD, 97 * WAD // 100), TOXIC: sick, HEALTHY: fine},
        final_block=FINAL_BLOCK,
        final={RESTORED: Account(700 * USD, 500 * USD, after_wad), TOXIC: sick, HEALTHY: fine},
        after={facts.ATTEMPT: Account(700 * USD, 500 * USD, after_wad)},
    )


def result(record: Record | None = None, found: Sequence[str] = (), after_wad: int = AFTER_WAD) -> DemoResult:
    shown: dict[str, list[Address]] = {case: [] for case in CASES}
    shown |= {"sequence": [RESTORED], "toxic": [TOXIC]}
    return DemoResult(record or settled_record(), readings(after_wad), shown, found, 12.34)
