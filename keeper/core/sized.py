"""Sized calls and what can be said about them: the small steps that the planner is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keeper.core.lending import Health, Pair, Position, Quote, Refusal
from keeper.core.outcome import Reason, Skip
from keeper.core.plan import Clip
from keeper.core.size import PairSizer, Scenario, least_true
from keeper.core.units import HEALTH_ONE_WAD

_REASON_ORDER = (
    Reason.UNPRICEABLE,
    Reason.SELF_LIQUIDATION,
    Reason.SEQUENCER_SENTINEL,
    Reason.RESERVE_INACTIVE,
    Reason.RESERVE_PAUSED,
    Reason.GRACE_PERIOD,
    Reason.NO_COLLATERAL_LIQUIDITY,
    Reason.DUST_GAP,
    Reason.ZERO_BONUS,
    Reason.NOT_COLLATERAL,
)


@dataclass(frozen=True, slots=True)
class Sized:
    """A call with its quotes, one per scenario."""

    pair: Pair
    request_raw: int
    clip: Clip | None
    quotes: tuple[Quote, ...]

    @property
    def worst(self) -> Health:
        return min((quote.health_after for quote in self.quotes), key=lambda health: health.health_factor_wad)

    @property
    def loss_base(self) -> int:
        """What the borrower loses beyond the debt repaid, at the latest scenario."""
        return self.quotes[-1].seized_base - self.quotes[-1].repaid_base


CallSequence = tuple[Sized, ...]


def sized(sizer: PairSizer[Any, Any], request_raw: int, clip: Clip | None) -> Sized:
    quotes = sizer.quotes(request_raw)
    assert not isinstance(quotes, Refusal), "only accepted requests are sized"
    return Sized(sizer.pair, request_raw, clip, quotes)


def follow(scenarios: Sequence[Scenario], call: Sized) -> tuple[Scenario, ...]:
    """The scenarios after a call, the earliest first, the latest last.

    Calls of a sequence may be mined apart. Health is monotone in the second of each single call but for rounding, so it
    is at its worst where the first calls are mined at the earliest second and the others at the latest: from the
    earliest scenario both ways lead on, from every other one only the latest. The first of these is taken at the worst
    that any second between may leave behind.
    """
    after = [quote.position_after for quote in call.quotes]
    latest_s = scenarios[-1].timestamp_s
    return (
        Scenario(scenarios[0].timestamp_s, after[0]),
        Scenario(latest_s, worst_between(call)),
        *(Scenario(latest_s, position) for position in after[1:]),
    )


def worst_between(call: Sized) -> Position:
    """The least collateral and the most debt that the call may leave behind at any second of the window.

    What is repaid and seized may step by whole units with the second (a full clear, a share of a growing debt), and the
    burns round by a unit each: the steps between the ends, and two units, are taken off the worse end.
    """
    early, late = call.quotes[0], call.quotes[-1]
    position, pair = early.position_after, call.pair
    collateral, debt = dict(position.collateral_scaled), dict(position.debt_scaled)
    left = min(quote.position_after.collateral_scaled.get(pair.collateral_id, 0) for quote in (early, late))
    left -= abs(late.seized_raw - early.seized_raw) + 2
    owed = max(quote.position_after.debt_scaled.get(pair.debt_id, 0) for quote in (early, late))
    collateral.pop(pair.collateral_id, None)
    debt.pop(pair.debt_id, None)
    if left > 0:
        collateral[pair.collateral_id] = left
    if owed > 0:
        debt[pair.debt_id] = owed + 2
    return Position(position.borrower, collateral, debt, position.collateral_enabled, position.category)


def units_worse(position: Position, pair: Pair, units: int) -> Position:
    """The position with `units` more of the pair's debt and fewer of its collateral, where it has them."""
    collateral, debt = dict(position.collateral_scaled), dict(position.debt_scaled)
    if collateral.get(pair.collateral_id, 0) > units:
        collateral[pair.collateral_id] -= units
    if pair.debt_id in debt:
        debt[pair.debt_id] += units
    return Position(position.borrower, collateral, debt, position.collateral_enabled, position.category)


def all_worse(position: Position, units: int) -> tuple[Position, int]:
    """The position with `units` less of each collateral, if it has them, and more of each debt; and of how many balances."""
    collateral = {each: scaled - units for each, scaled in position.collateral_scaled.items() if scaled > units}
    debt = {each: scaled + units for each, scaled in position.debt_scaled.items()}
    worse = Position(position.borrower, collateral, debt, position.collateral_enabled, position.category)
    return worse, len(position.collateral_scaled) + len(debt)


def largest_below_one(sizer: PairSizer[Any, Any], low: int, high: int) -> int | None:
    """The largest request in [low, high] that leaves every scenario below 1; None when even `low` does not."""

    def too_much(request_raw: int) -> bool:
        health = sizer.best_health_wad(request_raw)
        return health is None or health >= HEALTH_ONE_WAD

    if too_much(low):
        return None
    high = sizer.full_effect(low, high)
    if not too_much(high):
        return high
    first = least_true(low, high, low, 1, too_much)
    return None if first is None else first - 1


def clip_of(sizer: PairSizer[Any, Any], request_raw: int) -> Clip | None:
    """What kept a call that uses all that is allowed from being larger."""
    quotes = sizer.quotes(request_raw)
    if isinstance(quotes, Refusal):
        return None
    after = quotes[-1].position_after
    if sizer.pair.collateral_id not in after.collateral_scaled:
        return Clip.COLLATERAL
    if sizer.pair.debt_id not in after.debt_scaled:
        return Clip.DEBT
    more = sizer.quotes(request_raw + 1)
    if isinstance(more, Refusal):
        dust = more.skip.reason is Reason.DUST_GAP
        return Clip.DUST_JUMP if dust else Clip.LIQUIDITY
    if more[-1].repaid_raw == quotes[-1].repaid_raw:
        return Clip.CLOSE_FACTOR
    return None


def foremost(skips: Sequence[Skip]) -> Skip:
    """The reason that tells most, of a position without a usable pair."""
    if not skips:
        return Skip(Reason.NOT_COLLATERAL, "no collateral is enabled")
    return min(skips, key=lambda skip: _REASON_ORDER.index(skip.reason) if skip.reason in _REASON_ORDER else -1)


def rank(sequences: Sequence[CallSequence]) -> list[CallSequence]:
    """Least loss for the borrower first; then least repaid; then by reserve ids, so that the order is total."""

    def key(calls: CallSequence) -> tuple[int, int, tuple[tuple[int, int], ...]]:
        return (
            sum(call.loss_base for call in calls),
            sum(call.quotes[-1].repaid_base for call in calls),
            tuple((call.pair.collateral_id, call.pair.debt_id) for call in calls),
        )

    return sorted(sequences, key=key)
