"""What an operator asks of prices, on the real oracle and real feeds: each policy warns, refuses and recovers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from keeper.chain.blocks import read_header
from keeper.chain.client import ChainClient
from keeper.core.outcome import Reason
from keeper.core.price_policy import Action, Concern, Doubt, PricePolicies, PricePolicy, SequencerPolicy
from keeper.core.units import Address
from keeper.devnet import admin
from keeper.devnet.market import Bed
from keeper.pipeline.price_judge import PriceJudge
from keeper.pipeline.prices import StateReader
from keeper.protocols.aave_v3.adapter import AaveV3
from keeper.protocols.aave_v3.market import Market
from keeper.protocols.aave_v3.state import State

HOUR_S = 3_600
REFUSE = PricePolicy(Action.REFUSE)


@dataclass
class Judging:
    """A market's prices read and judged at each newest block, as the loop does."""

    bed: Bed
    client: ChainClient
    reader: StateReader[Market, State]
    judge: PriceJudge
    market: Market

    @classmethod
    async def on(cls, bed: Bed, policies: PricePolicies) -> Judging:
        client = ChainClient(bed.chain.rpc, poll_s=0.05, fee_cap_wei=10**12, priority_percentile=50)
        adapter = AaveV3()
        market = await client.drive(adapter.discover(bed.deployment.addresses_provider), await client.latest())
        reader = StateReader(client, adapter)
        return cls(bed, client, reader, PriceJudge(policies, reader.watch), market)

    async def head(self) -> list[Concern]:
        """What is newly wrong at the newest block."""
        block = await read_header(self.bed.chain.rpc, "latest")
        reads = await self.reader.read(self.market, block, block.timestamp_s + 24)
        state = self.reader.decode(self.market, block, reads)
        return self.judge.judge(state.prices_base(), block)

    def refused(self, *symbols: str) -> Reason | None:
        skip = self.judge.refusal([self.token(symbol) for symbol in symbols])
        return None if skip is None else skip.reason

    def token(self, symbol: str) -> Address:
        return self.bed.asset(symbol).token


def only(bed: Bed, symbol: str, policy: PricePolicy) -> PricePolicies:
    return PricePolicies(by_asset={bed.asset(symbol).token: policy})


async def test_a_price_is_stale_until_its_feed_is_updated(bed: Bed) -> None:
    await admin.repeat_answers(bed)
    limit = replace(REFUSE, max_age_s=HOUR_S)
    judging = await Judging.on(bed, PricePolicies(PricePolicy(max_age_s=HOUR_S), {bed.asset("WBTC").token: limit}))
    assert await judging.head() == []
    await bed.chain.mine(1, seconds=HOUR_S + 60)
    found = {concern.key: concern for concern in await judging.head()}
    assert {concern.doubt for concern in found.values()} == {Doubt.STALE}
    assert set(found) == {judging.token(symbol) for symbol in bed.deployment.symbols}
    stale = found[judging.token("WBTC")]
    assert stale.action is Action.REFUSE
    assert stale.detail.startswith("the price of WBTC is 36") and stale.detail.endswith("s old, the limit is 3600 s")
    assert judging.refused("WETH", "WBTC") is Reason.UNPRICEABLE
    assert judging.refused("WETH", "USDC") is None
    assert await judging.head() == []  # told once
    await admin.repeat_answers(bed)
    assert await judging.head() == []
    assert judging.refused("WBTC") is None


async def test_the_age_of_a_price_through_an_adapter_is_that_of_the_feed_under_it(bed: Bed) -> None:
    await admin.repeat_answers(bed)
    judging = await Judging.on(bed, PricePolicies(replace(REFUSE, max_age_s=HOUR_S)))
    await bed.chain.mine(1, seconds=HOUR_S + 60)
    for symbol in ("WBTC", "USDC", "DAI", "GUSD", "sUSDe"):
        await admin.set_answer(bed, symbol, await bed.price_base(symbol))
    found = await judging.head()
    assert {concern.key for concern in found} == {judging.token("WETH"), judging.token("wstETH")}
    await admin.set_answer(bed, "WETH", await bed.price_base("WETH"))
    await judging.head()
    assert judging.refused("wstETH") is None


async def test_a_jump_waits_for_one_more_head(bed: Bed) -> None:
    judging = await Judging.on(bed, only(bed, "WETH", replace(REFUSE, max_jump_bps=1_000)))
    price = await bed.price_base("WETH")
    assert await judging.head() == []
    await admin.set_answer(bed, "WETH", price * 91 // 100)
    assert await judging.head() == []
    await admin.set_answer(bed, "WETH", price * 70 // 100)
    [concern] = await judging.head()
    assert concern.doubt is Doubt.JUMP
    assert "WETH moved by -23." in concern.detail and "10.00 %" in concern.detail
    assert judging.refused("WETH") is Reason.UNPRICEABLE
    assert await judging.head() == []
    assert judging.refused("WETH") is Reason.UNPRICEABLE, "the same head, looked at once more"
    await bed.chain.mine(1, seconds=12)
    assert await judging.head() == []
    assert judging.refused("WETH") is None


async def test_a_jump_over_a_head_without_a_price_is_one(bed: Bed) -> None:
    judging = await Judging.on(bed, only(bed, "WETH", replace(REFUSE, max_jump_bps=1_000)))
    price = await bed.price_base("WETH")
    await judging.head()
    await admin.set_answer(bed, "WETH", 0)
    await judging.head()
    await admin.set_answer(bed, "WETH", price * 80 // 100)
    assert Doubt.JUMP in {concern.doubt for concern in await judging.head()}
    assert judging.refused("WETH") is Reason.UNPRICEABLE


async def test_a_feed_that_answers_nothing_positive(bed: Bed) -> None:
    judging = await Judging.on(bed, PricePolicies(by_asset={bed.asset("DAI").token: REFUSE}))
    calm = {symbol: await bed.price_base(symbol) for symbol in ("WBTC", "DAI")}
    await admin.set_answer(bed, "WBTC", 0)
    await admin.set_answer(bed, "DAI", -7)
    details = {concern.key: (concern.doubt, concern.detail, concern.action) for concern in await judging.head()}
    assert details == {
        judging.token("WBTC"): (Doubt.NOT_POSITIVE, "a feed of WBTC answers 0", Action.WARN),
        judging.token("DAI"): (Doubt.NOT_POSITIVE, "a feed of DAI answers -7", Action.REFUSE),
    }
    assert judging.refused("DAI") is Reason.UNPRICEABLE
    assert judging.refused("WBTC") is None  # the market itself has no price for it then
    for symbol, price in calm.items():
        await admin.set_answer(bed, symbol, price)
    assert await judging.head() == []
    assert judging.refused("DAI") is None


async def test_the_sequencer_is_down_then_back_then_back_for_long_enough(bed: Bed) -> None:
    uptime = await admin.new_feed(bed, 0)
    await bed.chain.mine(1, seconds=2 * HOUR_S)
    judging = await Judging.on(bed, PricePolicies(sequencer=SequencerPolicy(uptime, HOUR_S, Action.REFUSE)))
    assert await judging.head() == []
    await admin.set_sequencer(bed, uptime, up=False)
    [down] = await judging.head()
    assert (down.doubt, down.key) == (Doubt.SEQUENCER, None)
    assert "has been down for" in down.detail
    assert judging.refused("WETH") is Reason.SEQUENCER_SENTINEL
    await admin.set_sequencer(bed, uptime, up=True)
    await judging.head()
    assert judging.refused("WETH") is Reason.SEQUENCER_SENTINEL
    skip = judging.judge.refusal([judging.token("WETH")])
    assert skip is not None and "the grace period is 3600 s" in skip.detail
    await bed.chain.mine(1, seconds=HOUR_S + 1)
    assert await judging.head() == []
    assert judging.refused("WETH") is None


async def test_an_uptime_feed_that_does_not_answer_is_no_proof(bed36: Bed) -> None:
    nowhere = bed36.asset("WETH").token
    judging = await Judging.on(bed36, PricePolicies(sequencer=SequencerPolicy(nowhere, HOUR_S)))
    [concern] = await judging.head()
    assert concern.action is Action.WARN
    assert "does not answer" in concern.detail
    assert judging.refused("WETH") is None
