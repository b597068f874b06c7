"""What stands behind the oracle's sources on a real market: proxies, adapters over them, forwarders, and what is unknown."""

from __future__ import annotations

from keeper.chain.blocks import read_header
from keeper.chain.client import ChainClient
from keeper.core.prices import PriceFeeds
from keeper.devnet import admin
from keeper.devnet.feeds import TRANSMITTER, let_move, push_root
from keeper.devnet.market import ADMIN, Bed
from keeper.pipeline.price_watch import PriceWatch
from keeper.protocols.aave_v3.adapter import AaveV3


async def feeds_of(bed: Bed) -> PriceFeeds:
    client = ChainClient(bed.chain.rpc, poll_s=0.05, fee_cap_wei=10**12, priority_percentile=50)
    head = await read_header(bed.chain.rpc, "latest")
    adapter = AaveV3()
    watch = PriceWatch(client, adapter)
    await watch.look(await client.drive(adapter.discover(bed.deployment.addresses_provider), head), head)
    return watch.feeds


async def test_plain_feeds_and_adapters_lead_to_the_feed_that_is_written_to(bed: Bed) -> None:
    feeds = await feeds_of(bed)
    tokens = {symbol: bed.asset(symbol).token for symbol in bed.deployment.symbols}
    assert feeds.updated_by[bed.asset("WETH").feed] == {tokens["WETH"], tokens["wstETH"]}
    assert feeds.updated_by[bed.asset("USDC").feed] == {tokens["USDC"]}
    assert feeds.rounds_of[tokens["wstETH"]] == (bed.asset("WETH").feed,)
    assert feeds.labels[tokens["WBTC"]] == "WBTC"
    assert feeds.unknown == ()


async def test_a_proxy_is_read_and_its_aggregator_is_written_to_by_its_transmitters(bed: Bed) -> None:
    pushed = await push_root(bed, "WETH")
    feeds = await feeds_of(bed)
    moved = {bed.asset(symbol).token for symbol in ("WETH", "wstETH")}
    assert feeds.updated_by[pushed.aggregator] == moved
    assert feeds.updated_by[TRANSMITTER] == moved
    assert pushed.proxy not in feeds.updated_by
    assert feeds.rounds_of[bed.asset("WETH").token] == (pushed.proxy,)
    assert feeds.rounds_of[bed.asset("wstETH").token] == (pushed.proxy,)


async def test_a_proxy_whose_aggregator_does_not_answer_is_a_feed_all_the_same(bed36: Bed) -> None:
    """Its age is not known then; that of a source without feeds does not matter."""
    pushed = await push_root(bed36, "USDC")
    mute = bed36.asset("WETH").token
    await bed36.chain.transact(bed36.call_tx(ADMIN, pushed.proxy, "AggregatorProxy", "setAggregator", mute))
    feeds = await feeds_of(bed36)
    assert feeds.rounds_of[bed36.asset("USDC").token] == (pushed.proxy,)


async def test_updates_may_come_through_a_contract(bed36: Bed) -> None:
    pushed = await push_root(bed36, "USDC", forwarded=True)
    feeds = await feeds_of(bed36)
    assert pushed.forwarder is not None
    assert feeds.updated_by[pushed.forwarder] == {bed36.asset("USDC").token}


async def test_a_discount_that_runs_off_leads_to_its_base(bed36: Bed) -> None:
    await let_move(bed36, "DAI", 10**10)
    feeds = await feeds_of(bed36)
    assert feeds.updated_by[bed36.asset("DAI").feed] == {bed36.asset("DAI").token}


async def test_what_is_no_feed_is_unknown_and_nothing_else_suffers(bed36: Bed) -> None:
    await admin.set_price_source(bed36, "GUSD", bed36.asset("WETH").token)
    await admin.set_price_source(bed36, "sUSDe", bed36.deployment.admin)
    feeds = await feeds_of(bed36)
    assert feeds.unknown == ("GUSD", "sUSDe")
    assert feeds.rounds_of[bed36.asset("GUSD").token] == ()
    assert bed36.asset("WETH").feed in feeds.updated_by
