"""Rails: how much may be spent, and how often fail, before a person is asked. Pure, integers.

Per transaction a limit refuses the order. Over an hour or a day it pauses, when what is settled leaves too little room for the
next order. What is on its way counts with the most that it can cost, so that no limit can be passed by what was sent before
its end was known; where only that stands in the way, the order waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from keeper.core.ledger import Stake, Swapped
from keeper.core.outcome import Reason, Skip
from keeper.core.spending import Lift, OnItsWay, Settled
from keeper.core.units import BPS, WAD

HOUR_S = 3_600
DAY_S = 86_400
REASON_S = 300
"""So long after its block a revert whose reason was not read is not held against anybody: it is being read."""
REORG_S = 180
"""So long after its block a reorg may put a transaction back on its way, and what it costs in another block is open again."""
NOTHING = Stake(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Limit:
    """Of one kind of spending; None is without bound."""

    per_transaction: int | None = None
    per_hour: int | None = None
    per_day: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What an operator allows one signer, or all together."""

    gas_wei: Limit = Limit()
    notional_wad: Limit = Limit()
    loss_wad: Limit = Limit()
    reverts_in_a_row: int | None = None
    revert_rate_bps: int | None = None
    """Of the last hour's transactions,"""
    revert_rate_least: int = 1
    """once there are so many of them."""
    price_deviation_bps: int | None = None
    """So far may a venue's price be from the oracle's, either way."""


@dataclass(frozen=True, slots=True)
class Trip:
    """A rail was reached: pause."""

    rail: str
    """A stable word: `gas`, `notional`, `loss`, `reverts_in_a_row`, `revert_rate`."""
    detail: str


@dataclass(frozen=True, slots=True)
class Spent:
    """What counts against the limits at one moment."""

    hour: Stake = NOTHING
    """Settled within the last hour,"""
    day: Stake = NOTHING
    """and within the last day."""
    on_its_way: Stake = NOTHING
    """At worst; of what a reorg may still put back, by how much more it may cost then."""
    reverts_in_a_row: int = 0
    """The last ones, since a pause was last lifted."""
    mined_in_hour: int = 0
    reverted_in_hour: int = 0

    def plus(self, stake: Stake) -> Spent:
        """With so much more on its way."""
        return replace(self, on_its_way=added(self.on_its_way, stake))


def whole(stakes: Iterable[Stake]) -> Stake:
    total = NOTHING
    for stake in stakes:
        total = added(total, stake)
    return total


def added(first: Stake, second: Stake) -> Stake:
    return Stake(
        first.gas_wei + second.gas_wei, first.notional_wad + second.notional_wad, first.loss_wad + second.loss_wad
    )


def counted(settled: Settled) -> Stake:
    """What a mined transaction counts for: its gas as it was paid, and what was read in its block; where that is not known, the
    worst. What an older keeper sent without saying counts with its gas alone."""
    if settled.value is not None:
        return Stake(settled.cost_wei, settled.value.notional_wad(), settled.value.loss_wad(settled.cost_wei))
    stake = settled.stake or NOTHING
    return Stake(settled.cost_wei, stake.notional_wad if settled.succeeded else 0, stake.loss_wad)


def spent_by(settled: Sequence[Settled], on_their_way: Iterable[OnItsWay], lifts: Sequence[Lift], now_s: int) -> Spent:
    """`settled` in the order in which they became known. Reverts from before a pause was lifted are forgiven. Lost races count
    by what they cost alone, not by their number: anybody can win one against us, and none says that we are wrong."""
    hour, day, waiting = NOTHING, NOTHING, whole(worst_by_nonce(on_their_way))
    in_a_row, lately, reverted = 0, 0, 0
    for each in settled:
        forgiven = any(lift.forgives(each) for lift in lifts) or _no_fault(each, now_s)
        if not forgiven:
            in_a_row = 0 if each.succeeded else in_a_row + 1
        if each.timestamp_s <= now_s - DAY_S:
            continue
        stake = counted(each)
        day = added(day, stake)
        if each.timestamp_s > now_s - REORG_S:
            waiting = added(waiting, _more_at_worst(each, stake))
        if each.timestamp_s > now_s - HOUR_S:
            hour = added(hour, stake)
            lately += not forgiven
            reverted += not forgiven and not each.succeeded
    return Spent(hour, day, waiting, in_a_row, lately, reverted)


def _no_fault(settled: Settled, now_s: int) -> bool:
    """Whether it reverted because somebody was first, or may have, as far as was read."""
    if settled.succeeded or settled.lost_race is False:
        return False
    return settled.lost_race is True or settled.timestamp_s > now_s - REASON_S


def _more_at_worst(settled: Settled, cost: Stake) -> Stake:
    """How much more than it cost it can cost in another block."""
    worst = settled.stake or NOTHING
    return Stake(
        max(0, worst.gas_wei - cost.gas_wei),
        max(0, worst.notional_wad - cost.notional_wad),
        max(0, worst.loss_wad - cost.loss_wad),
    )


def worst_by_nonce(on_their_way: Iterable[OnItsWay]) -> list[Stake]:
    """Of those that share a nonce at most one is mined: the worst of each kind."""
    worst: dict[tuple[int, bytes, int], Stake] = {}
    for each in on_their_way:
        if each.stake is None:
            continue
        key = each.chain_id, each.signer, each.nonce
        other = worst.get(key, NOTHING)
        worst[key] = Stake(
            max(other.gas_wei, each.stake.gas_wei),
            max(other.notional_wad, each.stake.notional_wad),
            max(other.loss_wad, each.stake.loss_wad),
        )
    return list(worst.values())


def tripped(spent: Spent, limits: Limits) -> Trip | None:
    """Which rail stands reached whatever comes next: too many reverts."""
    if limits.reverts_in_a_row is not None and spent.reverts_in_a_row >= limits.reverts_in_a_row:
        return Trip("reverts_in_a_row", f"the last {spent.reverts_in_a_row} transactions reverted")
    mined, reverted = spent.mined_in_hour, spent.reverted_in_hour
    if limits.revert_rate_bps is None or mined < max(1, limits.revert_rate_least):
        return None
    if reverted * BPS < limits.revert_rate_bps * mined:
        return None
    return Trip("revert_rate", f"{reverted} of the {mined} transactions of the last hour reverted")


def judge_prices(swaps: Iterable[Swapped], limits: Limits) -> Skip | None:
    """Where oracle and venue disagree, one of them is wrong: a better price than there should be is no better sign."""
    most_bps = limits.price_deviation_bps
    for swap in swaps:
        apart_base = abs(swap.sold_base - swap.bought_base)
        if most_bps is not None and apart_base * BPS > most_bps * swap.sold_base:
            return Skip(
                Reason.OVER_LIMIT,
                f"the venue gives {swap.bought_base} base for what is worth {swap.sold_base} base by the oracle: more than"
                f" {most_bps} bps apart",
            )
    return None


def judge(spent: Spent, limits: Limits, stakes: Sequence[Stake]) -> Trip | Skip | None:
    """May an order of these transactions be sent? None: it may. `Skip`: this one may not, or not yet. `Trip`: nothing may."""
    trip = tripped(spent, limits)
    if trip is not None:
        return trip
    order = whole(stakes)
    for rail in _RAILS:
        answer = _judge(rail, spent, rail.limit(limits), [rail.of(stake) for stake in stakes], rail.of(order))
        if answer is not None:
            return answer
    return None


@dataclass(frozen=True, slots=True)
class _Rail:
    """One kind of spending."""

    name: str
    field: str
    """Of `Limits` and of `Stake`."""

    def limit(self, limits: Limits) -> Limit:
        limit: Limit = getattr(limits, self.field)
        return limit

    def of(self, stake: Stake) -> int:
        amount: int = getattr(stake, self.field)
        return amount


_RAILS = (_Rail("gas", "gas_wei"), _Rail("notional", "notional_wad"), _Rail("loss", "loss_wad"))


def _judge(rail: _Rail, spent: Spent, limit: Limit, each: Sequence[int], order: int) -> Trip | Skip | None:
    largest = max(each, default=0)
    if limit.per_transaction is not None and largest > limit.per_transaction:
        return _over(rail, largest, limit.per_transaction, "a transaction")
    waiting = rail.of(spent.on_its_way)
    for span, most, settled in (("hour", limit.per_hour, spent.hour), ("day", limit.per_day, spent.day)):
        if most is None:
            continue
        used = rail.of(settled)
        if order > most:
            return _over(rail, order, most, f"an {span}" if span == "hour" else f"a {span}")
        if used + order > most:
            return Trip(
                rail.name,
                f"{rail.name} of {shown(used)} in the last {span}, the next order may add {shown(order)}: the limit is"
                f" {shown(most)}",
            )
        if used + waiting + order > most:
            return Skip(
                Reason.RESERVED,
                f"{rail.name} of {shown(used)} in the last {span}, what is on its way may add {shown(waiting)} and this"
                f" order {shown(order)}: the limit is {shown(most)}",
            )
    return None


def _over(rail: _Rail, amount: int, most: int, of: str) -> Skip:
    return Skip(Reason.OVER_LIMIT, f"{rail.name} of up to {shown(amount)}: the limit of {of} is {shown(most)}")


def shown(amount: int) -> str:
    """18 decimals as people write them: native coins, or whole units of the base currency; no digit is lost."""
    whole, rest = divmod(amount, WAD)
    return f"{whole}.{rest:018d}".rstrip("0").rstrip(".")
