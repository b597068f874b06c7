"""What stands behind the prices is a hint: a market goes on without it, the ages unknown, and finds it later; a feed's proxy
that is pointed elsewhere is noticed, though no log of the market tells."""

from __future__ import annotations

from typing import Any

from keeper.chain.jsonrpc import JsonRpc
from keeper.core.outcome import Reason
from keeper.core.price_policy import Action, Concern, Doubt, PricePolicies, PricePolicy
from keeper.devnet import admin
from keeper.devnet.feeds import push_feed, push_root
from keeper.devnet.market import ADMIN, Bed
from keeper.pipeline.price_judge import PriceJudge
from keeper.pipeline.price_watch import AGAIN_S
from keeper.protocols.aave_v3 import selectors
from tests.faults import FaultProxy
from tests.protocols.following import Following

LOOKING = selectors.GET_SOURCE_OF_ASSET.hex()
DAY_S = 86_400


def no_looking(method: str, params: list[Any]) -> dict[str, Any] | None:
    """The node has no answer to anything in which the oracle is asked for its sources."""
    return {"error": {"code": -32000, "message": "execution timeout"}} if LOOKING in str(params) else None


class Judged:
    """A market followed through a proxy, its prices judged at each head as the loop does."""

    def __init__(self, bed: Bed, rpc: JsonRpc, policies: PricePolicies) -> None:
        self.bed = bed
        self.following = Following(bed, rpc=rpc)
        self.watch = self.following.follower.reader.watch
        self.judge = PriceJudge(policies, self.watch)

    async def start(self) -> list[Concern]:
        await self.following.start()
        return self._told()

    async def head(self, seconds: int) -> list[Concern]:
        await self.bed.chain.mine(1, seconds=seconds)
        await self.following.advance()
        told = self._told()
        assert await self.following.follower.audit() == []
        return told

    def _told(self) -> list[Concern]:
        follower = self.following.follower
        assert follower.applied is not None and follower.verified is not None, "the market goes on"
        return self.judge.judge(follower.adapter.prices(follower.state), follower.applied)


async def test_feeds_that_cannot_be_looked_up_hold_up_nothing_and_are_found_later(bed36: Bed) -> None:
    await admin.repeat_answers(bed36)
    refusing = PricePolicy(Action.REFUSE, max_age_s=DAY_S)
    weth, dai = bed36.asset("WETH").token, bed36.asset("DAI").token
    policies = PricePolicies(PricePolicy(max_age_s=DAY_S), {weth: refusing})
    async with FaultProxy(bed36.url, on_request=no_looking) as proxy, JsonRpc(proxy.url, timeout_s=10) as rpc:
        judged = Judged(bed36, rpc, policies)
        [told] = await judged.start()
        assert (told.doubt, told.key, told.action) == (Doubt.STALE, None, Action.WARN)
        assert "no age of a price is known: the feeds could not be looked up" in told.detail
        assert "execution timeout" in told.detail
        assert judged.watch.feeds.updated_by == {}
        skip = judged.judge.refusal([weth])
        assert skip is not None and skip.reason is Reason.UNPRICEABLE and "is not known" in skip.detail
        assert judged.judge.refusal([dai]) is None, "a warning refuses nobody"
        for _ in range(3):
            assert await judged.head(AGAIN_S // 4) == [], "told once"
        asked = sum(LOOKING in str(params) for _, params in proxy.recent)
        proxy.on_request = None
        await judged.head(AGAIN_S)
        assert judged.watch.trouble is None and asked <= 4, "it is not asked again at every head"
        assert await judged.head(2) == []
        assert judged.judge.refusal([weth]) is None
        assert bed36.asset("WETH").feed in judged.watch.feeds.updated_by
        [stale] = [concern for concern in await judged.head(DAY_S) if concern.key == weth]
        assert stale.action is Action.REFUSE and "s old, the limit is" in stale.detail


async def test_a_feed_that_stops_answering_has_an_unknown_age(bed36: Bed) -> None:
    """Its price is still the oracle's own; what is made of two feeds is no younger for the one that answers."""
    pushed = await push_root(bed36, "WETH")
    weth = bed36.asset("WETH").token
    async with JsonRpc(bed36.url, timeout_s=10) as rpc:
        judged = Judged(bed36, rpc, PricePolicies(PricePolicy(Action.REFUSE, max_age_s=DAY_S)))
        await judged.start()
        assert judged.judge.refusal([weth]) is None
        silent = judged.watch.rounds
        judged.watch.rounds = {feed: None if feed == pushed.proxy else each for feed, each in silent.items()}
        told = judged._told()
        assert weth in {concern.key for concern in told}
        assert all("does not answer" in concern.detail for concern in told)
        skip = judged.judge.refusal([weth])
        assert skip is not None and skip.reason is Reason.UNPRICEABLE


async def test_a_proxy_that_is_pointed_at_another_aggregator_is_noticed(bed: Bed) -> None:
    """No log of the market tells: the way from the source to the feed is asked for now and then."""
    pushed = await push_root(bed, "WETH")
    other = await push_feed(bed, await bed.price_base("WETH"))
    moved = {bed.asset(symbol).token for symbol in ("WETH", "wstETH")}
    async with JsonRpc(bed.url, timeout_s=10) as rpc:
        judged = Judged(bed, rpc, PricePolicies())
        await judged.start()
        assert judged.watch.feeds.updated_by[pushed.aggregator] == moved
        found = judged.watch.feeds
        await judged.head(2 * AGAIN_S)
        assert judged.watch.feeds is found, "what leads where it led is not looked up again"
        switch = bed.call_tx(ADMIN, pushed.proxy, "AggregatorProxy", "setAggregator", other.aggregator)
        await bed.chain.transact(switch)
        await judged.head(2)
        assert pushed.aggregator in judged.watch.feeds.updated_by
        await judged.head(AGAIN_S)
        assert judged.watch.feeds.updated_by[other.aggregator] == moved
        assert pushed.aggregator not in judged.watch.feeds.updated_by
