"""A stand-in for the HTTP aggregator whose calldata is real: Uniswap's own router does it, on the test's chain."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from keeper.core.units import Address, address_from_hex, to_hex
from tests.contracts.deals import routed_to
from tests.contracts.world import World


class Aggregator:
    """Sells ether for dollars through the world's deep pool, as that stands."""

    def __init__(self, world: World) -> None:
        self.asked = 0
        self.pays: Callable[[Address], Address] = lambda recipient: recipient
        """Whom its calldata pays, of whom it was told."""
        self.url = ""
        self._world = world

    async def _routes(self, request: web.Request) -> web.Response:
        self.asked += 1
        asked = request.query
        out_raw = await self._out_raw(int(asked["amountIn"]))
        tokens = {"tokenIn": asked["tokenIn"], "tokenOut": asked["tokenOut"]}
        summary = {**tokens, "amountIn": asked["amountIn"], "amountOut": str(out_raw), "gas": "150000"}
        return self._answer({"routeSummary": summary})

    async def _build(self, request: web.Request) -> web.Response:
        body = await request.json()
        amount_raw, out_raw = (int(body["routeSummary"][key]) for key in ("amountIn", "amountOut"))
        calldata = routed_to(self._world, self.pays(address_from_hex(body["recipient"])), amount_raw)
        built = {
            "amountIn": str(amount_raw),
            "amountOut": str(out_raw),
            "data": to_hex(calldata),
            "transactionValue": "0",
        }
        return self._answer(built)

    async def _out_raw(self, amount_raw: int) -> int:
        world, quoter = self._world, self._world.uniswap.contracts["QuoterV2"]
        asked = (world.weth, world.usdc, amount_raw, 500, 0)
        answer: Any = await world.bed.chain.call(world.uniswap.quoter, quoter, "quoteExactInputSingle", asked)
        return int(answer[0])

    def _answer(self, data: dict[str, Any]) -> web.Response:
        return web.json_response({"code": 0, "data": {**data, "routerAddress": to_hex(self._world.uniswap.router)}})

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_get("/api/v1/routes", self._routes)
        app.router.add_post("/api/v1/route/build", self._build)
        async with TestServer(app) as server:
            self.url = str(server.make_url("/"))
            yield
