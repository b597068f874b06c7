"""From a sale to the steps that the executor is told, each with its limit.

A limit is a price: the executor asks of less than the step's amount proportionally less. A step that is to sell all that came
in is therefore told twice the amount planned and twice the limit, so that neither a little more (interest until the block) nor
less (a borrower who was left out) leaves anything behind or weakens it.
"""

from __future__ import annotations

from collections.abc import Sequence

from keeper.core.selling.exchange import Hop
from keeper.core.selling.slippage import SlippagePolicy, increased, lessened
from keeper.core.selling.split import Leg, Sale
from keeper.core.swap import Filled, Route, Selling, SwapStep
from keeper.core.units import Address

_ROOM = 2
"""Times the planned amount: so much a step sells if it comes in."""


def route_of_sale(
    venue: str, token_in: Address, token_out: Address, sale: Sale, policy: SlippagePolicy, *, rest: bool = True
) -> Route:
    """Steps in order, leg by leg. The last leg takes what is left of the token, whatever that is; without `rest` only what
    was planned for it."""
    steps: list[SwapStep] = []
    least_out_raw = 0
    for place, leg in enumerate(sale.legs):
        takes_rest = rest and place == len(sale.legs) - 1
        tolerance_bps = leg_tolerance_bps(leg, policy) // len(leg.path.hops)
        incoming_raw = planned_raw = leg.amount_in_raw
        for turn, (hop, filled) in enumerate(zip(leg.path.hops, leg.fills, strict=True)):
            limit_raw = _limit_raw(hop, filled, tolerance_bps)
            times = _ROOM if turn or takes_rest else 1
            steps.append(hop.pool.step(hop.token_in, planned_raw * times, limit_raw * times, exact_out=False))
            # At its limit a hop hands less to the next one, whose own limit is then lower in proportion.
            incoming_raw = limit_raw * incoming_raw // planned_raw
            planned_raw = filled.amount_out_raw
        least_out_raw += incoming_raw
    return Route(
        venue=venue,
        token_in=token_in,
        token_out=token_out,
        amount_in_raw=sale.amount_in_raw,
        amount_out_raw=sale.amount_out_raw,
        least_out_raw=least_out_raw,
        most_in_raw=sale.amount_in_raw,
        steps=tuple(steps),
        gas=sale.gas,
    )


def route_of_purchase(
    venue: str, token_in: Address, token_out: Address, leg: Leg, most_in_raw: int, policy: SlippagePolicy
) -> tuple[Route, tuple[Filled, ...]] | None:
    """And what each hop then does. Exactly what was asked for comes out; of the first token no more goes in than
    `most_in_raw`, and None where it takes more. With two hops the first one buys a little more than the second is expected to
    need; what is left of it stays with us, and is counted as nothing."""
    hops = leg.path.hops
    tolerance_bps = leg_tolerance_bps(leg, policy) // len(hops)
    steps: list[SwapStep] = []
    fills: list[Filled] = []
    asked_raw = leg.amount_out_raw
    for hop in reversed(hops):
        bought = hop.pool.buy(hop.token_in, asked_raw)
        if bought is None:
            return None
        limit_raw = increased(bought.amount_in_raw, tolerance_bps)
        if hop is hops[0]:
            limit_raw = min(most_in_raw, limit_raw)
        steps.insert(0, hop.pool.step(hop.token_in, asked_raw, limit_raw, exact_out=True))
        fills.insert(0, bought)
        asked_raw = limit_raw
    if fills[0].amount_in_raw > most_in_raw:
        return None
    route = Route(
        venue=venue,
        token_in=token_in,
        token_out=token_out,
        amount_in_raw=fills[0].amount_in_raw,
        amount_out_raw=leg.amount_out_raw,
        least_out_raw=leg.amount_out_raw,
        most_in_raw=steps[0].limit_raw,
        steps=tuple(steps),
        gas=sum(filled.gas for filled in fills),
        selling=Selling.COVER,
    )
    return route, tuple(fills)


def leg_tolerance_bps(leg: Leg, policy: SlippagePolicy) -> int:
    """By the rule of `keeper.core.selling.slippage`, for the leg as a whole."""
    return policy.tolerance_bps(leg.amount_out_raw, _again_raw(leg.path.hops, leg.fills, leg.amount_in_raw))


def _again_raw(hops: Sequence[Hop], fills: Sequence[Filled], amount_in_raw: int) -> int | None:
    """What the same amount brings right after the leg."""
    amount_raw = amount_in_raw
    for hop, filled in zip(hops, fills, strict=True):
        again = filled.after.sell(hop.token_in, amount_raw)
        if again is None:
            return None
        amount_raw = again.amount_out_raw
    return amount_raw


def _limit_raw(hop: Hop, filled: Filled, tolerance_bps: int) -> int:
    return lessened(filled.amount_out_raw, tolerance_bps) if hop.pool.takes_exact_orders else filled.amount_out_raw
