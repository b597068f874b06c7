"""Logs: book events, exact new balances under both roundings, and malformed logs that raise (LP-07)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from eth_abi.abi import encode
from hypothesis import given, settings
from hypothesis import strategies as st

from keeper.core.block import Log
from keeper.core.errors import Defect, MalformedResponse
from keeper.core.lending import BalanceChange, CategorySet, CollateralFlag, MarketChanged, Side
from keeper.core.units import RAY, Address, Hash32
from keeper.protocols.aave_v3 import decode
from keeper.protocols.aave_v3 import selectors as s
from keeper.protocols.aave_v3.market import Market
from keeper.protocols.aave_v3.math import BALANCES
from keeper.protocols.aave_v3.profile import KNOWN, Rounding
from tests.unit.protocols.aave_v3.builders import BORROWER, LIQUIDATOR, address, make_market, make_reserve

Kind = BalanceChange.Kind
RESERVES = [make_reserve(0, stable=True), make_reserve(4, stable=True)]
MARKET = make_market("3.6", RESERVES)
OTHER = address(0xC0)


def make_log(emitter: Address, topic: bytes, indexed: list[Address], data: bytes) -> Log:
    topics = (topic, *(one.rjust(32, b"\0") for one in indexed))
    return Log(emitter, topics, data, 1, Hash32(bytes(32)), Hash32(bytes(32)), 0)


def numbers(*values: int) -> bytes:
    return encode(["uint256"] * len(values), values)


def test_mint_names_the_beneficiary_and_burn_the_owner() -> None:
    mint = make_log(RESERVES[1].a_token, s.MINT_TOPIC, [OTHER, BORROWER], numbers(7, 2, RAY))
    burn = make_log(RESERVES[1].variable_debt_token, s.BURN_TOPIC, [BORROWER, OTHER], numbers(5, 1, RAY + 1))
    assert decode.decode_log(MARKET, mint) == (BalanceChange(BORROWER, 4, Side.COLLATERAL, Kind.MINT, 7, 2, RAY),)
    assert decode.decode_log(MARKET, burn) == (BalanceChange(BORROWER, 4, Side.DEBT, Kind.BURN, 5, 1, RAY + 1),)


def test_a_transfer_moves_on_both_sides() -> None:
    log = make_log(RESERVES[0].a_token, s.BALANCE_TRANSFER_TOPIC, [BORROWER, OTHER], numbers(9, RAY))
    assert decode.decode_log(MARKET, log) == (
        BalanceChange(BORROWER, 0, Side.COLLATERAL, Kind.SEND, 9, 0, RAY),
        BalanceChange(OTHER, 0, Side.COLLATERAL, Kind.RECEIVE, 9, 0, RAY),
    )


def test_flags_and_e_modes() -> None:
    on = make_log(MARKET.pool, s.RESERVE_USED_AS_COLLATERAL_ENABLED_TOPIC, [RESERVES[1].asset, BORROWER], b"")
    off = make_log(MARKET.pool, s.RESERVE_USED_AS_COLLATERAL_DISABLED_TOPIC, [RESERVES[0].asset, BORROWER], b"")
    mode = make_log(MARKET.pool, s.USER_E_MODE_SET_TOPIC, [BORROWER], numbers(3))
    assert decode.decode_log(MARKET, on) == (CollateralFlag(BORROWER, 4, enabled=True),)
    assert decode.decode_log(MARKET, off) == (CollateralFlag(BORROWER, 0, enabled=False),)
    assert decode.decode_log(MARKET, mode) == (CategorySet(BORROWER, 3),)


def test_a_flag_of_an_unknown_reserve_asks_for_discovery() -> None:
    log = make_log(MARKET.pool, s.RESERVE_USED_AS_COLLATERAL_ENABLED_TOPIC, [address(0x77), BORROWER], b"")
    (event,) = decode.decode_log(MARKET, log)
    assert isinstance(event, MarketChanged)


@pytest.mark.parametrize("topic", decode.MARKET_CHANGES, ids=decode.MARKET_CHANGES.values())
def test_what_discovery_found_may_change(topic: bytes) -> None:
    stable = RESERVES[0].stable_debt_token
    assert stable is not None
    for emitter in (MARKET.pool, MARKET.provider, MARKET.configurator, MARKET.oracle, RESERVES[0].a_token, stable):
        (event,) = decode.decode_log(MARKET, make_log(emitter, topic, [], b""))
        assert isinstance(event, MarketChanged)
        assert (event.event, event.code_changed) == (decode.MARKET_CHANGES[topic], topic in decode.CODE_CHANGES)
    assert decode.decode_log(MARKET, make_log(OTHER, topic, [], b"")) == ()


def test_a_change_of_code_says_whose() -> None:
    a_token = RESERVES[0].a_token
    named = [address(1), a_token, address(2)]
    whose = {
        decode.decode_log(MARKET, make_log(emitter, topic, topics, b"")): contract
        for emitter, topic, topics, contract in (
            (a_token, s.UPGRADED_TOPIC, [address(2)], a_token),
            (MARKET.provider, s.POOL_UPDATED_TOPIC, [address(1), address(2)], MARKET.pool),
            (MARKET.configurator, s.A_TOKEN_UPGRADED_TOPIC, named, a_token),
            (MARKET.provider, s.ADDRESS_SET_AS_PROXY_TOPIC, named, a_token),
            (MARKET.provider, s.ADDRESS_SET_AS_PROXY_TOPIC, [], None),
        )
    }
    for (event,), contract in whose.items():
        assert isinstance(event, MarketChanged)
        assert (event.code_changed, event.contract, event.breaks_replay) == (True, contract, False)


def test_what_a_dropped_reserve_held_cannot_be_replayed() -> None:
    (event,) = decode.decode_log(MARKET, make_log(MARKET.configurator, s.RESERVE_DROPPED_TOPIC, [address(1)], b""))
    assert event == MarketChanged("ReserveDropped", breaks_replay=True)


def test_other_contracts_and_other_events_are_nothing() -> None:
    for log in (
        make_log(OTHER, s.MINT_TOPIC, [OTHER, BORROWER], numbers(7, 2, RAY)),
        make_log(MARKET.pool, s.MINT_TOPIC, [OTHER, BORROWER], numbers(7, 2, RAY)),
        make_log(RESERVES[0].a_token, s.USER_E_MODE_SET_TOPIC, [BORROWER], numbers(3)),
        make_log(MARKET.pool, bytes(32), [], b""),
        replace(make_log(MARKET.pool, bytes(32), [], b""), topics=()),
    ):
        assert decode.decode_log(MARKET, log) == ()


def test_the_filter_holds_everything_that_is_decoded() -> None:
    wanted = decode.log_filter(MARKET)
    assert set(decode.MARKET_CHANGES) | {s.BORROW_TOPIC, s.MINT_TOPIC, s.BURN_TOPIC} <= set(wanted.topics)
    assert {s.BALANCE_TRANSFER_TOPIC, s.USER_E_MODE_SET_TOPIC} <= set(wanted.topics)
    tokens = {token for one in RESERVES for token in (one.a_token, one.variable_debt_token, one.stable_debt_token)}
    assert set(wanted.addresses) == tokens | {MARKET.pool, MARKET.provider, MARKET.configurator, MARKET.oracle}


def borrow_log(data: bytes, indexed: list[Address]) -> Log:
    return make_log(MARKET.pool, s.BORROW_TOPIC, indexed, data)


def test_the_borrower_is_the_one_who_owes() -> None:
    log = borrow_log(numbers(1, 2, 3, 4), [RESERVES[0].asset, BORROWER, address(0)])
    assert decode.decode_borrower(MARKET, log) == BORROWER
    assert decode.decode_borrower(MARKET, replace(log, address=OTHER)) is None
    assert decode.decode_log(MARKET, log) == ()
    assert decode.borrower_filter(MARKET).topics == (s.BORROW_TOPIC,)
    for bad in (
        borrow_log(numbers(1, 2, 3), [OTHER, BORROWER, OTHER]),
        borrow_log(numbers(1, 2, 3, 4), [OTHER, BORROWER]),
    ):
        with pytest.raises(MalformedResponse):
            decode.decode_borrower(MARKET, bad)


WELL_FORMED = [
    make_log(RESERVES[0].a_token, s.MINT_TOPIC, [OTHER, BORROWER], numbers(7, 2, RAY)),
    make_log(RESERVES[0].variable_debt_token, s.BURN_TOPIC, [OTHER, BORROWER], numbers(7, 2, RAY)),
    make_log(RESERVES[0].a_token, s.BALANCE_TRANSFER_TOPIC, [BORROWER, OTHER], numbers(9, RAY)),
    make_log(MARKET.pool, s.RESERVE_USED_AS_COLLATERAL_ENABLED_TOPIC, [RESERVES[1].asset, BORROWER], b""),
    make_log(MARKET.pool, s.USER_E_MODE_SET_TOPIC, [BORROWER], numbers(3)),
]


@pytest.mark.parametrize("log", WELL_FORMED)
def test_lp07_malformed_logs_raise(log: Log) -> None:
    assert decode.decode_log(MARKET, log)
    damaged = [
        replace(log, topics=log.topics[:-1]),
        replace(log, topics=(*log.topics, bytes(32))),
        replace(log, topics=(*log.topics[:-1], b"\1" * 32)),
        replace(log, topics=(*log.topics[:-1], bytes(20))),
        replace(log, data=log.data + bytes(32)),
    ]
    if log.data:
        damaged += [replace(log, data=log.data[:-1]), replace(log, data=b"")]
    for bad in damaged:
        with pytest.raises(MalformedResponse):
            decode.decode_log(MARKET, bad)


def test_lp07_an_index_below_one_ray_raises() -> None:
    log = make_log(RESERVES[0].a_token, s.MINT_TOPIC, [OTHER, BORROWER], numbers(7, 2, RAY - 1))
    with pytest.raises(MalformedResponse, match="below one ray"):
        decode.decode_log(MARKET, log)


def market_with(rounding: Rounding) -> Market:
    return make_market("3.4" if rounding is Rounding.HALF_UP else "3.6", RESERVES)


sides, roundings = st.sampled_from(Side), st.sampled_from(Rounding)
indexes = st.one_of(st.just(RAY), st.integers(RAY, 9 * RAY))
balances = st.one_of(st.integers(0, 50), st.integers(0, 2**100))


@settings(max_examples=400)
@given(
    side=sides,
    rounding=roundings,
    before=balances,
    moved=balances,
    index=indexes,
    growth=st.integers(0, RAY),
    minting=st.booleans(),
)
def test_new_balances_are_exact_under_both_roundings(
    side: Side, rounding: Rounding, before: int, moved: int, index: int, growth: int, minting: bool
) -> None:
    """A token as the contracts have it (ScaledBalanceTokenBase) emits; the decoder recovers what it stores.

    Up to 3.4 the amount is what was asked, and scaled from it; from 3.5 scaled amounts come first, and the event reports
    differences of rounded balances.
    """
    market, arithmetic = market_with(rounding), BALANCES[rounding]
    collateral = side is Side.COLLATERAL
    to_raw = arithmetic.collateral_balance if collateral else arithmetic.debt_balance
    to_scaled = arithmetic.collateral_burn_scaled if collateral else arithmetic.debt_burn_scaled
    now = index + growth
    increase = to_raw(before, now) - to_raw(before, index)
    if rounding is Rounding.HALF_UP:
        amount = moved if minting else min(moved, to_raw(before, now))
        moved_scaled = to_scaled(amount, now)
        change_raw = amount + increase if minting else increase - amount
    else:
        moved_scaled = moved if minting else min(moved, before)
        after_raw = to_raw(before + moved_scaled if minting else before - moved_scaled, now)
        change_raw = after_raw - to_raw(before, index)
    after = before + moved_scaled if minting else before - moved_scaled
    minted = change_raw > 0 or minting
    event = BalanceChange(BORROWER, 0, side, Kind.MINT if minted else Kind.BURN, abs(change_raw), increase, now)
    assert decode.next_scaled(market, event, before) == after


@given(rounding=roundings, before=balances, index=indexes, interest=balances)
def test_interest_announced_by_a_transfer_changes_nothing(
    rounding: Rounding, before: int, index: int, interest: int
) -> None:
    event = BalanceChange(BORROWER, 0, Side.COLLATERAL, Kind.MINT, interest, interest, index)
    assert decode.next_scaled(market_with(rounding), event, before) == before


@pytest.mark.parametrize("release", KNOWN)
def test_transfers_are_scaled_except_on_3_0_0(release: str) -> None:
    market = make_market(release, RESERVES)
    sent = BalanceChange(BORROWER, 0, Side.COLLATERAL, Kind.SEND, 300, 0, 3 * RAY)
    received = replace(sent, kind=Kind.RECEIVE)
    moved = 100 if release == "3.0.0" else 300
    assert decode.next_scaled(market, sent, 1000) == 1000 - moved
    assert decode.next_scaled(market, received, 1000) == 1000 + moved


@pytest.mark.parametrize("kind", [Kind.BURN, Kind.SEND])
@pytest.mark.parametrize("rounding", Rounding)
def test_a_balance_below_zero_is_our_defect(kind: BalanceChange.Kind, rounding: Rounding) -> None:
    event = BalanceChange(LIQUIDATOR, 0, Side.COLLATERAL, kind, 5, 0, RAY)
    with pytest.raises(Defect, match="below zero"):
        decode.next_scaled(market_with(rounding), event, 4)
