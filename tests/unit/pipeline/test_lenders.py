"""Who lends: whoever asks nothing, then the cheapest that has it; never a pool that is swapped in."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from keeper.core.block import Call, CallResult
from keeper.core.executor import LoanSource
from keeper.core.order import FeeQuote
from keeper.core.outcome import Reason, Skip
from keeper.core.selling.deal import Dealt, dealt
from keeper.core.selling.exchange import Exchange
from keeper.core.selling.objective import Restore
from keeper.core.selling.slippage import SlippagePolicy
from keeper.core.steps import finished
from keeper.core.swap import Pool
from keeper.core.units import Address
from keeper.execution.executor_calls import decode_execute, encode_execute
from keeper.pipeline.by_executor import ByExecutor
from keeper.pipeline.carrying import Pricing
from keeper.pipeline.lenders import Lenders, Lent
from keeper.pipeline.trade import Trade
from keeper.protocols.aave_v3.state import State
from keeper.routes.pools import PoolsVenue
from keeper.routes.v2_pair import V2Pair
from keeper.routes.v3_pool import Ticks, V3Pool, V3Token
from keeper.routes.watching import WatchedPools
from tests.routes.states import ADAPTER, NATIVE, draw
from tests.unit.protocols.aave_v3.builders import POOL, address, make_reserve_state, make_state

EXECUTOR, MORPHO = address(0xE0), address(0xE1)
NEEDED_RAW = 10**9
PREMIUM = 500
"""The market's, in millionths."""
FEES = FeeQuote(10**9, 10**8, 3 * 10**9)


def held(token: Address, holder: Address) -> Call:
    return Call(token, holder)


def word(number: int) -> CallResult:
    return CallResult(True, number.to_bytes(32, "big"))


def told(lenders: Lenders, state: State, held_raw: Mapping[tuple[Address, Address], int], premium: CallResult) -> None:
    """What a head's batch answers."""
    reads = lenders.encode_reads(ADAPTER, state.market)
    holdings = [(Address(call.calldata), call.target) for call in reads[1:]]
    lenders.decode_reads(ADAPTER, state.market, [premium, *(word(held_raw.get(each, 0)) for each in holdings)])


def pricing_of(state: State) -> Pricing:
    return Pricing(ADAPTER, state.market, state, FEES, NATIVE.price_base, 0, 10**12)


def market_with(there_raw: int) -> State:
    return make_state("3.6", {each: make_reserve_state(liquidity_raw=there_raw) for each in range(2)})


def v3_pool(number: int, fee: int, tokens: Sequence[Address], liquidity: int = 10**15) -> V3Pool:
    """At a price of 1, the same liquidity as far as it is known."""
    fixed = V3Token(address(0xF000 + number), min(tokens), max(tokens), fee, 60)
    return V3Pool(fixed, 2**96, (0, 0), liquidity, Ticks(-512, 511, {}, ()))


def asked(
    pools: Sequence[Pool], held_raw: Mapping[tuple[Address, Address], int] | None = None, there_raw: int = 10**20
) -> tuple[Lent, ...] | Skip:
    state = market_with(there_raw)
    lenders = Lenders(EXECUTOR, held, MORPHO)
    told(lenders, state, held_raw or {}, word(PREMIUM // 100))
    asset = state.market.by_id[0].asset
    return lenders.offering({asset: NEEDED_RAW}, pricing_of(state), Exchange(tuple(pools)))


def by_source(found: tuple[Lent, ...] | Skip) -> list[tuple[LoanSource, int]]:
    assert not isinstance(found, Skip), found
    return [(each.loan.source, each.premium) for each in found]


TOKENS = [reserve.asset for reserve in market_with(1).market.reserves]
ASSET = TOKENS[0]


def test_what_costs_nothing_is_taken_as_long_as_it_is_enough() -> None:
    pools = [v3_pool(0, 100, TOKENS)]
    both = {(EXECUTOR, ASSET): NEEDED_RAW, (MORPHO, ASSET): NEEDED_RAW}
    assert by_source(asked(pools, both)) == [(LoanSource.INVENTORY, 0)]
    short = {**both, (EXECUTOR, ASSET): NEEDED_RAW - 1}
    assert by_source(asked(pools, short)) == [(LoanSource.MORPHO, 0)]
    neither = {**short, (MORPHO, ASSET): NEEDED_RAW - 1}
    assert by_source(asked(pools, neither)) == [(LoanSource.POOL_V3, 100), (LoanSource.MARKET, PREMIUM)]
    elsewhere = {(EXECUTOR, TOKENS[1]): 10**30, (MORPHO, TOKENS[1]): 10**30}
    assert by_source(asked([], elsewhere)) == [(LoanSource.MARKET, PREMIUM)]


def test_pools_lend_where_they_ask_for_less_than_the_market_or_it_has_not_enough() -> None:
    others = [address(0xBEEF), address(0xBEF0)]
    pools: list[Pool] = [
        v3_pool(0, 500, TOKENS),
        v3_pool(1, 100, TOKENS, liquidity=10**9),  # has less than is needed
        v3_pool(2, 300, TOKENS),
        v3_pool(3, 100, others),
        V2Pair(address(0xF100), min(TOKENS), max(TOKENS), 30, 10**20, 10**20),
        v3_pool(4, 200, [ASSET, others[0]]),
        v3_pool(5, 400, TOKENS),
    ]
    found = asked(pools)
    assert by_source(found) == [(LoanSource.POOL_V3, 200), (LoanSource.POOL_V3, 300), (LoanSource.MARKET, PREMIUM)]
    assert not isinstance(found, Skip)
    assert [each.loan.lender for each in found] == [pools[5].address, pools[2].address, POOL]
    assert [each.loan.lends_token0 for each in found[:2]] == [pools[5].tokens[0] == ASSET, pools[2].tokens[0] == ASSET]
    assert pools[2] not in found[1].leaves(Exchange(tuple(pools))).pools
    assert found[2].leaves(Exchange(tuple(pools))).pools == tuple(pools)
    dear = [v3_pool(6, 3_000, TOKENS)]
    assert by_source(asked(dear)) == [(LoanSource.MARKET, PREMIUM)]
    assert by_source(asked(dear, there_raw=NEEDED_RAW - 1)) == [(LoanSource.POOL_V3, 3_000)]


def test_what_cannot_be_read_is_nobodys_money() -> None:
    state = market_with(10**20)
    lenders, pricing, needed_raw = Lenders(EXECUTOR, held, MORPHO), pricing_of(state), {ASSET: NEEDED_RAW}
    told(lenders, state, {}, CallResult(True, b"\x01"))
    refused = lenders.offering(needed_raw, pricing, Exchange(()))
    assert isinstance(refused, Skip) and refused.reason is Reason.NO_INVENTORY and "flash loan" in refused.detail
    assert by_source(lenders.offering(needed_raw, pricing, Exchange((v3_pool(0, 3_000, TOKENS),)))) == [
        (LoanSource.POOL_V3, 3_000)
    ]
    reads = lenders.encode_reads(ADAPTER, state.market)
    lenders.decode_reads(ADAPTER, state.market, [word(5), *(CallResult(False, b"") for _ in reads[1:])])
    assert by_source(lenders.offering(needed_raw, pricing, Exchange(()))) == [(LoanSource.MARKET, PREMIUM)]
    several = {**needed_raw, TOKENS[1]: NEEDED_RAW}
    assert by_source(lenders.offering(several, pricing, Exchange((v3_pool(0, 100, TOKENS),)))) == [
        (LoanSource.MARKET, PREMIUM)
    ], "a pool lends one asset"


@pytest.mark.parametrize("seed", range(12))
def test_the_lender_who_leaves_most_is_taken_and_is_not_swapped_in(seed: int) -> None:
    rng = random.Random(f"lenders {seed}")
    one = draw(rng)
    reserves = {each: replace(reserve, liquidity_raw=10**30) for each, reserve in one.state.reserves.items()}
    state = replace(one.state, reserves=reserves)
    lenders = Lenders(EXECUTOR, held)
    told(lenders, state, {}, word(40))
    trade = Trade(Restore, SlippagePolicy())
    carrier = ByExecutor(
        EXECUTOR, PoolsVenue(WatchedPools([]), SlippagePolicy()), encode_execute, decode_execute, trade, lenders, 0
    )
    carrier._exchange = one.terms.exchange
    pricing = pricing_of(state)
    plans = one.planner().plan(one.position)
    assert isinstance(plans, tuple)
    for plan in plans:
        offering = lenders.offering(plan.debts_raw, pricing, one.terms.exchange)
        assert not isinstance(offering, Skip)
        each = [dealt(plan, carrier._terms(one.position, pricing, lent)) for lent in offering]
        nets = [made.net_base for made in each if isinstance(made, Dealt)]
        offers = finished(carrier.offers(one.position, [plan], pricing))
        if isinstance(offers, Skip):
            assert max(nets, default=-1) < 0
            continue
        [offer] = offers
        assert offer.dealt is not None and offer.loan is not None
        assert offer.dealt.net_base == max(nets)
        for call in carrier.calls(offer, one.position, pricing):
            told_plan = decode_execute(call.calldata)
            assert told_plan.loan.lender not in {step.venue for step in told_plan.swaps}
