"""`keeper devnet`: it stands, it is what it says, and nothing of it remains."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest

from keeper.chain.jsonrpc import JsonRpc
from keeper.core.errors import RpcUnreachable
from tests.devnet.commands import PATIENCE_S, Running, happens, started
from tests.devnet_fixtures import BASE_POSITIONS

START_WITHIN_S = 3 * PATIENCE_S
"""The first one of a day has to be built."""


def told(folder: Path, key: str) -> str | None:
    found = re.search(rf"^{key} += (\S+)$", output_of(folder), re.MULTILINE)
    return found[1] if found else None


def output_of(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.glob("out-*.txt"))


async def ready(folder: Path, devnet: Running) -> str:
    await happens(lambda: told(folder, "chain_id") is not None or not devnet.alive, START_WITHIN_S)
    url = told(folder, "rpc_url")
    assert url is not None, devnet.errors
    return url


async def is_gone(url: str) -> bool:
    async with JsonRpc(url) as rpc:
        try:
            await rpc.request("eth_chainId")
        except RpcUnreachable:
            return True
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
@pytest.mark.timeout(400)
async def test_it_stands_until_it_is_ended_and_nothing_remains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    scratch, devnet_folder = tmp_path / "scratch", tmp_path / "devnet"
    scratch.mkdir()
    devnet_folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    account = "0x00000000000000000000000000000000000000aC"
    arguments = ["devnet", "--positions", str(BASE_POSITIONS), "--pools", "--fund", account]
    async with started(arguments, devnet_folder, fresh=True) as devnet:
        url = await ready(devnet_folder, devnet)
        assert list(scratch.iterdir()), "anvil's folder"
        provider = told(devnet_folder, "addresses_provider")
        assert provider is not None
        market = ["--rpc", url, "--addresses-provider", provider]
        async with started(["positions", "--json", *market], tmp_path) as listing:
            listed = await listing.ended()
        assert listed.code == 0
        assert len(json.loads(listed.out)) == BASE_POSITIONS
        async with JsonRpc(url) as rpc:
            assert int(await rpc.request("eth_chainId"), 16) == int(told(devnet_folder, "chain_id") or 0)
            assert int(await rpc.request("eth_getBalance", [account, "latest"]), 16) > 0
            allowed = re.findall(r"executor allow (0x\w{40}) --as (market|pool) ", output_of(devnet_folder))
            assert [role for _, role in allowed] == ["market", *["pool"] * 6]
            factory = re.findall(r'v3_factories = \["(0x\w{40})"\]', output_of(devnet_folder))
            for contract in (*factory, *(each for each, _ in allowed)):
                assert await rpc.request("eth_getCode", [contract, "latest"]) != "0x"
            request = json.loads(re.findall(r"-d '(.*)'", output_of(devnet_folder))[0])
            await rpc.request(request["method"], request["params"])
        near = ["positions", "--json", "--below", "1.0", *market]
        async with started(near, tmp_path) as listing:
            assert json.loads((await listing.ended()).out), (
                "the price that it says how to lower brings somebody below 1"
            )
        ended = await devnet.stopped(number)
    assert ended.code == 0
    assert "Traceback" not in ended.err
    assert await is_gone(url)
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("arguments", [["--version", "2"], ["--positions", "-1"], ["--seed", "x"], ["--fund", "me"]])
async def test_a_wrong_wish_is_one_line(tmp_path: Path, arguments: list[str]) -> None:
    async with started(["devnet", *arguments], tmp_path) as devnet:
        ended = await devnet.ended()
    assert (ended.code, ended.out) == (2, "")
    assert arguments[0] in ended.error_line
