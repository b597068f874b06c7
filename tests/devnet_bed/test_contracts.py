"""The devnet's own contracts behave like the ones that they stand for."""

from __future__ import annotations

import pytest
from eth_utils.crypto import keccak

from keeper.core.errors import RpcFailure
from keeper.core.units import to_hex
from keeper.devnet import admin
from keeper.devnet.artifacts import Artifact
from keeper.devnet.chain import salted_address
from keeper.devnet.errors import DevnetError, Reverted
from keeper.devnet.market import Bed
from keeper.devnet.spec import USD

SOMEBODY = salted_address("somebody")


async def test_multicall_reports_each_failure(bed36: Bed) -> None:
    feed, oracle = bed36.contracts["Feed"], bed36.contracts["AaveOracle"]
    good = (bed36.asset("WETH").feed, True, feed.function("latestAnswer").encode(()))
    bad = (bed36.deployment.oracle, True, oracle.function("getAssetPrice").encode((SOMEBODY,)))
    where, multicall = bed36.deployment.multicall, bed36.contracts["Multicall"]
    results = await bed36.chain.call(where, multicall, "aggregate3", [good, bad])
    assert [success for success, _ in results] == [True, False]
    assert int.from_bytes(results[0][1]) == 3_200 * USD
    with pytest.raises(RpcFailure, match="call failed"):
        await bed36.chain.call(where, multicall, "aggregate3", [(bad[0], False, bad[2])])
    assert await bed36.chain.call(where, multicall, "getBlockNumber") == await bed36.chain.block_number()
    assert await bed36.chain.call(where, multicall, "getCurrentBlockTimestamp") == await bed36.chain.now_s()


async def test_a_feed_tells_of_each_answer(bed36: Bed) -> None:
    feed = bed36.asset("WBTC").feed
    block = await bed36.chain.block_number()
    await admin.set_answer(bed36, "WBTC", 60_000 * USD)
    logs = await bed36.chain.rpc.request("eth_getLogs", [{"address": to_hex(feed), "fromBlock": hex(block + 1)}])
    topics = [log["topics"][0] for log in logs]
    assert topics == [
        to_hex(keccak(text="NewRound(uint256,address,uint256)")),
        to_hex(keccak(text="AnswerUpdated(int256,uint256,uint256)")),
    ]
    assert int(logs[1]["topics"][1], 16) == 60_000 * USD
    await bed36.chain.fund([SOMEBODY])
    with pytest.raises(Reverted):
        await bed36.chain.send(SOMEBODY, feed, bed36.contracts["Feed"], "setAnswer", 1)


async def test_adapters_follow_their_base_without_a_word(bed36: Bed) -> None:
    block = await bed36.chain.block_number()
    await admin.set_answer(bed36, "WETH", 3_000 * USD)
    await admin.set_answer(bed36, "USDC", 90_000_000)
    assert await bed36.price_base("wstETH") == 3_510 * USD
    assert await bed36.price_base("USDC") == 90_000_000
    for symbol in ("wstETH", "USDC"):
        source = to_hex(bed36.asset(symbol).price_source)
        query = {"address": source, "fromBlock": hex(block + 1)}
        assert await bed36.chain.rpc.request("eth_getLogs", [query]) == []


async def test_the_wrapped_coin_can_be_unwrapped(bed36: Bed) -> None:
    weth, contract = bed36.deployment.wrapped_native, bed36.contracts["WrappedNative"]
    await bed36.chain.fund([SOMEBODY])
    await bed36.chain.send(SOMEBODY, weth, contract, "deposit", value_wei=5 * 10**18)
    await bed36.chain.send(SOMEBODY, weth, contract, "withdraw", 2 * 10**18)
    assert await bed36.chain.call(weth, contract, "balanceOf", SOMEBODY) == 3 * 10**18


async def test_a_token_moves_only_with_balance_and_allowance(bed36: Bed) -> None:
    dai, contract = bed36.asset("DAI").token, bed36.contracts["Token"]
    await bed36.chain.fund([SOMEBODY])
    with pytest.raises(Reverted):
        await bed36.chain.send(SOMEBODY, dai, contract, "transfer", bed36.deployment.admin, 1)
    await bed36.chain.send(SOMEBODY, dai, contract, "mint", SOMEBODY, 10)
    with pytest.raises(Reverted):
        await bed36.chain.send(bed36.deployment.admin, dai, contract, "transferFrom", SOMEBODY, SOMEBODY, 1)


def test_an_unlinked_library_is_named() -> None:
    artifact = Artifact("Pool", [], "60" * 40, "", {"SupplyLogic": [3]})
    with pytest.raises(DevnetError, match="SupplyLogic"):
        artifact.creation_code()
    address = salted_address("library")
    assert artifact.creation_code((), {"SupplyLogic": address})[3:23] == address
