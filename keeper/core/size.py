"""How much of one debt to repay, for one (collateral, debt) pair.

With W = Σ collateralᵢ·LTᵢ and D = debt (base currency), repaying x and seizing λ·x of a collateral with threshold t gives
health (W − λ·t·x) ÷ (D − x). It reaches T from

    x* = (T·D − W) ÷ (T − λ·t)

on, which only brackets the answer: the contract floors and ceils on the way, so x is fixed in integers against the
adapter's own arithmetic, at both ends of the inclusion window. Where health is taken from an average threshold floored
to whole bps it jumps as the average steps; each run of constant average is then searched by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from keeper.core.errors import Defect
from keeper.core.lending import Health, LendingAdapter, Pair, Position, Quote, Refusal
from keeper.core.units import BPS, UINT256_MAX, WAD

Market = TypeVar("Market")
State = TypeVar("State")

ROUNDED_UNITS = 3
"""Between two seconds so many raw units of each asset may go either way."""
MOST_TRIED_UNITS = 64
"""Below a local minimum at most so many requests are tried one by one."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """The position as it will stand at one end of the inclusion window."""

    timestamp_s: int
    position: Position


class PairSizer(Generic[Market, State]):
    """Sizes one call on one pair so that it holds in every scenario. Requests are in debt asset units."""

    def __init__(
        self,
        adapter: LendingAdapter[Market, State],
        state: State,
        pair: Pair,
        scenarios: Sequence[Scenario],
    ) -> None:
        self._adapter = adapter
        self._state = state
        self.pair = pair
        self._scenarios = tuple(scenarios)
        self._quotes: dict[int, tuple[Quote, ...] | Refusal] = {}
        self._single: dict[tuple[int, int], Quote | Refusal] = {}
        """By place of the scenario and request."""
        self._allowed: list[tuple[int, int]] | None = None

    def quotes(self, debt_to_cover_raw: int) -> tuple[Quote, ...] | Refusal:
        """What the request does in each scenario; the first refusal if any scenario refuses it."""
        known = self._quotes.get(debt_to_cover_raw)
        if known is None:
            known = self._quotes[debt_to_cover_raw] = self._in_all(debt_to_cover_raw)
        return known

    def _in_all(self, debt_to_cover_raw: int) -> tuple[Quote, ...] | Refusal:
        found: list[Quote] = []
        for place in range(len(self._scenarios)):
            quote = self._in_one(place, debt_to_cover_raw)
            if isinstance(quote, Refusal):
                return quote
            found.append(quote)
        return tuple(found)

    def _in_one(self, place: int, debt_to_cover_raw: int) -> Quote | Refusal:
        known = self._single.get((place, debt_to_cover_raw))
        if known is None:
            scenario = self._scenarios[place]
            known = self._single[place, debt_to_cover_raw] = self._adapter.quote_liquidation(
                self._state, scenario.position, self.pair, debt_to_cover_raw, scenario.timestamp_s
            )
        return known

    def reaches(self, debt_to_cover_raw: int, target_wad: int) -> bool:
        """Whether `health_wad` is at least the target. The latest scenario, most often the worst, is looked at first: one
        that fails there needs no other."""
        for place in reversed(range(len(self._scenarios))):
            quote = self._in_one(place, debt_to_cover_raw)
            if isinstance(quote, Refusal) or quote.bad_debt_base:
                return False
            if quote.health_after.health_factor_wad < target_wad:
                return False
        return True

    def health_wad(self, debt_to_cover_raw: int) -> int | None:
        """The worst health after the request; None where it is refused or leaves bad debt behind."""
        quotes = self.quotes(debt_to_cover_raw)
        if isinstance(quotes, Refusal) or any(quote.bad_debt_base for quote in quotes):
            return None
        return min(quote.health_after.health_factor_wad for quote in quotes)

    def best_health_wad(self, debt_to_cover_raw: int) -> int | None:
        """The best health that the request may leave at any second of the window: an earlier call of a sequence must keep
        even this one below 1. At the ends, plus what the rounding of a few units may add in between."""
        quotes = self.quotes(debt_to_cover_raw)
        if isinstance(quotes, Refusal) or any(quote.bad_debt_base for quote in quotes):
            return None
        best_wad = max(quote.health_after.health_factor_wad for quote in quotes)
        least_debt_base = min(quote.health_after.debt_base for quote in quotes)
        if least_debt_base == 0:
            return best_wad
        units_base = sum(
            1 + (self._adapter.value_base_floor(self._state, asset, ROUNDED_UNITS) or 0)
            for asset in (self.pair.collateral_asset, self.pair.debt_asset)
        )
        return best_wad - (-units_base * WAD // least_debt_base)

    def allowed(self) -> list[tuple[int, int]]:
        """Requests that no scenario refuses: closed, disjoint, ascending intervals."""
        if self._allowed is None:
            self._allowed = [(1, UINT256_MAX)]
            for scenario in self._scenarios:
                one = self._adapter.allowed_debt_to_cover(
                    self._state, scenario.position, self.pair, scenario.timestamp_s
                )
                self._allowed = intersect(self._allowed, one)
        return self._allowed

    def least_reaching(self, target_wad: int, healths: Sequence[Health]) -> int | None:
        """The least allowed request after which health is at least `target_wad` in every scenario; None if there is none.

        A local minimum: the request one unit below is refused or misses the target. `healths` are the scenarios' healths
        before the call.
        """

        def reaches(request_raw: int) -> bool:
            return self.reaches(request_raw, target_wad)

        floored = self._adapter.health_is_floored(self._state)
        guess = self.closed_form_raw(target_wad, healths)
        noise = self._zone_raw(target_wad)
        tried = noise if noise <= MOST_TRIED_UNITS else 0
        for low, high in self.allowed():
            if floored:
                enough = max(self._closed_form_raw(target_wad, health, 1) for health in healths)
                found = self._least_over_runs(low, high, guess - noise, enough + noise, tried, reaches)
            else:
                found = least_true(low, high, guess, noise, reaches) if reaches(high) else None
            if found is not None:
                return next((request for request in range(max(low, found - tried), found) if reaches(request)), found)
        return None

    def _zone_raw(self, target_wad: int) -> int:
        """How far, in debt units, the rounding of single units of both assets can move the answer: where a unit is worth
        something, health is a visible sawtooth."""
        noise_base = 4
        for asset in (self.pair.collateral_asset, self.pair.debt_asset):
            noise_base += self._adapter.value_base_floor(self._state, asset, 1) or 0
        slope = target_wad * BPS * BPS // WAD - self.pair.bonus_bps * self.pair.threshold_bps
        return self._raw(-(-2 * noise_base * BPS * BPS // max(1, slope)))

    def closed_form_raw(self, target_wad: int, healths: Sequence[Health]) -> int:
        """The bracket's estimate of the least repayment, not checked against anything."""
        return max(self._closed_form_raw(target_wad, health, 0) for health in healths)

    def full_effect(self, low: int, high: int) -> int:
        """The least request in [low, high] that does exactly what `high` does (a clipped request costs nothing, but an
        unbounded one says nothing about what it needs)."""
        best = self.quotes(high)
        if isinstance(best, Refusal):
            raise Defect(f"an allowed request is refused: {best.contract_error}")

        def same(request_raw: int) -> bool:
            quotes = self.quotes(request_raw)
            return not isinstance(quotes, Refusal) and [(q.repaid_raw, q.seized_raw) for q in quotes] == [
                (q.repaid_raw, q.seized_raw) for q in best
            ]

        guess = max(quote.repaid_raw for quote in best)
        found = least_true(low, high, guess, 1, same)
        if found is None:
            raise Defect("the upper end of an allowed interval has no effect of its own")
        return found

    def _least_over_runs(
        self, low: int, high: int, first: int, last: int, tried: int, reaches: Callable[[int], bool]
    ) -> int | None:
        """Search run by run of constant average threshold, from the optimistic bound to the one that surely suffices.

        Within a run health is monotone but for the sawtooth, so one of its ends is the best; `tried` units around each
        end are tried one by one."""
        start, last = min(max(low, first), high), min(high, max(last, low))
        if start > low and reaches(start):
            return least_true(low, start, start, 1, reaches)
        while start <= last:
            end = self._run_end(start, last)
            near_start = range(start, min(end, start + tried) + 1)
            near_end = range(end, max(start, end - tried) - 1, -1)
            found = next((request for request in near_start if reaches(request)), None)
            if found is not None:
                return found
            found = next((request for request in near_end if reaches(request)), None)
            if found is not None:
                return bisect(start, found, reaches)
            start = end + 1
        return least_true(last, high, last, 1, reaches) if last < high and reaches(high) else None

    def _run_end(self, start: int, last: int) -> int:
        """The end of the run of constant average threshold that begins at `start`."""
        average = self._averages(start)
        inside, step = start, 1
        while inside + step <= last and self._averages(inside + step) == average:
            inside += step
            step *= 2
        outside = min(inside + step, last + 1)
        while outside - inside > 1:
            middle = (inside + outside) // 2
            if self._averages(middle) == average:
                inside = middle
            else:
                outside = middle
        return inside

    def _averages(self, request_raw: int) -> tuple[int, ...] | None:
        quotes = self.quotes(request_raw)
        if isinstance(quotes, Refusal):
            return None
        return tuple(quote.health_after.liquidation_threshold_bps for quote in quotes)

    def closed_form_base(self, target_wad: int, health: Health, lost_bps: int = 0) -> int | None:
        """x* in base currency, rounded up, with every threshold lowered by `lost_bps`; None where no repayment reaches
        the target.

        num ÷ den = (T·D − W) ÷ (T − λ·t), with W in base·bps and λ, t in bps, brought to the scale 1e18·1e8.
        """
        weighted = health.weighted_collateral_base_bps - lost_bps * health.collateral_base
        threshold_bps = max(0, self.pair.threshold_bps - lost_bps)
        numerator = target_wad * health.debt_base * BPS * BPS - weighted * BPS * WAD
        denominator = target_wad * BPS * BPS - self.pair.bonus_bps * threshold_bps * WAD
        if denominator <= 0:
            return None
        return max(0, -(-numerator // denominator))

    def _closed_form_raw(self, target_wad: int, health: Health, lost_bps: int) -> int:
        value_base = self.closed_form_base(target_wad, health, lost_bps)
        return UINT256_MAX if value_base is None else max(1, self._raw(value_base))

    def _raw(self, value_base: int) -> int:
        raw = self._adapter.raw_from_base_ceil(self._state, self.pair.debt_asset, value_base)
        if raw is None:
            raise Defect("a usable pair has a debt asset without a price")
        return raw


def intersect(left: Sequence[tuple[int, int]], right: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The common part of two sets of closed, disjoint, ascending intervals."""
    common = []
    for low_a, high_a in left:
        for low_b, high_b in right:
            low, high = max(low_a, low_b), min(high_a, high_b)
            if low <= high:
                common.append((low, high))
    return common


def least_true(low: int, high: int, guess: int, step: int, holds: Callable[[int], bool]) -> int | None:
    """A least x in [low, high] with `holds(x)`: x holds and x − 1 does not (or x is `low`). Gallops away from `guess`, so the
    cost grows with the logarithm of its error. None when galloping up to `high` finds none."""
    step = max(1, step)
    top = bottom = min(max(guess, low), high)
    if holds(top):
        while top > low:
            bottom = max(low, top - step)
            if not holds(bottom):
                return bisect(bottom, top, holds)
            top, step = bottom, 2 * step
        return top
    while bottom < high:
        top = min(high, bottom + step)
        if holds(top):
            return bisect(bottom, top, holds)
        bottom, step = top, 2 * step
    return None


def bisect(false_at: int, true_at: int, holds: Callable[[int], bool]) -> int:
    """An x in (false_at, true_at] that holds while x − 1 does not."""
    while true_at - false_at > 1:
        middle = (false_at + true_at) // 2
        if holds(middle):
            true_at = middle
        else:
            false_at = middle
    return true_at
