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
from keeper.core.sized import CallSequence, Sized, all_worse, sized, units_worse
from keeper.core.units import HEALTH_ONE_WAD, WAD

Market = TypeVar("Market")
State = TypeVar("State")

MOST_SECONDS = 30
"""Of a long window so many seconds are looked at, besides its ends."""
SPANNED_SECONDS = 8
"""Fewer are looked at one by one."""
STEPS_INWARD = (0, 3)
"""So many seconds from the outermost that a span of seconds may begin and end."""
ROUNDED_SCALED = 8
"""What the rounding of a call and of two valuations comes to at most, in scaled units of each balance: two burns, a balance and
the growth of an index each, twice."""
ROUNDED_BASE = 4
"""The same of a balance's value, in base units."""
BULGE_WAD = WAD // 10**9
"""Between two seconds at most `MOST_SECONDS` apart health is above the higher of the two by less than that: interest that
compounds departs from a straight line by an eighth of its square, which is 10⁻¹¹ at a rate of 1,000 %."""

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
            # What earlier calls leave behind differs from second to second by their own rounding: each is looked at.
            looked_at = between if before else self._telling(between, pair, request_raw, target_wad, healths)
            missed = [scenario for scenario in looked_at if not self._reaches(pair, scenario, request_raw, target_wad)]
            if not missed:
                jumped = request_raw > 1 and isinstance(sizer.quotes(request_raw - 1), Refusal)
                return sized(sizer, request_raw, Clip.DUST_JUMP if jumped else None)
            between = [scenario for scenario in between if scenario is not missed[0]]
            scenarios = (*scenarios[:-1], missed[0], scenarios[-1])

    def _telling(
        self, between: list[Scenario], pair: Pair, request_raw: int, target_wad: int, healths: tuple[Health, ...]
    ) -> list[Scenario]:
        """Those of the seconds whose answers tell all of them: if a single call reaches the target there, it does at every one.

        Without rounding, health after a call has no dip between two seconds (collateral grows in a straight line or slower than
        that, debt in a straight line or faster). So where the first and the last of a span reach the target with more to spare
        than all rounding, every second between does; and what such a call is refused for sets in, or ends, only once.
        """
        floored = self._adapter.health_is_floored(self._state)
        near_one = any(health.health_factor_wad > HEALTH_ONE_WAD - BULGE_WAD for health in healths)
        is_long = self._window.latest_s - self._window.earliest_s > MOST_SECONDS
        if floored or near_one or is_long or len(between) < SPANNED_SECONDS:
            return between

        def clear(scenario: Scenario) -> bool:
            return self._reaches_clearly(pair, scenario, request_raw, target_wad)

        first = next((steps for steps in STEPS_INWARD if clear(between[steps])), None)
        last = next((steps for steps in STEPS_INWARD if clear(between[-1 - steps])), None)
        if first is None or last is None:
            return between
        return [*between[: first + 1], *between[len(between) - 1 - last :]]

    def _reaches_clearly(self, pair: Pair, scenario: Scenario, request_raw: int, target_wad: int) -> bool:
        """Whether even a position with so much less of everything and more of every debt as rounding can take reaches it."""
        worse, legs = all_worse(scenario.position, ROUNDED_SCALED)
        quote = self._adapter.quote_liquidation(self._state, worse, pair, request_raw, scenario.timestamp_s)
        if isinstance(quote, Refusal) or quote.bad_debt_base or quote.repaid_raw != request_raw:
            return False
        after = quote.health_after
        if not after.debt_base:
            return False
        lost_base = ROUNDED_BASE * legs * max(target_wad, WAD)
        return after.health_factor_wad >= target_wad + 1 - (-lost_base // after.debt_base)

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
