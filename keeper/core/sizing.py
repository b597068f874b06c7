"""Calls of one position, sized so that they hold at every second of the inclusion window; and what was asked of them before.

A planner asks for the same pair on the same scenarios again and again: for one call, as the beginning of two, of three. What a
sizer knows is kept while the position is planned.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from keeper.core.lending import Health, LendingAdapter, Pair, Position, Refusal
from keeper.core.outcome import Skip
from keeper.core.plan import Clip, Window
from keeper.core.size import PairSizer, Scenario
from keeper.core.sized import CallSequence, Sized, sized, units_worse

Market = TypeVar("Market")
State = TypeVar("State")

MOST_SECONDS = 30
"""Of a long window so many seconds are looked at, besides its ends."""

Scenarios = tuple[Scenario, ...]


class Sizing(Generic[Market, State]):
    """One position, at one head."""

    def __init__(
        self, adapter: LendingAdapter[Market, State], state: State, window: Window, position: Position
    ) -> None:
        self.position = position
        self.start: Scenarios = (Scenario(window.earliest_s, position), Scenario(window.latest_s, position))
        """The position as it is, at both ends of the window."""
        self._adapter = adapter
        self._state = state
        self._window = window
        # By identity: scenarios are immutable, and kept alive here.
        self._sizers: dict[tuple[int, int, int], tuple[Scenarios, PairSizer[Market, State]]] = {}
        self._healths: dict[int, tuple[Scenarios, tuple[Health, ...] | Skip]] = {}

    def healths(self, scenarios: Scenarios) -> tuple[Health, ...] | Skip:
        """Health in each scenario; `Skip` where one cannot be valued."""
        known = self._healths.get(id(scenarios))
        if known is None:
            known = self._healths[id(scenarios)] = scenarios, self._valued(scenarios)
        return known[1]

    def _valued(self, scenarios: Scenarios) -> tuple[Health, ...] | Skip:
        healths = []
        for scenario in scenarios:
            health = self._adapter.health(self._state, scenario.position, scenario.timestamp_s)
            if isinstance(health, Skip):
                return health
            healths.append(health)
        return tuple(healths)

    def sizer(self, pair: Pair, scenarios: Scenarios) -> PairSizer[Market, State]:
        key = id(scenarios), pair.collateral_id, pair.debt_id
        known = self._sizers.get(key)
        if known is None:
            known = self._sizers[key] = scenarios, PairSizer(self._adapter, self._state, pair, scenarios)
        return known[1]

    def least_call(self, pair: Pair, scenarios: Scenarios, target_wad: int, before: CallSequence) -> Sized | None:
        """The least call on a pair that reaches the target, after the calls `before`; None if none does.

        Sized at the ends of the window, where health is at its worst but for the rounding of single units; a second in
        between at which that costs the target becomes one more scenario.
        """
        between: list[Scenario] | None = None
        while True:
            healths = self.healths(scenarios)
            if isinstance(healths, Skip):
                return None
            sizer = self.sizer(pair, scenarios)
            request_raw = sizer.least_reaching(target_wad, healths)
            if request_raw is None:
                return None
            if between is None:
                between = self._between(before, pair)
            missed = [scenario for scenario in between if not self._reaches(pair, scenario, request_raw, target_wad)]
            if not missed:
                jumped = request_raw > 1 and isinstance(sizer.quotes(request_raw - 1), Refusal)
                return sized(sizer, request_raw, Clip.DUST_JUMP if jumped else None)
            between = [scenario for scenario in between if scenario is not missed[0]]
            scenarios = (*scenarios[:-1], missed[0], scenarios[-1])

    def _reaches(self, pair: Pair, scenario: Scenario, request_raw: int, target_wad: int) -> bool:
        quote = self._adapter.quote_liquidation(self._state, scenario.position, pair, request_raw, scenario.timestamp_s)
        if isinstance(quote, Refusal) or quote.bad_debt_base:
            return False
        return quote.health_after.health_factor_wad >= target_wad

    def _between(self, before: CallSequence, pair: Pair) -> list[Scenario]:
        """The position at every second inside the window; of a long window at `MOST_SECONDS` of them, and there as much worse
        as the rounding of the seconds left out can make it."""
        inside = range(self._window.earliest_s + 1, self._window.latest_s)
        step = max(1, -(-len(inside) // MOST_SECONDS))
        scenarios = [self._at_second(before, second) for second in inside[::step]]
        if step == 1:
            return scenarios
        return [Scenario(one.timestamp_s, units_worse(one.position, pair, 2)) for one in scenarios]

    def _at_second(self, before: CallSequence, second: int) -> Scenario:
        """The position when all calls so far are mined at one second."""
        position = self.position
        for call in before:
            quote = self._adapter.quote_liquidation(self._state, position, call.pair, call.request_raw, second)
            position = position if isinstance(quote, Refusal) else quote.position_after
        return Scenario(second, position)
