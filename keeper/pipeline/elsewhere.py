"""Venues that must be asked, for borrowers whom the pools do not serve: beside the heads, so an answer counts from the next."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from keeper.core.errors import QuoteError
from keeper.core.swap import Route, Wish
from keeper.core.units import BPS, Address
from keeper.pipeline.tasks import all_together
from keeper.ports import Venue

FRESH_S = 30.0
"""So long an answer counts, and nobody asks the same again. What is sold still has its limit, and is simulated."""
MOST_WAITING = 16
"""So many borrowers may wait for an answer; nobody waits for a place."""
AT_ONCE = 4
MOST_ALIKE = 2
SPARE_BPS = 10
"""So much less is asked for than there is: at the next head it may be a little less, and calldata sells what it was made
for."""
MOST_SPARE_BPS = 100
"""An answer that leaves more unsold is for another plan."""

Couple = tuple[Address, Address]


@dataclass(frozen=True, slots=True)
class _Answer:
    couples: frozenset[Couple]
    """What was asked for."""
    routes: Mapping[Couple, Route]
    """What there is a route for."""
    at_s: float


class Elsewhere:
    """Of one market. Asking raises nothing: a venue that fails leaves nothing behind, and the next is asked."""

    def __init__(self, venues: Sequence[Venue], now_s: Callable[[], float] = time.monotonic) -> None:
        self._venues = tuple(venues)
        self._now_s = now_s
        self._waiting: dict[Address, tuple[Wish, ...]] = {}
        self._answers: dict[Address, _Answer] = {}
        self._taken: dict[Couple, set[Address]] = {}
        self._rejected_s: dict[Address, float] = {}
        """When a borrower's answer last did not do."""
        self._wanted = asyncio.Event()

    @property
    def is_waiting(self) -> bool:
        return bool(self._waiting)

    def routes(self, borrower: Address, wishes: Sequence[Wish]) -> Mapping[Couple, Route]:
        """The fresh ones, of amounts that are still there."""
        answer = self._fresh(borrower)
        if answer is None:
            return {}
        wanted = {(wish.token_in, wish.token_out): wish for wish in wishes}
        return {
            couple: route
            for couple, route in answer.routes.items()
            if couple in wanted and _fits(route, wanted[couple])
        }

    def want(self, borrower: Address, wishes: Sequence[Wish]) -> bool:
        """Have them asked for, unless that was just done; True while the answer is awaited."""
        couples = frozenset((wish.token_in, wish.token_out) for wish in wishes)
        if not couples:
            return False
        answer = self._fresh(borrower)
        if answer is not None and couples <= answer.couples:
            wanted = {(wish.token_in, wish.token_out): wish for wish in wishes}
            known = [(answer.routes[couple], wanted[couple]) for couple in couples & answer.routes.keys()]
            if all(_fits(route, wish) for route, wish in known):
                return False
        if borrower not in self._waiting and len(self._waiting) >= MOST_WAITING:
            return False
        self._waiting[borrower] = tuple(wishes)
        self._wanted.set()
        return True

    def take(self, borrower: Address, couples: Collection[Couple]) -> None:
        """An order goes these ways. The limits leave room for one of its size before it: after two, whoever else was answered
        finds less there than that, and asks again."""
        for couple in couples:
            taking = self._taken.setdefault(couple, set())
            taking.add(borrower)
            if len(taking) >= MOST_ALIKE:
                del self._taken[couple]
                self._answers = {
                    who: answer for who, answer in self._answers.items() if who in taking or couple not in answer.routes
                }

    def reject(self, borrower: Address) -> None:
        """What was answered did not do. It may be that others went the same way first, so it is asked once more; then it counts
        as no route."""
        answer, now_s = self._answers.pop(borrower, None), self._now_s()
        again = now_s - self._rejected_s.get(borrower, -FRESH_S) < FRESH_S
        if answer is not None and again:
            self._answers[borrower] = replace(answer, routes={}, at_s=now_s)
        self._rejected_s = {who: at_s for who, at_s in self._rejected_s.items() if now_s - at_s < FRESH_S}
        self._rejected_s[borrower] = now_s

    async def run(self) -> None:
        """Ask for whatever is wanted, for ever."""
        while True:
            await self._wanted.wait()
            await self.ask()

    async def ask(self) -> None:
        """For all that wait, whoever came first before the others."""
        self._wanted.clear()
        try:
            while self._waiting:
                some = list(islice(self._waiting.items(), AT_ONCE))
                await all_together([self._answer(borrower, wishes) for borrower, wishes in some])
        finally:
            for venue in self._venues:
                await venue.close()

    async def _answer(self, borrower: Address, wishes: Sequence[Wish]) -> None:
        found: dict[Couple, Route] = {}
        for wish in wishes:
            route = await self._first_route(_spared(wish))
            if route is not None:
                found[wish.token_in, wish.token_out] = route
        couples = frozenset((wish.token_in, wish.token_out) for wish in wishes)
        self._answers[borrower] = _Answer(couples, found, self._now_s())
        self._waiting.pop(borrower, None)

    async def _first_route(self, wish: Wish) -> Route | None:
        for venue in self._venues:
            try:
                route = await venue.quote(wish)
            except QuoteError:
                continue
            if route.amount_out_raw >= wish.least_out_raw:
                return route
        return None

    def _fresh(self, borrower: Address) -> _Answer | None:
        oldest_s = self._now_s() - FRESH_S
        self._answers = {who: answer for who, answer in self._answers.items() if answer.at_s >= oldest_s}
        return self._answers.get(borrower)


def _spared(wish: Wish) -> Wish:
    most_raw = wish.most_in_raw * (BPS - SPARE_BPS) // BPS
    return replace(wish, most_in_raw=most_raw, oracle_out_raw=wish.oracle_out_raw * (BPS - SPARE_BPS) // BPS)


def _fits(route: Route, wish: Wish) -> bool:
    """Whether it sells what there is, or little less."""
    return wish.most_in_raw * (BPS - MOST_SPARE_BPS) // BPS <= route.amount_in_raw <= wish.most_in_raw
