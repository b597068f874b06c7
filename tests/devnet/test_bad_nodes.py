"""Nodes that misbehave: one clear line and exit code 1, the URL's key kept, nothing sent, nothing lost."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from keeper.app.plan import RunPlan
from keeper.app.run import run_keeper
from keeper.core.errors import MalformedResponse
from keeper.core.units import to_hex
from keeper.devnet import admin
from keeper.devnet.market import Bed
from keeper.pipeline import supervise
from tests.devnet.keeping import Keeping, keeping
from tests.devnet.secrets_kept import KEY_IN_URL, assert_kept, with_key
from tests.faults import FaultProxy, Manners

BAD_MANNERS = {
    "html": (Manners(html=True), "no JSON"),
    "truncated": (Manners(truncated=True), "no JSON"),
    "empty": (Manners(empty=True), "empty body"),
    "wrong id": (Manners(wrong_id=True), "wrong id"),
    "dropped": (Manners(dropped=True), "is the node running"),
    "hung up": (Manners(hung_up=True), "is the node running"),
    "server error": (Manners(status=503), "HTTP 503"),
    "unauthorised": (Manners(status=401), "check the key"),
    "redirect": (Manners(status=302), "HTTP 302"),
    "silent": (Manners(delay_s=60), "rpc.timeout_s"),
    "error": (Manners(errors={"eth_call": {"code": -32603, "message": f"no /v2/{KEY_IN_URL} for you"}}), "for you"),
    "no blocks": (Manners(errors={"eth_getBlockByNumber": {"code": -32000, "message": "internal"}}), "internal"),
    "odd error": (Manners(errors={"eth_chainId": {"code": "x", "message": None}}), "eth_chainId"),
}


@pytest.fixture
async def kept(bed36: Bed, tmp_path: Path) -> Keeping:
    return await keeping(bed36, tmp_path)


@pytest.mark.parametrize("name", BAD_MANNERS)
async def test_a_node_that_misbehaves_is_told_in_one_line(bed36: Bed, kept: Keeping, name: str) -> None:
    manners, says = BAD_MANNERS[name]
    async with FaultProxy(bed36.url, manners) as proxy:
        kept.rpc_url = with_key(proxy.url)
        kept.tables["rpc"] = {"timeout_s": 0.5}
        once = await kept.run_once()
        market = ["--rpc", kept.rpc_url, "--addresses-provider", to_hex(kept.provider)]
        listed = await kept.run("positions", "--json", *(market if name != "silent" else ["-c", str(kept.config)]))
        for ended in (once, listed):
            assert (ended.code, ended.out) == (1, "")
            assert proxy.url in ended.error_line
            assert says in ended.error_line
        assert_kept(kept, once, listed)
    assert "trouble" in kept.kinds()
    assert kept.events("stopped")


async def test_a_node_that_is_not_there(kept: Keeping) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        kept.rpc_url = with_key(f"http://127.0.0.1:{unused.getsockname()[1]}")
        ended = await kept.run_once(fresh=True)
    assert ended.code == 1
    assert "is the node running, and rpc_url right?" in ended.error_line
    assert_kept(kept, ended)


async def test_the_second_node_serves_when_the_first_does_not(bed36: Bed, kept: Keeping) -> None:
    async with FaultProxy(bed36.url, Manners(html=True)) as bad, FaultProxy(bed36.url) as good:
        kept.chain["rpc_url"] = [with_key(bad.url), with_key(good.url)]
        ended = await kept.run_once()
        assert ended.code == 0
        assert_kept(kept, ended)


def torn(data: str) -> str:
    return data[: len(data) - 64]


async def test_a_log_that_does_not_decode_is_no_zero(
    bed36: Bed, kept: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a `Borrow` is neither a borrower nor nobody: the run ends, and the same run on an honest node is in order."""
    monkeypatch.setattr(supervise, "FIRST_PAUSE_S", 0.01)
    await admin.set_answer(bed36, "WETH", await bed36.price_base("WETH") * 80 // 100)
    logs = await bed36.chain.rpc.request(
        "eth_getLogs", [{"fromBlock": "0x0", "address": to_hex(bed36.deployment.pool)}]
    )

    def with_torn_logs(method: str, params: list[Any]) -> dict[str, Any] | None:
        if method != "eth_getLogs":
            return None
        topics = params[0]["topics"][0] if params[0].get("topics") else None
        wanted = [
            log
            for log in logs
            if topics is None or log["topics"][0] in ([topics] if isinstance(topics, str) else topics)
        ]
        return {"result": [{**log, "data": torn(log["data"])} for log in wanted]}

    async with FaultProxy(bed36.url, on_request=with_torn_logs) as proxy:
        kept.rpc_url = with_key(proxy.url)
        with pytest.raises(MalformedResponse, match="Borrow"):
            await run_keeper(kept.settings(), RunPlan(once=True, live=False, fork=False))
        assert kept.events("caught_up", "decided", "sent") == []
        proxy.on_request = None
        assert (await kept.run_once()).code == 3
    assert len(kept.events("decided")) >= 5
    assert_kept(kept)


async def test_reads_that_end_short_are_no_zero(bed36: Bed, kept: Keeping) -> None:
    """Every answer of every call loses its last word."""

    async with FaultProxy(bed36.url) as proxy:
        answered = proxy._pass_on

        async def short(method: str, params: list[Any], manners: Manners) -> dict[str, Any]:
            answer = await answered(method, params, manners)
            if method == "eth_call" and isinstance(answer.get("result"), str) and len(answer["result"]) > 2:
                answer["result"] = torn(answer["result"])
            return answer

        proxy._pass_on = short  # type: ignore[method-assign]
        kept.rpc_url = with_key(proxy.url)
        ended = await kept.run_once()
    assert ended.code in (1, 2)
    assert ended.error_line
    assert kept.events("caught_up", "decided", "sent") == []
    assert_kept(kept, ended)
