"""No part of an RPC URL beyond scheme, host and port ever shows: not in messages, not in chained errors, not in logs."""

from __future__ import annotations

import asyncio
import logging
import traceback

import pytest

from keeper.chain.agreement import Agreement
from keeper.chain.capabilities import probe, slower_ways
from keeper.chain.endpoints import Endpoints
from keeper.chain.jsonrpc import JsonRpc
from keeper.chain.line import Endpoint, Exchange
from keeper.core.errors import ChainError
from tests.chain.bench import CHAIN_ID, Bench
from tests.faults import FaultProxy, Manners

CANARIES = ("canarypath0123456789", "canaryquery", "canaryuser", "canarypass")


def _with_secrets(url: str) -> str:
    host = url.removeprefix("http://")
    return f"http://canaryuser:canarypass@{host}/v3/canarypath0123456789?apikey=canaryquery"


def _everything(error: BaseException) -> str:
    """What could be printed of an error and all that hangs on it."""
    told, waiting, seen = [], [error], set()
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        told += [str(each), repr(each), repr(each.args), repr(vars(each)), "".join(traceback.format_exception(each))]
        waiting += [chained for chained in (each.__cause__, each.__context__) if chained is not None]
    return "\n".join(told)


def _clean(text: str) -> bool:
    return not any(canary in text for canary in CANARIES)


ECHOED = {"code": -32000, "message": "no project canarypath0123456789 for canaryuser", "data": "canaryquery"}
FAULTS = [
    Manners(html=True),
    Manners(truncated=True),
    Manners(empty=True),
    Manners(wrong_id=True),
    Manners(dropped=True),
    Manners(hung_up=True),
    Manners(delay_s=1.0),
    Manners(batches=False),
    Manners(errors={"eth_chainId": ECHOED, "eth_call": ECHOED}),
    *(Manners(status=status) for status in (301, 400, 401, 403, 404, 413, 429, 500, 503)),
]


@pytest.mark.parametrize("manners", FAULTS)
async def test_faults_do_not_show_the_url(
    proxy: FaultProxy, manners: Manners, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    proxy.manners = manners
    told: list[str] = []
    async with JsonRpc(_with_secrets(proxy.url), timeout_s=0.3) as rpc:
        told.append(repr(rpc) + rpc.label)
        with pytest.raises(ChainError) as caught:
            await rpc.request("eth_chainId") if manners.batches else await rpc.batch([("eth_chainId", [])] * 2)
        told.append(_everything(caught.value))
    told += [caplog.text, *capfd.readouterr()]
    assert all(map(_clean, told))


async def test_refused_connections_do_not_show_the_url() -> None:
    async with JsonRpc(_with_secrets("http://127.0.0.1:1"), timeout_s=1) as rpc:
        with pytest.raises(ChainError) as caught:
            await rpc.request("eth_chainId")
    assert _clean(_everything(caught.value))


async def test_something_that_does_not_speak_http_does_not_show_the_url() -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail ready\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with JsonRpc(_with_secrets(f"http://127.0.0.1:{port}"), timeout_s=1) as rpc:
        with pytest.raises(ChainError) as caught:
            await rpc.request("eth_chainId")
    server.close()
    await server.wait_closed()
    assert _clean(_everything(caught.value))


@pytest.mark.parametrize("manners", [Manners(html=True), Manners(delay_s=1.0), Manners(status=500)])
async def test_fail_over_does_not_show_the_urls(proxy: FaultProxy, manners: Manners) -> None:
    proxy.manners = manners
    endpoint = Endpoint(_with_secrets(proxy.url), timeout_s=0.2)
    seen: list[Exchange] = []
    async with Endpoints([endpoint], None, attempts=2, deadline_s=1.0, observer=seen.append) as rpc:
        with pytest.raises(ChainError) as caught:
            await rpc.request("eth_chainId")
        told = repr(endpoint) + repr(rpc) + repr(rpc.labels) + repr(seen)
    assert seen
    assert _clean(told + _everything(caught.value))


@pytest.mark.parametrize("manners", FAULTS)
async def test_what_is_found_of_endpoints_does_not_show_their_urls(
    bench: Bench, proxy: FaultProxy, manners: Manners, caplog: pytest.LogCaptureFixture
) -> None:
    """Their heads, health and capabilities, and what the last word on an order fails on."""
    caplog.set_level(logging.DEBUG)
    head = await bench.head()
    other = _with_secrets(proxy.url.replace("127.0.0.1", "localhost"))
    urls = [_with_secrets(proxy.url), other]
    proxy.manners = manners
    async with Endpoints([Endpoint(url, timeout_s=0.2) for url in urls], CHAIN_ID, attempts=1, deadline_s=0.5) as rpc:
        found = await probe(rpc, head)
        told = [repr(found), *(way for each in found for way in slower_ways(each, found))]
        told += [repr(await rpc.heads()), repr(rpc.health()), repr(rpc.lines)]
        told += [_everything(each.error) for each in await rpc.heads() if each.error is not None]
        told += [_everything(each.trouble) for each in found if each.trouble is not None]
        answers = [*await asyncio.gather(Agreement(rpc, 2).request("eth_call", [{}, "latest"]), return_exceptions=True)]
        told += [_everything(answer) for answer in answers if isinstance(answer, BaseException)]
    assert len(told) > 4
    assert all(map(_clean, [*told, caplog.text]))
