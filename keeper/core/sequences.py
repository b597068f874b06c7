"""Several calls where one does not do. Long: everything here yields between its steps, so that it can be run in slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from keeper.core.lending import Health, Pair, Refusal
from keeper.core.outcome import Reason, Skip, Verdict
from keeper.core.plan import Clip
from keeper.core.sized import CallSequence, Sized, clip_of, follow, foremost, largest_below_one, sized
from keeper.core.sizing import Scenarios, Sizing
from keeper.core.steps import Steps
from keeper.core.units import BPS, HEALTH_ONE_WAD

Market = TypeVar("Market")
State = TypeVar("State")

MOST_ALTERNATIVES = 3
"""So many sequences are sized when no single call suffices; the others are only estimated."""
MOST_BEGINNINGS = 24
"""So many ways to begin a sequence are followed, those that raise health most first: their number grows with the square of
the pairs."""
WHOLE = (4,)
"""Quarters of the largest earlier call that leaves health below 1."""
PARTS = (3, 2, 1)


@dataclass(frozen=True, slots=True)
class Finish:
    """A sequence that can be finished on `pair`, not sized yet."""

    loss_base: int
    """Estimated loss of the borrower over the whole sequence."""
    before: CallSequence
    scenarios: Scenarios
    pair: Pair


class Sequences(Generic[Market, State]):
    """The sequences of one position over a few of its pairs."""

    def __init__(self, sizing: Sizing[Market, State], pairs: Sequence[Pair], most_calls: int) -> None:
        self._sizing = sizing
        self._pairs = pairs
        self._most_calls = most_calls
        self._earlier: dict[tuple[int, Sequence[int]], tuple[Scenarios, list[Sized]]] = {}
        self._after: dict[int, tuple[Sized, Scenarios]] = {}

    def reaching(self, target_wad: int) -> Steps[list[CallSequence]]:
        """The shortest that reach the target: a few of one length, in no particular order. Empty when none does."""
        for calls in range(2, self._most_calls + 1):
            for shares in (WHOLE, PARTS):
                found = yield from self._of_length(calls, shares, target_wad)
                if found:
                    return found
        return []

    def _of_length(self, calls: int, shares: Sequence[int], target_wad: int) -> Steps[list[CallSequence]]:
        """The least loss first by estimate: every call but the last leaves health below 1, the last reaches the target.
        Earlier calls are as large as may be; only if that leaves none that can finish, fractions of them are tried (a
        smaller first call can leave the last one a larger close factor)."""
        found: list[CallSequence] = []
        finishes: list[Finish] = []
        for before, scenarios in (yield from self._beginnings(calls - 1, shares)):
            finishes += yield from self._finishes(before, scenarios, target_wad)
        for finish in sorted(finishes, key=lambda finish: finish.loss_base):
            last = self._sizing.least_call(finish.pair, finish.scenarios, target_wad, finish.before)
            yield
            if last is not None:
                found.append((*finish.before, last))
            if len(found) == MOST_ALTERNATIVES:
                break
        return found

    def _beginnings(self, calls: int, shares: Sequence[int]) -> Steps[list[tuple[CallSequence, Scenarios]]]:
        """Ways to begin with so many calls, and where they lead; no more than `MOST_BEGINNINGS`."""
        begun: list[tuple[CallSequence, Scenarios]] = []
        yield from self._begin(self._sizing.start, calls, shares, (), begun)
        return begun

    def _begin(
        self,
        scenarios: Scenarios,
        calls: int,
        shares: Sequence[int],
        before: CallSequence,
        begun: list[tuple[CallSequence, Scenarios]],
    ) -> Steps[None]:
        if calls == 0:
            begun.append((before, scenarios))
            return
        for call in (yield from self._earlier_calls(scenarios, shares)):
            if len(begun) < MOST_BEGINNINGS:
                yield from self._begin(self._followed(scenarios, call), calls - 1, shares, (*before, call), begun)

    def _followed(self, scenarios: Scenarios, call: Sized) -> Scenarios:
        known = self._after.get(id(call))
        if known is None:
            known = self._after[id(call)] = call, follow(scenarios, call)
        return known[1]

    def _earlier_calls(self, scenarios: Scenarios, shares: Sequence[int]) -> Steps[list[Sized]]:
        known = self._earlier.get((id(scenarios), shares))
        if known is None:
            found = yield from self._find_earlier(scenarios, shares)
            known = self._earlier[id(scenarios), shares] = scenarios, found
        return known[1]

    def _find_earlier(self, scenarios: Scenarios, shares: Sequence[int]) -> Steps[list[Sized]]:
        """Candidates for a call that another one follows: per pair and allowed interval the largest that keeps health
        below 1 and raises it, or `shares` quarters of it. Those that raise it most come first."""
        healths = self._sizing.healths(scenarios)
        found: list[Sized] = []
        if isinstance(healths, Skip):
            return found
        before_wad = min(health.health_factor_wad for health in healths)
        for pair in self._pairs:
            sizer = self._sizing.sizer(pair, scenarios)
            for low, high in sizer.allowed():
                largest = largest_below_one(sizer, low, high)
                if largest is None:
                    continue
                for share in shares:
                    request_raw = max(low, largest * share // 4)
                    health = sizer.health_wad(request_raw)
                    if health is not None and health > before_wad:
                        found.append(sized(sizer, request_raw, clip_of(sizer, request_raw) or Clip.BELOW_ONE))
            yield
        return sorted(found, key=lambda call: call.worst.health_factor_wad, reverse=True)

    def _finishes(self, before: CallSequence, scenarios: Scenarios, target_wad: int) -> Steps[list[Finish]]:
        """Pairs on which one more call can reach the target, by its largest allowed size, with the loss by closed form."""
        healths = self._sizing.healths(scenarios)
        found: list[Finish] = []
        if isinstance(healths, Skip):
            return found
        spent_base = sum(call.loss_base for call in before)
        for pair in self._pairs:
            sizer = self._sizing.sizer(pair, scenarios)
            best = [sizer.health_wad(high) for _, high in sizer.allowed()]
            if any(health is not None and health >= target_wad for health in best):
                repay_base = sizer.closed_form_base(target_wad, healths[-1]) or 0
                loss_base = spent_base + repay_base * (pair.bonus_bps - BPS) // BPS
                found.append(Finish(loss_base, before, scenarios, pair))
            yield
        return found

    def most_health(self, before: Health) -> Steps[CallSequence | Skip]:
        """The best health that the rules allow, with the fewest calls that bring it: earlier calls raise it as far as they
        may while it stays below 1, the last as far as it may."""
        best: CallSequence | None = None
        best_wad = before.health_factor_wad
        refused: list[Skip] = []
        for earlier in range(self._most_calls):
            for calls, after in (yield from self._beginnings(earlier, WHOLE)):
                for last in (yield from self._largest_calls(after, refused)):
                    if last.worst.health_factor_wad > best_wad:
                        best, best_wad = (*calls, last), last.worst.health_factor_wad
        if best is not None:
            return best
        return foremost(refused) if refused else Skip(Reason.TOXIC, "no allowed call raises health", Verdict.TOXIC)

    def _largest_calls(self, scenarios: Scenarios, refused: list[Skip]) -> Steps[list[Sized]]:
        """The largest call of each pair and allowed interval; why a pair allows none is added to `refused`."""
        healths = self._sizing.healths(scenarios)
        found: list[Sized] = []
        if isinstance(healths, Skip):
            return found
        for pair in self._pairs:
            sizer = self._sizing.sizer(pair, scenarios)
            intervals = sizer.allowed()
            if not intervals:
                probe = sizer.quotes(max(1, sizer.closed_form_raw(HEALTH_ONE_WAD, healths)))
                refused += [probe.skip] if isinstance(probe, Refusal) else []
            for low, high in intervals:
                request_raw = sizer.full_effect(low, high)
                if sizer.health_wad(request_raw) is not None:
                    found.append(sized(sizer, request_raw, clip_of(sizer, request_raw)))
            yield
        return found
