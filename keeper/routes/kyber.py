"""KyberSwap's public aggregator as a venue: it needs no key, and nothing that it says is taken on trust.

`GET …/api/v1/routes` quotes, `POST …/api/v1/route/build` makes calldata of exactly that quote. What is believed of it: nothing
that contradicts what was asked, the oracle, or the list of routers; and the executor asks for the least output itself, whatever
the calldata does. How deep the market is, is asked like a quote: the same amount twice over.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from keeper.core.errors import QuoteError
from keeper.core.executor import MOST_CALLDATA_BYTES
from keeper.core.foreign_json import decode_json
from keeper.core.selling.slippage import SlippagePolicy, increased, lessened
from keeper.core.swap import Route, StepKind, SwapStep, Wish
from keeper.core.units import Address, to_hex

CHAIN_NAMES: Mapping[int, str] = {
    1: "ethereum",
    10: "optimism",
    56: "bsc",
    137: "polygon",
    8_453: "base",
    42_161: "arbitrum",
    43_114: "avalanche",
    59_144: "linea",
    534_352: "scroll",
}
"""By chain id, as the service calls them; another one is named in the configuration."""
ABSURD_BPS = 1_000
"""An output so far above the oracle's worth is a wrong token or a lie, not luck."""
_MOST_BODY_BYTES = 512 * 1024
_MOST_GAS = 10_000_000
_AMOUNT = re.compile(r"[0-9]{1,78}")
_DATA = re.compile(r"0x(?:[0-9a-fA-F]{2})+")


@dataclass(frozen=True, slots=True)
class Kyber:
    """Where it is and what it may do."""

    base_url: str
    """With the chain's name, up to /api."""
    routers: frozenset[Address]
    """Whose calldata may be executed. The executor's owner must have allowed them, too."""
    executor: Address
    """Sender and recipient of the swap."""
    deadline_s: int = 3
    """For all requests of one quote together."""


class KyberVenue:
    """Sells a whole amount. `keeper.ports.Venue`."""

    name = "kyber"

    def __init__(self, terms: Kyber, policy: SlippagePolicy) -> None:
        self._terms = terms
        self._policy = policy
        self._session: aiohttp.ClientSession | None = None

    @property
    def routers(self) -> frozenset[Address]:
        """Whose calldata it may bring."""
        return self._terms.routers

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def quote(self, wish: Wish) -> Route:
        if wish.amount_out_raw is not None:
            raise QuoteError(f"{self.name}: it sells whole amounts only")
        try:
            async with asyncio.timeout(self._terms.deadline_s):
                return await self._quoted(wish)
        except TimeoutError:
            raise QuoteError(f"{self.name}: no answer within {self._terms.deadline_s} s") from None
        except aiohttp.ClientError as error:
            # Its text may hold the URL.
            raise QuoteError(f"{self.name}: {type(error).__name__}") from None

    async def _quoted(self, wish: Wish) -> Route:
        summary, router = await self._summary(wish, 1)
        out_raw = self._amount(summary, "amountOut")
        if out_raw > increased(wish.oracle_out_raw, ABSURD_BPS):
            raise QuoteError(
                f"{self.name}: {out_raw} for what the oracle says is worth {wish.oracle_out_raw} is not believed"
            )
        if out_raw < wish.least_out_raw:
            raise QuoteError(f"{self.name}: {out_raw} is less than the {wish.least_out_raw} that are needed")
        gas = self._amount(summary, "gas")
        if not 0 < gas <= _MOST_GAS:
            raise QuoteError(f"{self.name}: a route of {gas} gas is not taken")
        tolerance_bps = self._policy.tolerance_bps(out_raw, await self._again_raw(wish, out_raw))
        least_out_raw = lessened(out_raw, tolerance_bps)
        calldata = await self._built(summary, router, tolerance_bps, least_out_raw)
        step = SwapStep(
            kind=StepKind.ROUTER,
            venue=router,
            token_in=wish.token_in,
            token_out=wish.token_out,
            amount_raw=wish.most_in_raw,
            limit_raw=least_out_raw,
            zero_for_one=False,
            calldata=calldata,
        )
        return Route(
            venue=self.name,
            token_in=wish.token_in,
            token_out=wish.token_out,
            amount_in_raw=wish.most_in_raw,
            amount_out_raw=out_raw,
            least_out_raw=least_out_raw,
            most_in_raw=wish.most_in_raw,
            steps=(step,),
            gas=gas,
        )

    async def _again_raw(self, wish: Wish, out_raw: int) -> int | None:
        """What the same amount brings right behind ours; None where twice as much is not quoted."""
        try:
            twice, _ = await self._summary(wish, 2)
            return self._amount(twice, "amountOut") - out_raw
        except QuoteError:
            return None

    async def _summary(self, wish: Wish, times: int) -> tuple[dict[str, Any], Address]:
        """The route summary, which goes back word for word, and the router; both checked against what was asked."""
        amount_raw = wish.most_in_raw * times
        parameters = {
            "tokenIn": to_hex(wish.token_in),
            "tokenOut": to_hex(wish.token_out),
            "amountIn": str(amount_raw),
            "gasInclude": "true",
        }
        data = await self._ask("GET", "/api/v1/routes", params=parameters)
        summary = data.get("routeSummary")
        if not isinstance(summary, dict):
            raise QuoteError(f"{self.name}: the answer has no route")
        for key, token in (("tokenIn", wish.token_in), ("tokenOut", wish.token_out)):
            if str(summary.get(key)).lower() != to_hex(token):
                raise QuoteError(f"{self.name}: the route has another {key} than was asked for")
        if self._amount(summary, "amountIn") != amount_raw:
            raise QuoteError(f"{self.name}: the route is for another amount than was asked for")
        return summary, self._router(data)

    async def _built(self, summary: dict[str, Any], router: Address, tolerance_bps: int, least_out_raw: int) -> bytes:
        executor = to_hex(self._terms.executor)
        body = {
            "routeSummary": summary,
            "sender": executor,
            "recipient": executor,
            "slippageTolerance": tolerance_bps,
        }
        data = await self._ask("POST", "/api/v1/route/build", json=body)
        if self._router(data) != router:
            raise QuoteError(f"{self.name}: the calldata is for another router than the route")
        if self._amount(data, "amountIn") != self._amount(summary, "amountIn"):
            raise QuoteError(f"{self.name}: the calldata is for another amount than the route")
        if self._amount(data, "amountOut") < least_out_raw:
            raise QuoteError(f"{self.name}: the calldata promises less than the limit {least_out_raw}")
        if str(data.get("transactionValue", "0")) != "0":
            raise QuoteError(f"{self.name}: the calldata wants native coins")
        text = data.get("data")
        if not isinstance(text, str) or not _DATA.fullmatch(text):
            raise QuoteError(f"{self.name}: the calldata is no hex")
        calldata = bytes.fromhex(text[2:])
        if not 4 <= len(calldata) <= MOST_CALLDATA_BYTES:
            raise QuoteError(
                f"{self.name}: {len(calldata)} bytes of calldata, the executor takes {MOST_CALLDATA_BYTES}"
            )
        return calldata

    async def _ask(self, method: str, path: str, **sent: Any) -> dict[str, Any]:
        """The `data` of an answer that says that all is well."""
        if self._session is None:
            self._session = aiohttp.ClientSession(headers={"x-client-id": "keeper", "accept": "application/json"})
        url = self._terms.base_url.rstrip("/") + path
        async with self._session.request(method, url, allow_redirects=False, **sent) as response:
            body = await response.content.read(_MOST_BODY_BYTES + 1)
            while len(body) <= _MOST_BODY_BYTES and not response.content.at_eof():
                body += await response.content.read(_MOST_BODY_BYTES + 1 - len(body))
            if response.status != 200:
                raise QuoteError(f"{self.name}: HTTP {response.status}")
        if len(body) > _MOST_BODY_BYTES:
            raise QuoteError(f"{self.name}: an answer of more than {_MOST_BODY_BYTES} bytes")
        try:
            answer = decode_json(body)
        except ValueError:
            raise QuoteError(f"{self.name}: an answer that is no JSON") from None
        code = answer.get("code") if isinstance(answer, dict) else None
        if code != 0 or isinstance(code, bool):
            shown = code if isinstance(code, int) else "none"
            raise QuoteError(f"{self.name}: the answer's code is {shown}, not 0")
        data = answer.get("data")
        if not isinstance(data, dict):
            raise QuoteError(f"{self.name}: the answer has no data")
        return data

    def _router(self, data: Mapping[str, Any]) -> Address:
        text = data.get("routerAddress")
        if not isinstance(text, str) or not re.fullmatch(r"0x[0-9a-fA-F]{40}", text):
            raise QuoteError(f"{self.name}: the answer names no router")
        router = Address(bytes.fromhex(text[2:]))
        if router not in self._terms.routers:
            raise QuoteError(f"{self.name}: the router {to_hex(router)} is not on the list")
        return router

    def _amount(self, data: Mapping[str, Any], key: str) -> int:
        text = data.get(key)
        if not isinstance(text, str) or not _AMOUNT.fullmatch(text):
            raise QuoteError(f"{self.name}: {key} is no amount")
        return int(text)
