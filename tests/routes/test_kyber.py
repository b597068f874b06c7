"""The aggregator's adapter against a stand-in server that answers well, badly, late, and with lies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from keeper.core.errors import QuoteError
from keeper.core.selling.slippage import SlippagePolicy
from keeper.core.swap import StepKind, Wish
from keeper.core.units import Address, to_hex
from keeper.pipeline.elsewhere import FRESH_S, MOST_WAITING, Elsewhere
from keeper.routes.kyber import Kyber, KyberVenue

WETH, USDC, ROUTER, OTHER, EXECUTOR = (Address(bytes([number]) * 20) for number in (0xA1, 0xA2, 0xB1, 0xB2, 0xE1))
SOLD_RAW = 10**18
OUT_RAW, TWICE_RAW = 1_990_000_000, 3_970_000_000
CALLDATA = bytes.fromhex("e21fd0e9") + bytes(range(64))
WISH = Wish(WETH, USDC, SOLD_RAW, None, 2_000_000_000, 1_900_000_000, 10**12)
Change = Callable[[str, dict[str, Any]], None]


class StandIn:
    """Answers as the service does; a test changes what it needs."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.change: Change = lambda path, data: None
        self.response: Callable[[], web.Response] | None = None
        self.delay_s = 0

    async def routes(self, request: web.Request) -> web.StreamResponse:
        asked = dict(request.query)
        self.asked.append(("routes", asked))
        twice = asked["amountIn"] != str(SOLD_RAW)
        summary = {
            "tokenIn": asked["tokenIn"],
            "amountIn": asked["amountIn"],
            "tokenOut": asked["tokenOut"],
            "amountOut": str(TWICE_RAW if twice else OUT_RAW),
            "amountOutUsd": "1990.12",
            "gas": "253000",
            "gasPrice": "0.1",
            "route": [[{"pool": "0x11", "swapAmount": "1", "extra": {"x": 1.5}}]],
            "routeID": "f3b1",
            "checksum": "1446",
        }
        return await self.answer(
            "twice" if twice else "once", {"routeSummary": summary, "routerAddress": to_hex(ROUTER)}
        )

    async def build(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        self.asked.append(("build", asked))
        data = {
            "amountIn": str(SOLD_RAW),
            "amountOut": str(OUT_RAW - 1_000),
            "gas": "253000",
            "data": to_hex(CALLDATA),
            "routerAddress": to_hex(ROUTER),
            "transactionValue": "0",
        }
        return await self.answer("build", data)

    async def answer(self, path: str, data: dict[str, Any]) -> web.StreamResponse:
        self.change(path, data)
        await asyncio.sleep(self.delay_s)
        if self.response is not None:
            return self.response()
        return web.Response(text=json.dumps({"code": data.pop("code", 0), "message": "ok", "data": data}))


@pytest.fixture
async def stand_in() -> StandIn:
    return StandIn()


@pytest.fixture
async def venue(stand_in: StandIn) -> AsyncIterator[KyberVenue]:
    app = web.Application()
    app.router.add_get("/ethereum/api/v1/routes", stand_in.routes)
    app.router.add_post("/ethereum/api/v1/route/build", stand_in.build)
    async with TestServer(app) as server:
        terms = Kyber(str(server.make_url("/ethereum")), frozenset({ROUTER}), EXECUTOR, deadline_s=5)
        venue = KyberVenue(terms, SlippagePolicy(least_bps=10, most_bps=100))
        yield venue
        await venue.close()


async def test_a_route_is_the_services_with_our_own_limit(venue: KyberVenue, stand_in: StandIn) -> None:
    route = await venue.quote(WISH)
    # Twice as much brings 50 bps less for its second half, rounded up to 51; and 10 that are always allowed.
    least_raw = OUT_RAW * (10_000 - 61) // 10_000
    assert (route.amount_in_raw, route.amount_out_raw, route.least_out_raw) == (SOLD_RAW, OUT_RAW, least_raw)
    (step,) = route.steps
    assert (step.kind, step.venue, step.amount_raw, step.limit_raw) == (StepKind.ROUTER, ROUTER, SOLD_RAW, least_raw)
    assert step.calldata == CALLDATA and route.gas == 253_000
    kinds = [kind for kind, _ in stand_in.asked]
    assert kinds == ["routes", "routes", "build"]
    built = stand_in.asked[-1][1]
    assert built["sender"] == built["recipient"] == to_hex(EXECUTOR) and built["slippageTolerance"] == 61
    assert built["routeSummary"]["route"][0][0]["extra"] == {"x": 1.5}


async def test_where_twice_as_much_is_not_quoted_the_limit_is_the_widest(venue: KyberVenue, stand_in: StandIn) -> None:
    def change(path: str, data: dict[str, Any]) -> None:
        if path == "twice":
            data["code"] = 4_008

    stand_in.change = change
    route = await venue.quote(WISH)
    assert route.least_out_raw == OUT_RAW * 9_900 // 10_000


def put(where: str, key: str, value: object) -> Change:
    """Another value in one of the answers; in a route's it may be the summary's."""

    def change(path: str, data: dict[str, Any]) -> None:
        if path == where:
            (data["routeSummary"] if key in data.get("routeSummary", {}) else data)[key] = value

    return change


@pytest.mark.parametrize(
    "change, said",
    [
        (put("once", "tokenOut", to_hex(OTHER)), "another tokenOut"),
        (put("once", "tokenIn", to_hex(OTHER)), "another tokenIn"),
        (put("once", "amountIn", str(SOLD_RAW - 1)), "another amount"),
        (put("once", "amountOut", str(3 * OUT_RAW)), "is not believed"),
        (put("once", "amountOut", "1800000000"), "less than the 1900000000"),
        (put("once", "amountOut", "-5"), "amountOut is no amount"),
        (put("once", "amountOut", 5.0), "amountOut is no amount"),
        (put("once", "amountOut", "9" * 90), "amountOut is no amount"),
        (put("once", "gas", "0"), "0 gas"),
        (put("once", "gas", "99000000"), "99000000 gas"),
        (put("once", "routerAddress", to_hex(OTHER)), f"the router {to_hex(OTHER)} is not on the list"),
        (put("once", "routerAddress", None), "names no router"),
        (put("once", "routeSummary", None), "has no route"),
        (put("once", "code", 4_008), "code is 4008"),
        (put("once", "code", "secret words"), "code is none"),
        (put("build", "routerAddress", to_hex(OTHER)), "is not on the list"),
        (put("build", "amountIn", "1"), "another amount than the route"),
        (put("build", "amountOut", "1"), "promises less than the limit"),
        (put("build", "transactionValue", "1"), "native coins"),
        (put("build", "data", "0xzz"), "no hex"),
        (put("build", "data", "0xe21f"), "2 bytes of calldata"),
        (put("build", "data", "0x" + "ab" * 7_000), "7000 bytes of calldata"),
    ],
)
async def test_what_contradicts_is_refused_in_one_line(
    venue: KyberVenue, stand_in: StandIn, change: Change, said: str
) -> None:
    stand_in.change = change
    with pytest.raises(QuoteError) as refused:
        await venue.quote(WISH)
    text = str(refused.value)
    assert text.startswith("kyber: ") and said in text and "\n" not in text and "secret" not in text


@pytest.mark.parametrize(
    "response, said",
    [
        (lambda: web.Response(status=429), "HTTP 429"),
        (lambda: web.Response(status=302, headers={"location": "http://127.0.0.1:1/"}), "HTTP 302"),
        (lambda: web.Response(text="<html>sorry</html>"), "no JSON"),
        (lambda: web.Response(text="[" * 200_000), "no JSON"),
        (lambda: web.Response(text="[" * 70 + "]" * 70), "no JSON"),
        (lambda: web.Response(text="[]"), "code is none"),
        (lambda: web.Response(text='{"code":0,"data":[]}'), "no data"),
        (lambda: web.Response(text=" " * 600_000), "more than"),
    ],
)
async def test_answers_that_are_none_are_refused(
    venue: KyberVenue, stand_in: StandIn, response: Callable[[], web.Response], said: str
) -> None:
    stand_in.response = response
    with pytest.raises(QuoteError, match=said):
        await venue.quote(WISH)


async def test_a_service_that_is_late_or_gone_is_passed_over(venue: KyberVenue, stand_in: StandIn) -> None:
    stand_in.delay_s = 30
    hasty = KyberVenue(replace(venue._terms, deadline_s=1), SlippagePolicy())
    with pytest.raises(QuoteError, match="no answer within 1 s"):
        await hasty.quote(WISH)
    gone = KyberVenue(replace(venue._terms, base_url="http://127.0.0.1:9/secret-path"), SlippagePolicy())
    with pytest.raises(QuoteError) as refused:
        await gone.quote(WISH)
    assert "secret" not in str(refused.value)
    with pytest.raises(QuoteError, match="whole amounts only"):
        await gone.quote(replace(WISH, amount_out_raw=5))
    for each in (hasty, gone):
        await each.close()


# -- asked beside the heads ----------------------------------------------------------------------------------------------

BORROWER = Address(b"\xbb" * 20)
HELD = replace(WISH, most_in_raw=SOLD_RAW * 1_000 // 999 + 1)
"""At the head; a little less of it is asked for."""
COUPLE = (WETH, USDC)


def gone_from(venue: KyberVenue) -> KyberVenue:
    return KyberVenue(replace(venue._terms, base_url="http://127.0.0.1:9/"), SlippagePolicy())


async def test_where_one_venue_fails_the_next_serves_and_an_answer_counts_while_it_is_fresh(
    venue: KyberVenue, stand_in: StandIn
) -> None:
    now = [1_000.0]
    asked = Elsewhere([gone_from(venue), venue], lambda: now[0])
    assert asked.routes(BORROWER, [HELD]) == {}
    assert asked.want(BORROWER, [HELD]) and asked.want(BORROWER, [HELD])
    assert stand_in.asked == [], "nobody waited for it"
    await asked.ask()
    assert not asked.is_waiting
    [(couple, route)] = asked.routes(BORROWER, [HELD]).items()
    assert couple == COUPLE and (route.amount_in_raw, route.amount_out_raw) == (SOLD_RAW, OUT_RAW)
    assert not asked.want(BORROWER, [HELD]), "it was answered"
    # There may be other amounts by now.
    assert asked.routes(BORROWER, [replace(HELD, most_in_raw=SOLD_RAW)]) != {}
    for other_raw in (SOLD_RAW - 1, SOLD_RAW * 102 // 100):
        assert asked.routes(BORROWER, [replace(HELD, most_in_raw=other_raw)]) == {}
    now[0] += FRESH_S + 1
    assert asked.routes(BORROWER, [HELD]) == {} and asked.want(BORROWER, [HELD])


async def test_what_was_refused_or_did_not_do_is_not_asked_again_at_once(venue: KyberVenue, stand_in: StandIn) -> None:
    now = [1_000.0]
    asked = Elsewhere([gone_from(venue), venue], lambda: now[0])
    dear = replace(HELD, least_out_raw=OUT_RAW + 1)
    assert asked.want(BORROWER, [dear])
    await asked.ask()
    assert asked.routes(BORROWER, [dear]) == {} and not asked.want(BORROWER, [dear])
    now[0] += FRESH_S + 1
    assert asked.want(BORROWER, [HELD])
    await asked.ask()
    asked.reject(BORROWER)
    assert asked.routes(BORROWER, [HELD]) == {} and asked.want(BORROWER, [HELD]), "others may have gone that way first"
    await asked.ask()
    assert asked.routes(BORROWER, [HELD]) != {}
    asked.reject(BORROWER)
    assert asked.routes(BORROWER, [HELD]) == {} and not asked.want(BORROWER, [HELD])


async def test_after_two_orders_the_same_way_the_others_ask_again(venue: KyberVenue) -> None:
    asked = Elsewhere([venue])
    who = [Address(bytes([number]) * 20) for number in range(1, 5)]
    for each in who:
        assert asked.want(each, [HELD])
    await asked.ask()
    for each in who[:2]:
        assert asked.routes(each, [HELD]) != {}
        asked.take(each, [COUPLE])
    assert all(asked.routes(each, [HELD]) == {} and asked.want(each, [HELD]) for each in who[2:])


async def test_nobody_waits_for_a_place_in_the_queue(venue: KyberVenue, stand_in: StandIn) -> None:
    asked = Elsewhere([venue])
    for number in range(MOST_WAITING):
        assert asked.want(Address(bytes([number]) * 20), [HELD])
    assert not asked.want(BORROWER, [HELD])
    stand_in.response = partial(web.Response, status=500)
    await asked.ask()
    assert not asked.is_waiting and asked.want(BORROWER, [HELD])
