"""Values of the flow for tests of what is recorded: one borrower, one plan of two calls, what came of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from keeper.core import event_build
from keeper.core.block import BlockRef, Call, Log
from keeper.core.checkpoint import CHECKPOINT_FORMAT, Checkpoint, Stage
from keeper.core.events import Event
from keeper.core.intent import Intent
from keeper.core.lending import Health, LiquidationEvent, Pair, Position, Quote
from keeper.core.order import (
    Answer,
    FeeQuote,
    MinedCall,
    Offer,
    Order,
    Outcome,
    Profit,
    SentTransaction,
    Simulation,
    Submission,
    attempt_name,
)
from keeper.core.outcome import Verdict
from keeper.core.plan import Clip, Plan, PlannedCall, Window
from keeper.core.standing import Standing
from keeper.core.units import WAD, Address, Hash32

CHAIN = "testchain"
MARKET = Address(bytes.fromhex("a0" * 20))
OTHER_MARKET = Address(bytes.fromhex("a1" * 20))
BORROWER = Address(bytes.fromhex("b0" * 20))
OTHER_BORROWER = Address(bytes.fromhex("b1" * 20))
LIQUIDATOR = Address(bytes.fromhex("c0" * 20))
WETH = Address(bytes.fromhex("d0" * 20))
USDC = Address(bytes.fromhex("d1" * 20))
ATTEMPT = attempt_name(100, BORROWER)


def seen(block_number: int, borrower: Address = BORROWER) -> Event:
    return event_build.seen(CHAIN, MARKET, block_number, borrower, 10**17)


def intent(nonce: int, name: int | None = None) -> Intent:
    transaction_hash = Hash32((nonce if name is None else name).to_bytes(32, "big"))
    return Intent(31_337, LIQUIDATOR, nonce, transaction_hash, b"\x02\x03", ATTEMPT, BORROWER, 0, 100)


def block(number: int) -> BlockRef:
    return BlockRef(
        number=number,
        hash=Hash32(number.to_bytes(32, "big")),
        parent_hash=Hash32((number - 1).to_bytes(32, "big")),
        timestamp_s=1_800_000_000 + 12 * number,
        base_fee_wei=7,
        gas_limit=30_000_000,
    )


def checkpoint(number: int, stage: Stage = Stage.BOOK, **changes: Any) -> Checkpoint:
    plain = Checkpoint(
        chain=CHAIN,
        chain_id=31_337,
        market=MARKET,
        protocol="toy",
        rules="toy 1",
        format=CHECKPOINT_FORMAT,
        stage=stage,
        block=block(number),
        facts='{"indexes_ray":{}}',
        borrowers=b"",
        rows=b"rows",
    )
    return replace(plain, **changes)


def health(health_factor_wad: int) -> Health:
    return Health(health_factor_wad, 200_000_000_00, 150_000_000_00, 0, 8_250, 8_000, 165 * 10**14)


def standing(reason: str = "toxic", health_factor_wad: int = 9 * WAD // 10, detail: str = "") -> Standing:
    return Standing(reason, detail, None, health_factor_wad)


def planned_call(repaid_raw: int, after_wad: int, clip: Clip | None) -> PlannedCall:
    quote = Quote(
        debt_to_cover_raw=repaid_raw,
        repaid_raw=repaid_raw,
        seized_raw=5 * 10**17,
        protocol_fee_raw=10**15,
        received_raw=499 * 10**15,
        repaid_base=95_000_000_00,
        seized_base=100_000_000_00,
        received_base=99_800_000_00,
        position_after=Position(BORROWER, {}, {}, frozenset(), 0),
        health_after=health(after_wad),
        bad_debt_base=0,
    )
    return PlannedCall(Pair(0, 1, WETH, USDC, 8_250, 10_500), repaid_raw, clip, quote, quote)


def prices() -> dict[Address, int | None]:
    """One of the two is not known."""
    return {WETH: 3_000 * 10**8, USDC: None}


def plan() -> Plan:
    return Plan(
        market=MARKET,
        borrower=BORROWER,
        block=block(100),
        window=Window(1_800_001_212, 1_800_001_224),
        calls=(
            planned_call(950_000_000, 98 * WAD // 100, Clip.BELOW_ONE),
            planned_call(120_000_000, 105 * WAD // 100, None),
        ),
        verdict=Verdict.REACHES_TARGET,
        target_wad=105 * WAD // 100,
        health_before=health(97 * WAD // 100 + 3),
        health_after=health(105 * WAD // 100 + 7),
    )


def order() -> Order:
    offer = Offer(plan(), (300_000, 250_000), FeeQuote(10**9, 10**8, 3 * 10**9), Profit(1_000, 900, 40))
    calls = (Call(MARKET, b"\x01"), Call(MARKET, b"\x02"))
    return Order(ATTEMPT, 31_337, offer, LIQUIDATOR, MARKET, calls, (400_000, 350_000))


def submission(mode: str = "live") -> Submission:
    live = mode != "dry"
    transactions = tuple(
        SentTransaction(
            index,
            Hash32(bytes([0xE0 + index]) * 32) if live else None,
            5 + index if live else None,
            Answer.ACCEPTED if live else Answer.NOT_SENT,
        )
        for index in range(2)
    )
    return Submission(order(), mode, 100, transactions, Simulation((), 105 * WAD // 100 + 9))


def mined_call(index: int, *, succeeded: bool = True) -> MinedCall:
    log = Log(MARKET, (b"\x01" * 32,), b"", 101, block(101).hash, Hash32(bytes([0xE0 + index]) * 32), 4 + index)
    return MinedCall(
        call_index=index,
        transaction_hash=Hash32(bytes([0xE0 + index]) * 32),
        block=block(101),
        succeeded=succeeded,
        gas_used=290_000,
        effective_gas_price_wei=11 * 10**8,
        logs=(log,) if succeeded else (),
        revert=None if succeeded else "HealthFactorNotBelowThreshold",
    )


def outcome() -> Outcome:
    return Outcome(
        attempt=ATTEMPT,
        borrower=BORROWER,
        market=MARKET,
        mined=(mined_call(0), mined_call(1)),
        liquidations=tuple(
            LiquidationEvent(WETH, USDC, BORROWER, 950_000_000, 499 * 10**15, LIQUIDATOR, 4 + index)
            for index in range(2)
        ),
        health_before_wad=97 * WAD // 100 + 3,
        health_planned_wad=105 * WAD // 100 + 7,
        target_wad=105 * WAD // 100,
        health_after_wad=105 * WAD // 100 + 11,
        model_error_wad=0,
        amounts_match=True,
        disturbed=False,
        restored=True,
        profit=Profit(1_000, 900, 40),
    )


def failed_outcome() -> Outcome:
    return replace(
        outcome(),
        mined=(mined_call(0, succeeded=False),),
        liquidations=(),
        health_after_wad=None,
        model_error_wad=None,
        amounts_match=None,
        restored=False,
        profit=None,
        detail="the contract refused the first call",
    )
