"""What an order can cost at worst, transaction by transaction."""

from __future__ import annotations

from keeper.core.ledger import Stake, base_to_wad_ceil
from keeper.core.plan import Plan
from keeper.core.profit import gas_cost_base


def stakes_of(
    plan: Plan, gas_limits: tuple[int, ...], max_fee_wei: int, native_price_base: int, base_unit: int
) -> tuple[Stake, ...]:
    """One per call: all of its gas at the highest fee; what it repays; and as its loss that gas and what it repays beyond what
    it brings. At the prices that the plan was decided on, rounded against us."""
    stakes = []
    for call, gas_limit in zip(plan.calls, gas_limits, strict=True):
        repaid_base = max(call.at_earliest.repaid_base, call.at_latest.repaid_base) + 1
        received_base = min(call.at_earliest.received_base, call.at_latest.received_base)
        loss_base = gas_cost_base(gas_limit, max_fee_wei, native_price_base) + max(0, repaid_base - received_base)
        stakes.append(
            Stake(
                gas_wei=gas_limit * max_fee_wei,
                notional_wad=base_to_wad_ceil(repaid_base, base_unit),
                loss_wad=base_to_wad_ceil(loss_base, base_unit),
            )
        )
    return tuple(stakes)
