"""Word-level decoders against eth-abi, and short or odd answers that raise instead of yielding zeros (LP-07)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st

from keeper.core.block import CallResult
from keeper.core.errors import MalformedResponse
from keeper.core.units import UINT256_MAX, Address, to_hex
from keeper.protocols.aave_v3 import reads
from keeper.protocols.aave_v3.adapter import AaveV3
from keeper.protocols.aave_v3.market import Category, Market
from keeper.protocols.aave_v3.profile import KNOWN, Features
from keeper.protocols.aave_v3.words import address_list, words
from tests.unit.protocols.aave_v3.builders import (
    BORROWER,
    NOW_S,
    ORACLE,
    SENTINEL,
    address,
    make_block,
    make_market,
    make_reserve,
)
from tests.unit.protocols.aave_v3.scripted import NO_FUNCTION, RESERVE_DATA, config_word, outputs, reserve_row

uint128, uint256 = st.integers(0, 2**128 - 1), st.integers(0, UINT256_MAX)
addresses = st.binary(min_size=20, max_size=20).map(Address)
NOBODY = Address(bytes(20))


def ok(types: list[str], *values: Any) -> CallResult:
    return CallResult(ok=True, returndata=encode(types, values))


def one_word(number: int) -> CallResult:
    return ok(["uint256"], number)


def market_of(release: str, *, sentinel: Address | None = None, source: Address | None = None) -> Market:
    categories = [Category(1, 9000, 9300, 10_100, price_source=source)] if source else []
    return make_market(release, [make_reserve(0), make_reserve(5)], categories, sentinel=sentinel)


def state_answers(market: Market) -> list[CallResult]:
    """A head of the market: prices 7 and 8, liquidity 100 and 101, grace until 50."""
    answers = [ok(["address"], to_hex(market.oracle)), ok(["address"], to_hex(market.sentinel or NOBODY))]
    for place, reserve in enumerate(market.reserves):
        answers.append(ok(RESERVE_DATA, reserve_row(reserve, config_word(category=3))))
        answers += [one_word(7 + place), one_word(100 + place)]
        if market.profile.features >= Features.V3_1:
            answers.append(one_word(50))
    answers += [one_word(9) for category in market.categories.values() if category.price_source]
    if market.sentinel is not None and market.profile.features < Features.V3_7:
        answers.append(ok(["bool"], True))
    return answers


@pytest.mark.parametrize("release", KNOWN)
def test_a_head_is_decoded_as_encoded(release: str) -> None:
    source = address(0x99) if release < "3.2" else None
    market = market_of(release, sentinel=SENTINEL, source=source)
    answers = state_answers(market)
    assert len(reads.encode_state(market)) == len(answers)
    state = reads.decode_state(market, make_block(), answers)
    assert [reserve.price_base for reserve in state.reserves.values()] == [7, 8]
    assert [reserve.liquidity_raw for reserve in state.reserves.values()] == [100, 101]
    assert {reserve.grace_until_s for reserve in state.reserves.values()} == {0 if release < "3.1" else 50}
    config = state.reserves[5].config
    assert (config.ltv_bps, config.liquidation_threshold_bps, config.liquidation_bonus_bps) == (7500, 8000, 10_500)
    assert (config.decimals, config.active, config.paused, config.protocol_fee_bps) == (6, True, False, 1000)
    assert config.category == (3 if release < "3.2" else 0)
    assert state.liquidation_allowed
    assert state.category_prices_base == ({1: 9} if source else {})


@given(values=st.lists(uint128, min_size=4, max_size=4), last_update_s=st.integers(0, NOW_S), word=uint256)
def test_reserves_of_any_value_agree_with_eth_abi(values: list[int], last_update_s: int, word: int) -> None:
    market = market_of("3.6")
    answers = state_answers(market)
    row = reserve_row(market.reserves[0], word)
    row[1:5], row[6] = values, last_update_s
    answers[2] = ok(RESERVE_DATA, row)
    found = reads.decode_state(market, make_block(), answers).reserves[0]
    assert [
        found.liquidity_index_ray,
        found.liquidity_rate_ray,
        found.variable_borrow_index_ray,
        found.variable_borrow_rate_ray,
    ] == values
    assert found.last_update_s == last_update_s
    assert found.config == reads.decode_config(word, Features.V3_6)


def test_the_state_of_a_later_block_is_not_taken_for_that_of_the_block_that_was_asked_for() -> None:
    market = market_of("3.6")
    for place, reserve in ((2, market.reserves[0]), (6, market.reserves[1])):
        answers, row = state_answers(market), reserve_row(reserve, 0)
        row[6] = NOW_S + 1
        answers[place] = ok(RESERVE_DATA, row)
        with pytest.raises(MalformedResponse, match="1 s after block 100"):
            reads.decode_state(market, make_block(), answers)
        later = reads.decode_state(market, make_block(NOW_S + 1), answers)
        assert later.reserves[reserve.id].last_update_s == NOW_S + 1


@pytest.mark.parametrize("answer", [NO_FUNCTION, one_word(0), CallResult(ok=True, returndata=b"")])
def test_a_price_that_cannot_be_read_is_none_and_blinds_only_its_asset(answer: CallResult) -> None:
    market = market_of("3.6")
    answers = state_answers(market)
    answers[3] = answer
    state = reads.decode_state(market, make_block(), answers)
    assert [reserve.price_base for reserve in state.reserves.values()] == [None, 8]


def test_an_e_mode_source_that_answers_zero_is_not_one_that_fails() -> None:
    market = market_of("3.0.2", source=address(0x99))
    for answer, price_base in ((one_word(0), 0), (NO_FUNCTION, None)):
        answers = [*state_answers(market)[:-1], answer]
        assert reads.decode_state(market, make_block(), answers).category_prices_base == {1: price_base}


def test_prices_of_an_oracle_that_was_replaced_count_for_nothing() -> None:
    market = market_of("3.0.2", source=address(0x99))
    answers = state_answers(market)
    answers[0] = ok(["address"], to_hex(address(0xBAD)))
    state = reads.decode_state(market, make_block(), answers)
    assert market.oracle == ORACLE
    assert [reserve.price_base for reserve in state.reserves.values()] == [None, None]
    assert state.category_prices_base == {1: None}


@pytest.mark.parametrize("release", ["3.0.2", "3.6", "3.7"])
def test_a_sentinel_that_changed_forbids_until_discovered(release: str) -> None:
    market = market_of(release)
    answers = state_answers(market)
    answers[1] = ok(["address"], to_hex(SENTINEL))
    # 3.7 asks no sentinel, whatever the provider says.
    assert reads.decode_state(market, make_block(), answers).liquidation_allowed == (release == "3.7")


@pytest.mark.parametrize("answer", [ok(["bool"], False), NO_FUNCTION])
def test_a_sentinel_that_forbids_or_fails(answer: CallResult) -> None:
    market = market_of("3.6", sentinel=SENTINEL)
    answers = [*state_answers(market)[:-1], answer]
    assert not reads.decode_state(market, make_block(), answers).liquidation_allowed


@pytest.mark.parametrize("release", ["3.0.2", "3.6"])
def test_lp07_a_head_cut_short_anywhere_raises(release: str) -> None:
    market = market_of(release, sentinel=SENTINEL)
    answers = state_answers(market)
    prices = [place for place in range(len(answers)) if answers[place] in (one_word(7), one_word(8))]
    for place, answer in enumerate(answers):
        if place in prices:
            continue
        for bad in (answer.returndata[:-1], b"", answer.returndata + b"\0", answer.returndata[:-32]):
            damaged = [*answers[:place], CallResult(ok=True, returndata=bad), *answers[place + 1 :]]
            with pytest.raises(MalformedResponse):
                reads.decode_state(market, make_block(), damaged)
    for wrong in (answers[:-1], [*answers, one_word(1)], []):
        with pytest.raises(MalformedResponse):
            reads.decode_state(market, make_block(), wrong)


def test_another_reserve_than_discovered_is_malformed() -> None:
    market = market_of("3.6")
    answers = state_answers(market)
    answers[2] = ok(RESERVE_DATA, reserve_row(replace(market.reserves[0], id=9), 0))
    with pytest.raises(MalformedResponse, match="no longer the reserve"):
        reads.decode_state(market, make_block(), answers)


@given(scaled=st.lists(uint256, min_size=4, max_size=4), flags=uint256, category=st.integers(0, 255))
def test_positions_of_any_value(scaled: list[int], flags: int, category: int) -> None:
    market = market_of("3.6")
    answers = [one_word(flags), one_word(category), *map(one_word, scaled)]
    assert len(reads.encode_position(market, BORROWER)) == len(answers)
    found = reads.decode_position(market, BORROWER, answers)
    assert found.collateral_scaled == {i: one for i, one in ((0, scaled[0]), (5, scaled[2])) if one}
    assert found.debt_scaled == {i: one for i, one in ((0, scaled[1]), (5, scaled[3])) if one}
    assert found.collateral_enabled == {i for i in (0, 5) if flags >> (2 * i + 1) & 1}
    assert (found.borrower, found.category) == (BORROWER, category)


def test_lp07_a_position_cut_short_anywhere_raises() -> None:
    market = market_of("3.6")
    answers = [one_word(1)] * 6
    for place in range(6):
        for bad in (NO_FUNCTION, CallResult(ok=True, returndata=bytes(31)), CallResult(ok=True, returndata=b"")):
            with pytest.raises(MalformedResponse):
                reads.decode_position(market, BORROWER, [*answers[:place], bad, *answers[place + 1 :]])
    with pytest.raises(MalformedResponse):
        reads.decode_position(market, BORROWER, answers[:5])
    with pytest.raises(MalformedResponse, match="8 bits"):
        reads.decode_position(market, BORROWER, [answers[0], one_word(256), *answers[2:]])


@given(values=st.lists(st.integers(1, 2**200), min_size=6, max_size=6))
def test_health_of_any_value(values: list[int]) -> None:
    health = AaveV3().decode_health(market_of("3.6"), ok(outputs("aave_v3/Pool", "getUserAccountData"), *values))
    assert [
        health.collateral_base,
        health.debt_base,
        health.available_borrows_base,
        health.liquidation_threshold_bps,
        health.ltv_bps,
        health.health_factor_wad,
    ] == values
    assert health.weighted_collateral_base_bps == values[0] * values[3]


def test_lp07_no_zero_health_from_bad_answers() -> None:
    good = ok(["uint256"] * 6, 5, 0, 0, 0, 0, UINT256_MAX)
    assert reads.decode_health(good).debt_base == 0
    for bad in (NO_FUNCTION, CallResult(ok=True, returndata=bytes(6 * 32)), CallResult(ok=True, returndata=bytes(160))):
        with pytest.raises(MalformedResponse):
            reads.decode_health(bad)


@given(items=st.lists(addresses, max_size=5))
def test_address_lists_agree_with_eth_abi(items: list[Address]) -> None:
    assert address_list(ok(["address[]"], [to_hex(item) for item in items]), "list") == items


@given(items=st.lists(addresses, min_size=1, max_size=3), cut=st.integers(1, 64))
def test_address_lists_cut_short_raise(items: list[Address], cut: int) -> None:
    whole = encode(["address[]"], [[to_hex(item) for item in items]])
    with pytest.raises(MalformedResponse):
        address_list(CallResult(ok=True, returndata=whole[:-cut]), "list")


@pytest.mark.parametrize(
    "damage",
    [lambda raw: raw[:63] + b"\xff" + raw[64:], lambda raw: b"\1" + raw[1:], lambda raw: raw[:64] + b"\1" + raw[65:]],
)
def test_address_lists_of_odd_shape_raise(damage: Callable[[bytes], bytes]) -> None:
    whole = encode(["address[]"], [[to_hex(BORROWER)]])
    with pytest.raises(MalformedResponse):
        address_list(CallResult(ok=True, returndata=damage(whole)), "list")


def test_a_revert_is_named() -> None:
    with pytest.raises(MalformedResponse, match="getThing: the call reverted"):
        words(NO_FUNCTION, 1, "getThing")
