"""The reads of one head and of one account: calls, and their answers as values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from keeper.core.block import BlockRef, Call, CallResult
from keeper.core.errors import MalformedResponse
from keeper.core.lending import Health, Position
from keeper.core.units import UINT256_MAX, Address
from keeper.protocols.aave_v3 import selectors as s
from keeper.protocols.aave_v3.market import Market, Reserve, ReserveConfig
from keeper.protocols.aave_v3.profile import Features
from keeper.protocols.aave_v3.state import ReserveState, State
from keeper.protocols.aave_v3.words import address_result, bounded, call, to_address, to_bool, words

NO_ADDRESS = Address(bytes(20))
RESERVE_WORDS = 15
GRACE_PERIOD_BITS = 40

Item = TypeVar("Item")


def _since_3_1(market: Market) -> bool:
    return market.profile.features >= Features.V3_1


def _has_sentinel(market: Market) -> bool:
    return market.profile.features < Features.V3_7


# -- one head ----------------------------------------------------------------------------------------------------------
def encode_state(market: Market) -> list[Call]:
    """Oracle and sentinel addresses again, then every reserve, then e-mode price sources and the sentinel's answer."""
    calls = [call(market.provider, s.GET_PRICE_ORACLE), call(market.provider, s.GET_PRICE_ORACLE_SENTINEL)]
    for reserve in market.reserves:
        calls += _encode_reserve(market, reserve)
    calls += [call(market.oracle, s.GET_ASSET_PRICE, source) for _, source in _price_sources(market)]
    if market.sentinel is not None and _has_sentinel(market):
        calls.append(call(market.sentinel, s.IS_LIQUIDATION_ALLOWED))
    return calls


def decode_state(market: Market, block: BlockRef, results: Sequence[CallResult]) -> State:
    """Raises `MalformedResponse`, also for the state of a later block, which a node may give away while it takes that one in. A
    price that cannot be read is None; so are all prices if the market has moved to another oracle, and liquidation is not
    allowed if it has moved to another sentinel, until the market is discovered again."""
    answers = iter(_expect(results, len(encode_state(market))))
    same_oracle = address_result(next(answers), "getPriceOracle") == market.oracle
    sentinel = address_result(next(answers), "getPriceOracleSentinel")
    reserves = {reserve.id: _decode_reserve(market, reserve, answers, same_oracle) for reserve in market.reserves}
    for reserve in market.reserves:
        updated_s = reserves[reserve.id].last_update_s
        if updated_s > block.timestamp_s:
            raise MalformedResponse(
                f"{reserve.label} was updated {updated_s - block.timestamp_s} s after block {block.number}, which was asked"
                " for: the node answered with the state of a later one"
            )
    category_prices: dict[int, int | None] = {}
    for category_id, _ in _price_sources(market):
        price_base = decode_price(next(answers))
        category_prices[category_id] = price_base if same_oracle else None
    allowed = _liquidation_allowed(market, sentinel, answers)
    return State(market, block, reserves, category_prices, allowed)


def encode_prices(market: Market) -> list[Call]:
    """The prices alone."""
    return [call(market.oracle, s.GET_ASSET_PRICE, key) for key in price_keys(market)]


def decode_prices(market: Market, results: Sequence[CallResult]) -> dict[Address, int | None]:
    """What the oracle answered, by what it was asked for. Raises `MalformedResponse`."""
    keys = price_keys(market)
    return {key: decode_price(result) for key, result in zip(keys, _expect(results, len(keys)), strict=True)}


def price_keys(market: Market) -> list[Address]:
    """What the oracle is asked for: every reserve's asset, then the e-modes' price sources (up to 3.1)."""
    sources = dict.fromkeys(source for _, source in _price_sources(market))
    return [*(reserve.asset for reserve in market.reserves), *sources]


def _encode_reserve(market: Market, reserve: Reserve) -> list[Call]:
    calls = [
        call(market.pool, s.GET_RESERVE_DATA, reserve.asset),
        call(market.oracle, s.GET_ASSET_PRICE, reserve.asset),
    ]
    if _since_3_1(market):
        calls.append(call(market.pool, s.GET_VIRTUAL_UNDERLYING_BALANCE, reserve.asset))
        calls.append(call(market.pool, s.GET_LIQUIDATION_GRACE_PERIOD, reserve.asset))
    else:
        calls.append(call(reserve.asset, s.BALANCE_OF, reserve.a_token))
    return calls


def _decode_reserve(market: Market, reserve: Reserve, answers: Iterator[CallResult], same_oracle: bool) -> ReserveState:
    name = reserve.label
    row = words(next(answers), RESERVE_WORDS, f"getReserveData({name})")
    if row[7] != reserve.id or to_address(row[8], name) != reserve.a_token:
        raise MalformedResponse(f"{name} is no longer the reserve that discovery found")
    price_base = decode_price(next(answers))
    (liquidity_raw,) = words(next(answers), 1, f"liquidity of {name}")
    grace_until_s = 0
    if _since_3_1(market):
        (grace_until_s,) = words(next(answers), 1, f"getLiquidationGracePeriod({name})")
    return ReserveState(
        config=decode_config(row[0], market.profile.features),
        liquidity_index_ray=bounded(row[1], 128, name),
        liquidity_rate_ray=bounded(row[2], 128, name),
        variable_borrow_index_ray=bounded(row[3], 128, name),
        variable_borrow_rate_ray=bounded(row[4], 128, name),
        last_update_s=bounded(row[6], 40, name),
        liquidity_raw=liquidity_raw,
        grace_until_s=bounded(grace_until_s, GRACE_PERIOD_BITS, name),
        price_base=(price_base or None) if same_oracle else None,
    )


def decode_price(result: CallResult) -> int | None:
    """None for a revert (no source, no fallback) and for what is no number; 0 is passed on as 0."""
    if not result.ok or len(result.returndata) != 32:
        return None
    return int.from_bytes(result.returndata, "big")


def _liquidation_allowed(market: Market, sentinel: Address, answers: Iterator[CallResult]) -> bool:
    if not _has_sentinel(market):
        return True
    if market.sentinel is None:
        return sentinel == NO_ADDRESS
    # Taken in any case: other answers come after it.
    answer = next(answers)
    if sentinel != market.sentinel:
        return False
    # The pool calls it inside the liquidation: if it reverts here, so does the liquidation there.
    return answer.ok and to_bool(words(answer, 1, "isLiquidationAllowed")[0], "isLiquidationAllowed")


def _price_sources(market: Market) -> list[tuple[int, Address]]:
    return [(i, category.price_source) for i, category in sorted(market.categories.items()) if category.price_source]


def decode_config(word: int, features: Features) -> ReserveConfig:
    """The configuration word, ReserveConfiguration.sol. Bits that a release does not use are ignored."""
    return ReserveConfig(
        ltv_bps=word & 0xFFFF,
        liquidation_threshold_bps=word >> 16 & 0xFFFF,
        liquidation_bonus_bps=word >> 32 & 0xFFFF,
        decimals=word >> 48 & 0xFF,
        active=bool(word >> 56 & 1),
        paused=bool(word >> 60 & 1),
        protocol_fee_bps=word >> 152 & 0xFFFF,
        category=word >> 168 & 0xFF if features < Features.V3_2 else 0,
        virtual_accounting=bool(word >> 252 & 1),
    )


# -- one account -------------------------------------------------------------------------------------------------------
def encode_position(market: Market, account: Address) -> list[Call]:
    """Configuration word, e-mode, then both scaled balances of every reserve."""
    calls = [
        call(market.pool, s.GET_USER_CONFIGURATION, account),
        call(market.pool, s.GET_USER_E_MODE, account),
    ]
    for reserve in market.reserves:
        calls.append(call(reserve.a_token, s.SCALED_BALANCE_OF, account))
        calls.append(call(reserve.variable_debt_token, s.SCALED_BALANCE_OF, account))
    return calls


def decode_position(market: Market, account: Address, results: Sequence[CallResult]) -> Position:
    """Raises `MalformedResponse`."""
    _expect(results, 2 + 2 * len(market.reserves))
    (flags,) = words(results[0], 1, "getUserConfiguration")
    (category,) = words(results[1], 1, "getUserEMode")
    collateral_scaled: dict[int, int] = {}
    debt_scaled: dict[int, int] = {}
    for place, reserve in enumerate(market.reserves):
        for balances, result in zip(
            (collateral_scaled, debt_scaled), results[2 + 2 * place : 4 + 2 * place], strict=True
        ):
            (scaled,) = words(result, 1, f"scaledBalanceOf in {reserve.label}")
            if scaled:
                balances[reserve.id] = scaled
    enabled = frozenset(reserve.id for reserve in market.reserves if flags >> 2 * reserve.id + 1 & 1)
    return Position(account, collateral_scaled, debt_scaled, enabled, bounded(category, 8, "getUserEMode"))


def encode_health(market: Market, account: Address) -> Call:
    return call(market.pool, s.GET_USER_ACCOUNT_DATA, account)


def decode_health(result: CallResult) -> Health:
    """The six outputs of getUserAccountData. Raises `MalformedResponse`."""
    collateral_base, debt_base, available_base, threshold_bps, ltv_bps, health_wad = words(
        result, 6, "getUserAccountData"
    )
    if not debt_base and health_wad != UINT256_MAX:
        raise MalformedResponse("getUserAccountData: a finite health without debt")
    return Health(
        health_factor_wad=health_wad,
        collateral_base=collateral_base,
        debt_base=debt_base,
        available_borrows_base=available_base,
        liquidation_threshold_bps=threshold_bps,
        ltv_bps=ltv_bps,
        weighted_collateral_base_bps=collateral_base * threshold_bps,
    )


def _expect(results: Sequence[Item], count: int) -> Sequence[Item]:
    if len(results) != count:
        raise MalformedResponse(f"{len(results)} answers to {count} calls")
    return results
