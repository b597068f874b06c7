"""What an order can cost at worst, transaction by transaction."""

from __future__ import annotations

from collections.abc import Sequence

from keeper.core.ledger import Stake, base_to_wad_ceil
from keeper.core.plan import Plan, PlannedCall
from keeper.core.profit import gas_cost_base


def stakes_of(
    plan: Plan,
    gas_limits: tuple[int, ...],
    max_fee_wei: int,
    native_price_base: int,
    base_unit: int,
    data_fee_wei: int = 0,
) -> tuple[Stake, ...]:
    """One per call, each a transaction of its own: all of its gas at the highest fee, and a rollup's data fee at worst; what it
    repays; and as its loss those fees and what it repays beyond what it brings. At the prices that the plan was decided on,
    rounded against us."""
    stakes = []
    for call, gas_limit in zip(plan.calls, gas_limits, strict=True):
        lost_base = kept_at_loss_base([call])
        stakes.append(stake([call], gas_limit, max_fee_wei, lost_base, native_price_base, base_unit, data_fee_wei))
    return tuple(stakes)


def kept_at_loss_base(calls: Sequence[PlannedCall]) -> int:
    """What calls whose collateral is kept repay beyond what it is worth."""
    received = [min(call.at_earliest.received_base, call.at_latest.received_base) for call in calls]
    return max(0, sum(_repaid_base(call) for call in calls) - sum(received))


def stake(
    calls: Sequence[PlannedCall],
    gas_limit: int,
    max_fee_wei: int,
    lost_base: int,
    native_price_base: int,
    base_unit: int,
    data_fee_wei: int,
) -> Stake:
    """Of one transaction that makes these calls and can lose so much besides its gas."""
    loss_base = gas_cost_base(gas_limit, max_fee_wei, native_price_base, data_fee_wei) + lost_base
    return Stake(
        gas_wei=gas_limit * max_fee_wei + data_fee_wei,
        notional_wad=base_to_wad_ceil(sum(_repaid_base(call) for call in calls), base_unit),
        loss_wad=base_to_wad_ceil(loss_base, base_unit),
    )


def _repaid_base(call: PlannedCall) -> int:
    """Rounded up, at the worse end of the window."""
    return max(call.at_earliest.repaid_base, call.at_latest.repaid_base) + 1
