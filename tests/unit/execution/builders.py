"""Plans, orders and simulations with plain numbers, for tests that need no chain."""

from __future__ import annotations

from keeper.core.block import BlockRef, Call
from keeper.core.ledger import Stake
from keeper.core.lending import Health, LiquidationEvent, Pair, Position, Quote
from keeper.core.order import FeeQuote, Offer, Order, Profit, SimulatedCall, Simulation
from keeper.core.outcome import Verdict
from keeper.core.plan import Plan, PlannedCall, Window
from keeper.core.units import WAD, Address, Hash32
from tests.unit.execution.fakes import BORROWER, CHAIN_ID, FEES, LIQUIDATE, POOL, TOKEN, head
from tests.unit.execution.fakes import signer as keys

KEEPER = keys().address
MARKET = Address(b"\xaa" * 20)
COLLATERAL = Address(b"\xcc" * 20)
PAIR = Pair(0, 1, COLLATERAL, TOKEN, threshold_bps=8_000, bonus_bps=10_500)


def health(health_factor_wad: int) -> Health:
    return Health(health_factor_wad, 10**11, 10**11, 0, 8_000, 7_500, 8_000 * 10**11)


def position(borrower: Address = BORROWER) -> Position:
    return Position(borrower, {0: 10**18}, {1: 10**18}, frozenset({0}), 0)


def quote(debt_to_cover_raw: int, health_after_wad: int) -> Quote:
    return Quote(
        debt_to_cover_raw=debt_to_cover_raw,
        repaid_raw=debt_to_cover_raw,
        seized_raw=2 * debt_to_cover_raw,
        protocol_fee_raw=1,
        received_raw=2 * debt_to_cover_raw - 1,
        repaid_base=debt_to_cover_raw,
        seized_base=debt_to_cover_raw + 5,
        received_base=debt_to_cover_raw + 4,
        position_after=position(),
        health_after=health(health_after_wad),
        bad_debt_base=0,
    )


def plan(
    verdict: Verdict = Verdict.REACHES_TARGET,
    *,
    calls: int = 1,
    borrower: Address = BORROWER,
    block: BlockRef | None = None,
) -> Plan:
    after_wad = 105 * WAD // 100
    each = quote(1_000, after_wad)
    return Plan(
        market=MARKET,
        borrower=borrower,
        block=block or head(1),
        window=Window(1_012, 1_036),
        calls=(PlannedCall(PAIR, 1_000, None, each, each),) * calls,
        verdict=verdict,
        target_wad=after_wad,
        health_before=health(9 * WAD // 10),
        health_after=health(after_wad),
    )


def order(
    verdict: Verdict = Verdict.REACHES_TARGET,
    *,
    calls: int = 1,
    borrower: Address = BORROWER,
    gas: int = 300_000,
    gas_limit: int = 500_000,
    attempt: str = "1-b0b0b0b0",
    fees: FeeQuote = FEES,
    signer: Address | None = None,
) -> Order:
    return Order(
        attempt=attempt,
        chain_id=CHAIN_ID,
        offer=Offer(plan(verdict, calls=calls, borrower=borrower), (gas,) * calls, fees, Profit(1_010, 1_000, 1)),
        signer=signer or KEEPER,
        spender=POOL,
        calls=tuple(Call(POOL, LIQUIDATE + index.to_bytes(32, "big")) for index in range(calls)),
        gas_limits=(gas_limit,) * calls,
        stakes=(Stake(gas_limit * fees.max_fee_wei, 10 * WAD, WAD),) * calls,
    )


def simulation(of: Order, *, health_after_wad: int | None = None) -> Simulation:
    """One that agrees with the order's plan."""
    simulated = tuple(
        SimulatedCall(
            gas_used=300_000,
            logs=(),
            liquidations=(
                LiquidationEvent(
                    COLLATERAL, TOKEN, of.borrower, call.at_latest.repaid_raw, call.at_latest.received_raw, POOL, 0
                ),
            ),
        )
        for call in of.plan.calls
    )
    planned_wad = of.plan.health_after.health_factor_wad
    return Simulation(simulated, planned_wad if health_after_wad is None else health_after_wad)


UNKNOWN_HASH = Hash32(b"\x77" * 32)
