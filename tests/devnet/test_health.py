"""`/health`: 200 only while the applied block advances and a market is in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from keeper.app import terms
from keeper.core.units import to_hex
from keeper.devnet.market import Bed
from tests.devnet.commands import comes_true
from tests.devnet.inside import inside
from tests.devnet.keeping import health_page, keeping
from tests.devnet.stable_debt import borrow_at_a_stable_rate, repay_it
from tests.faults import FaultProxy, Manners
from tests.ports import free_port

PATIENCE_S = 1.0
"""Instead of a minute: how long a head may be missing."""
NO_ANVIL = {"anvil_nodeInfo": {"code": -32601, "message": "method not found"}}
"""A node that is expected to mine by itself."""


@asynccontextmanager
async def mining(bed: Bed) -> AsyncIterator[None]:
    """A block now and then."""

    async def mine() -> None:
        while True:
            await bed.chain.mine()
            await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(mine())
        yield
        task.cancel()


async def page_says(port: int, status: int, market: str, state: str) -> None:
    async def says() -> bool:
        code, body = await health_page(port)
        markets = body.get("chains", {}).get("devnet", {}).get("markets", {})
        return code == status and markets.get(market, {}).get("state") == state

    await comes_true(says, within_s=20)


async def test_a_node_that_stands_still_is_seen_and_told(
    bed36: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terms, "SHORTEST_HEAD_AGE_S", PATIENCE_S)
    port = free_port()
    async with FaultProxy(bed36.url, Manners(errors=NO_ANVIL)) as proxy, mining(bed36):
        kept = await keeping(bed36, tmp_path, proxy.url)
        kept.chain["block_time_s"] = 0.1
        market = to_hex(kept.provider)
        async with inside(kept, port):
            await page_says(port, 200, market, "verified")
            proxy.manners = Manners(errors=NO_ANVIL, head_number=await bed36.chain.block_number())
            await page_says(port, 503, market, "verified")
            alert = await kept.until("alert")
            assert alert.fields["key"] == "stalled"
            assert "no new block for" in alert.fields["detail"]
            proxy.manners = Manners(errors=NO_ANVIL, hung_up=True)
            trouble = await kept.until("trouble")
            assert trouble.fields["error"] == "RpcUnreachable"
            assert (await health_page(port))[0] == 503
            proxy.manners = Manners(errors=NO_ANVIL)
            await page_says(port, 200, market, "verified")
            _, body = await health_page(port)
            assert "ServerDisconnectedError" in body["chains"]["devnet"]["last_error"]


async def test_a_chain_that_advances_beside_a_market_that_does_not_is_no_good_sign(
    bed36: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heads come, but the market's logs cannot be read."""
    monkeypatch.setattr(terms, "SHORTEST_HEAD_AGE_S", PATIENCE_S)
    port = free_port()
    async with FaultProxy(bed36.url) as proxy, mining(bed36):
        kept = await keeping(bed36, tmp_path, proxy.url)
        kept.chain["block_time_s"] = 0.1
        market = to_hex(kept.provider)
        async with inside(kept, port):
            await page_says(port, 200, market, "verified")
            proxy.manners = Manners(errors={"eth_getLogs": {"code": -32603, "message": "internal error"}})
            await page_says(port, 503, market, "verified")
            assert (await health_page(port))[0] == 503
            proxy.manners = Manners()
            await page_says(port, 200, market, "verified")


async def test_a_market_that_comes_to_be_refused_is_seen_and_taken_up_again(bed302: Bed, tmp_path: Path) -> None:
    """Somebody borrows at a stable rate while the keeper follows; later it is repaid."""
    kept, port = await keeping(bed302, tmp_path), free_port()
    market = to_hex(kept.provider)
    async with mining(bed302), inside(kept, port):
        await page_says(port, 200, market, "verified")
        await borrow_at_a_stable_rate(bed302)
        await page_says(port, 503, market, "refused")
        refusal = await kept.until("market_refused")
        assert "stable" in refusal.fields["detail"]
        await repay_it(bed302)
        await page_says(port, 200, market, "verified")
