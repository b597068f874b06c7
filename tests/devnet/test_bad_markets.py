"""Markets and chains that are not what the configuration says."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from keeper.core.units import Address, to_hex
from keeper.devnet import admin
from keeper.devnet.anvil import AnvilOptions, install_anvil, running_anvil
from keeper.devnet.market import Bed, Builder
from keeper.devnet.state import Recipe, started_bed
from tests.devnet.chain_facts import nonce
from tests.devnet.keeping import Keeping, health_page, keeping
from tests.devnet.secrets_kept import assert_kept, with_key
from tests.devnet.stable_debt import borrow_at_a_stable_rate
from tests.faults import FaultProxy
from tests.ports import free_port


def somewhere_else(bed: Bed, what: str) -> Address:
    places = {"account": Address(b"\x12" * 20), "pool": bed.deployment.pool, "token": bed.asset("USDC").token}
    return places[what]


def preset(bed: Bed, folder: Path, **changed: object) -> str:
    """A preset file of our own that fits the bed, but for what is changed."""
    deployment = bed.deployment
    told = {
        "name": "ours",
        "chain_id": deployment.chain_id,
        "testnet": True,
        "block_time_s": 1,
        "addresses_provider": to_hex(deployment.addresses_provider),
        "pool": to_hex(deployment.pool),
        "pool_configurator": to_hex(deployment.pool_configurator),
        "oracle": to_hex(deployment.oracle),
        **changed,
    }
    path = folder / "ours.toml"
    path.write_text("".join(f"{name} = {json.dumps(each)}\n" for name, each in told.items()))
    return str(path)


@pytest.mark.parametrize("what", ["account", "pool", "token"])
async def test_an_address_that_is_no_provider_is_a_mistake_in_the_file(bed36: Bed, tmp_path: Path, what: str) -> None:
    """In every command, the daemon's start included."""
    async with FaultProxy(bed36.url) as proxy:
        kept = await keeping(bed36, tmp_path, with_key(proxy.url))
        kept.provider = somewhere_else(bed36, what)
        once = await kept.run_once()
        async with kept.daemon() as daemon:
            running = await daemon.ended()
        listed = await kept.run("positions", "--config", str(kept.config))
    for ended in (once, running, listed):
        assert (ended.code, ended.out) == (2, "")
        assert to_hex(kept.provider) in ended.error_line
        assert "correct addresses_provider" in ended.error_line
    assert_kept(kept, once, running, listed)


async def test_a_node_that_has_not_caught_up_proves_nothing(tmp_path: Path) -> None:
    """Where its newest block is days old, a contract that is missing may come yet."""
    yesterday_s = int(time.time()) - 90_000
    async with running_anvil(install_anvil(), AnvilOptions(timestamp_s=yesterday_s)) as node:
        ended = await Keeping(tmp_path, node.url, Address(b"\x12" * 20)).run_once()
    assert ended.code == 1
    assert "25 hours old: let the node catch up" in ended.error_line


async def test_a_node_of_another_chain_is_a_mistake_in_the_file(bed36: Bed, tmp_path: Path) -> None:
    kept = await keeping(bed36, tmp_path)
    for chain in ({"chain_id": 5}, {"preset": "sepolia", "addresses_provider": []}):
        kept.chain = chain
        ended = await kept.run_once()
        assert ended.code == 2
        assert "31337" in ended.error_line
        assert "correct rpc_url, chain_id or preset" in ended.error_line


async def test_a_preset_that_fits_is_taken_and_one_that_disagrees_is_named(bed36: Bed, tmp_path: Path) -> None:
    kept = await keeping(bed36, tmp_path)
    kept.chain = {"preset": preset(bed36, tmp_path), "addresses_provider": []}
    assert (await kept.run_once()).code == 0
    for name in ("pool", "pool_configurator", "oracle"):
        preset(bed36, tmp_path, **{name: "0x" + "13" * 20})
        ended = await kept.run_once()
        assert ended.code == 2
        assert f"preset 'ours' says {name} 0x1313" in ended.error_line
        assert f"the chain says {to_hex(getattr(bed36.deployment, name))}" in ended.error_line


@pytest.mark.parametrize("chain_id", [1, 137, 4242])
async def test_live_is_refused_where_money_is_real_or_might_be(bed36: Bed, tmp_path: Path, chain_id: int) -> None:
    """Also when a file of the operator's own calls the chain a testnet. Nothing is signed, and the key stays closed."""
    await bed36.chain.rpc.request("anvil_setChainId", [chain_id])
    kept = await keeping(bed36, tmp_path, funded=True)
    assert kept.account is not None
    used = await nonce(bed36, kept.account.address)
    kept.account.keystore.unlink()
    for chain in ({}, {"preset": preset(bed36, tmp_path, chain_id=chain_id), "addresses_provider": []}):
        kept.chain = chain
        ended = await kept.run_once("--live")
        assert ended.code == 2
        assert f"live is refused on chain {chain_id}" in ended.error_line
    assert await nonce(bed36, kept.account.address) == used


async def test_a_market_without_borrowers_is_listed_as_nobody(tmp_path: Path) -> None:
    async with started_bed(Recipe("3.6", 0)) as bed:
        kept = await keeping(bed, tmp_path)
        config = ["--config", str(kept.write())]
        listed = await kept.run("positions", "--json", *config)
        assert (listed.code, json.loads(listed.out)) == (0, [])
        table = await kept.run("positions", *config)
        assert table.code == 0
        assert table.out == "No borrower with debt\n"
        assert (await kept.run_once()).code == 0


async def test_a_refused_market_is_trouble_and_says_why(bed302: Bed, tmp_path: Path) -> None:
    await borrow_at_a_stable_rate(bed302)
    kept = await keeping(bed302, tmp_path)
    once = await kept.run_once()
    listed = await kept.run("positions", "--config", str(kept.config))
    for ended in (once, listed):
        assert ended.code == 1
        assert "stable" in ended.error_line
    [refusal] = kept.events("market_refused")
    assert (refusal.market, refusal.severity) == (to_hex(kept.provider), "alert")


async def test_a_refused_market_does_not_end_the_daemon_and_health_says_so(bed302: Bed, tmp_path: Path) -> None:
    await borrow_at_a_stable_rate(bed302)
    kept, port = await keeping(bed302, tmp_path), free_port()
    async with kept.daemon(health_port=port) as daemon:
        refusal = await kept.until("market_refused")
        assert "stable" in refusal.fields["detail"]
        status, body = await health_page(port)
        assert status == 503
        market = body["chains"]["devnet"]["markets"][to_hex(kept.provider)]
        assert market["state"] == "refused"
        assert "stable" in market["why"]
        assert daemon.alive
        assert (await daemon.stopped()).code == 0


async def test_a_refused_market_leaves_the_one_beside_it_alone(bed36: Bed, tmp_path: Path) -> None:
    """Two markets on one chain: what is wrong with one is told, the other is served."""
    second = await provider_of_a_foreign_pool(bed36)
    kept, port = await keeping(bed36, tmp_path), free_port()
    kept.chain = {"addresses_provider": [to_hex(second), to_hex(bed36.deployment.addresses_provider)]}
    await admin.set_answer(bed36, "WETH", await bed36.price_base("WETH") * 88 // 100)
    ended = await kept.run_once()
    assert ended.code == 1
    assert "belongs to another addresses provider" in ended.error_line
    assert len(kept.events("sent")) >= 3
    [refusal] = kept.events("market_refused")
    assert refusal.market == to_hex(second)
    async with kept.daemon(health_port=port) as daemon:
        await kept.until("caught_up", count=2)
        status, body = await health_page(port)
        while status != 200:
            status, body = await health_page(port)
        assert body["status"] == "degraded"
        markets = body["chains"]["devnet"]["markets"]
        assert markets[to_hex(second)]["state"] == "refused"
        assert markets[to_hex(bed36.deployment.addresses_provider)]["state"] == "verified"
        assert (await daemon.stopped()).code == 0


async def provider_of_a_foreign_pool(bed: Bed) -> Address:
    """An addresses provider that names the pool of another one: no market of its own."""
    build = Builder(bed.chain, bed.contracts)
    provider, deployment = await build.provider(), bed.deployment
    for name, address in (("POOL", deployment.pool), ("POOL_CONFIGURATOR", deployment.pool_configurator)):
        await build.send(provider, "PoolAddressesProvider", "setAddress", name.encode().ljust(32, b"\0"), address)
    await build.send(provider, "PoolAddressesProvider", "setPriceOracle", deployment.oracle)
    return provider


async def test_real_money_is_spent_on_the_very_chain_that_is_named_and_nowhere_else(bed36: Bed, tmp_path: Path) -> None:
    """A chain that is neither testnet nor devnet: an anvil that does not say what it is, under a chain id of its own."""
    chain_id = 4242
    await bed36.chain.rpc.request("anvil_setChainId", [chain_id])
    unknown = {"error": {"code": -32601, "message": "the method anvil_nodeInfo does not exist"}}
    async with FaultProxy(
        bed36.url, on_request=lambda method, _: unknown if method == "anvil_nodeInfo" else None
    ) as proxy:
        kept = await keeping(bed36, tmp_path, proxy.url, funded=True)
        assert kept.account is not None
        used = await nonce(bed36, kept.account.address)
        await admin.set_answer(bed36, "WETH", await bed36.price_base("WETH") * 90 // 100)
        kept.chain = {"live_chain_id": 1}
        ended = await kept.run_once("--live")
        assert ended.code == 2 and "answers for chain 4242; configured is chain 1" in ended.error_line
        kept.chain, kept.rpc_url = {"live_chain_id": chain_id}, bed36.url
        ended = await kept.run_once("--live")
        assert ended.code == 2 and "the node is a local anvil" in ended.error_line
        assert await nonce(bed36, kept.account.address) == used
        kept.rpc_url = proxy.url
        assert (await kept.run_once("--live")).code == 0
        assert kept.events("restored")
