"""Venues are tried in the configured order, and the first that serves is taken."""

from __future__ import annotations

from collections.abc import Sequence

from keeper.core.errors import QuoteError
from keeper.core.swap import Route, Wish
from keeper.ports import Venue


async def first_route(venues: Sequence[Venue], wish: Wish) -> Route:
    """The first route that brings enough. A venue that fails, or offers less than `least_out_raw`, leaves nothing behind: the
    next is asked the same. Raises `QuoteError` with every venue's reason when none serves."""
    reasons: list[str] = []
    for venue in venues:
        try:
            route = await venue.quote(wish)
        except QuoteError as error:
            reasons.append(str(error))
            continue
        if route.amount_out_raw >= wish.least_out_raw:
            return route
        reasons.append(f"{venue.name}: {route.amount_out_raw} is less than the {wish.least_out_raw} that are needed")
    raise QuoteError("; ".join(reasons) or "no venue is configured")
