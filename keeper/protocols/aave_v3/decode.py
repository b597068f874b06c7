"""Logs as book events, and token events as new scaled balances.

Aave emits rounded token amounts, never the scaled ones that it stores; `next_scaled` inverts them exactly. With f the
balance of a scaled amount and inv the scaled amount of a balance (both under the market's rounding):

* half-up (to 3.4): a mint or burn moved a = value ∓ interest, so the scaled balance moved by rdiv(|a|, index);
* explicit (from 3.5): value and interest are differences of balances, so the new balance in units is known, and
  inv(f(S) + value − interest) is the only scaled balance with it, because an index is never below RAY.
"""

from __future__ import annotations

from collections.abc import Sequence

from keeper.core.block import Log
from keeper.core.errors import MalformedResponse, MissedLog
from keeper.core.fixedmath import ray_div_half_up
from keeper.core.lending import BalanceChange, BookEvent, CategorySet, CollateralFlag, LogFilter, MarketChanged, Side
from keeper.core.units import RAY, Address
from keeper.protocols.aave_v3 import selectors as s
from keeper.protocols.aave_v3.market import Market
from keeper.protocols.aave_v3.math import BALANCES
from keeper.protocols.aave_v3.profile import Features, Rounding
from keeper.protocols.aave_v3.words import bounded, split, topic_address

MARKET_CHANGES = {
    s.POOL_UPDATED_TOPIC: "PoolUpdated",
    s.POOL_CONFIGURATOR_UPDATED_TOPIC: "PoolConfiguratorUpdated",
    s.PRICE_ORACLE_UPDATED_TOPIC: "PriceOracleUpdated",
    s.PRICE_ORACLE_SENTINEL_UPDATED_TOPIC: "PriceOracleSentinelUpdated",
    s.ADDRESS_SET_TOPIC: "AddressSet",
    s.ASSET_SOURCE_UPDATED_TOPIC: "AssetSourceUpdated",
    s.ADDRESS_SET_AS_PROXY_TOPIC: "AddressSetAsProxy",
    s.RESERVE_INITIALIZED_TOPIC: "ReserveInitialized",
    s.RESERVE_DROPPED_TOPIC: "ReserveDropped",
    s.E_MODE_CATEGORY_ADDED_TOPIC: "EModeCategoryAdded",
    s.E_MODE_CATEGORY_ISOLATION_CHANGED_TOPIC: "EModeCategoryIsolationChanged",
    s.ASSET_COLLATERAL_IN_E_MODE_CHANGED_TOPIC: "AssetCollateralInEModeChanged",
    s.ASSET_LTVZERO_IN_E_MODE_CHANGED_TOPIC: "AssetLtvzeroInEModeChanged",
    s.A_TOKEN_UPGRADED_TOPIC: "ATokenUpgraded",
    s.VARIABLE_DEBT_TOKEN_UPGRADED_TOPIC: "VariableDebtTokenUpgraded",
    s.UPGRADED_TOPIC: "Upgraded",
    s.STABLE_MINT_TOPIC: "stable debt minted",
}
"""What discovery found may no longer hold. Everything else that configuration or oracle can change is read at each head."""
CODE_CHANGES = {
    s.POOL_UPDATED_TOPIC,
    s.ADDRESS_SET_AS_PROXY_TOPIC,
    s.A_TOKEN_UPGRADED_TOPIC,
    s.VARIABLE_DEBT_TOKEN_UPGRADED_TOPIC,
    s.UPGRADED_TOPIC,
}
"""Of those, the ones that replace an implementation."""

_POOL_TOPICS = {
    s.RESERVE_USED_AS_COLLATERAL_ENABLED_TOPIC,
    s.RESERVE_USED_AS_COLLATERAL_DISABLED_TOPIC,
    s.USER_E_MODE_SET_TOPIC,
}
_TOKEN_TOPICS = {s.MINT_TOPIC, s.BURN_TOPIC, s.BALANCE_TRANSFER_TOPIC}


def log_filter(market: Market) -> LogFilter:
    """Pool, provider, configurator, oracle and every token of every reserve."""
    tokens = [token for reserve in market.reserves for token in (reserve.a_token, reserve.variable_debt_token)]
    tokens += [reserve.stable_debt_token for reserve in market.reserves if reserve.stable_debt_token is not None]
    addresses = (market.pool, market.provider, market.configurator, market.oracle, *tokens)
    return LogFilter(addresses, tuple(sorted({s.BORROW_TOPIC} | _POOL_TOPICS | _TOKEN_TOPICS | set(MARKET_CHANGES))))


def borrower_filter(market: Market) -> LogFilter:
    """Every debt begins with the pool's `Borrow` (debt cannot be transferred)."""
    return LogFilter((market.pool,), (s.BORROW_TOPIC,))


def decode_borrower(market: Market, log: Log) -> Address | None:
    """`onBehalfOf` of a `Borrow`: the account that owes. Raises `MalformedResponse`."""
    if log.address != market.pool or not log.topics or log.topics[0] != s.BORROW_TOPIC:
        return None
    # Borrow(reserve, user, onBehalfOf, amount, rate mode, rate, referral): reserve, onBehalfOf and referral are indexed.
    if len(log.topics) != 4:
        raise MalformedResponse(f"Borrow: {len(log.topics)} topics instead of 4")
    split(log.data, 4, "Borrow")
    return topic_address(log.topics[2], "Borrow")


def decode_log(market: Market, log: Log) -> Sequence[BookEvent]:
    """Raises `MalformedResponse` for a log of the market that is not shaped as its event."""
    if not log.topics:
        return ()
    topic = log.topics[0]
    token = market.by_token.get(log.address)
    if token is not None and topic in _TOKEN_TOPICS:
        return _decode_token_log(log, *token)
    if log.address == market.pool and topic in _POOL_TOPICS:
        return (_decode_pool_log(market, log),)
    change = MARKET_CHANGES.get(topic)
    if change is not None and (token is not None or log.address in market.contracts):
        return (_changed(market, log, change),)
    return ()


def _changed(market: Market, log: Log, change: str) -> MarketChanged:
    """Whose code a log replaces: of a proxy itself, of the pool, or of the proxy that it names."""
    topic = log.topics[0]
    if topic not in CODE_CHANGES:
        # What a reserve's tokens said before it was dropped is not among the logs of those that are left.
        return MarketChanged(change, breaks_replay=topic == s.RESERVE_DROPPED_TOPIC)
    if topic == s.UPGRADED_TOPIC:
        return MarketChanged(change, code_changed=True, contract=log.address)
    if topic == s.POOL_UPDATED_TOPIC:
        return MarketChanged(change, code_changed=True, contract=market.pool)
    # AddressSetAsProxy(id, proxy, …), ATokenUpgraded(asset, proxy, …) and VariableDebtTokenUpgraded(asset, proxy, …).
    proxy = topic_address(log.topics[2], change) if len(log.topics) == 4 else None
    return MarketChanged(change, code_changed=True, contract=proxy)


def _decode_token_log(log: Log, reserve_id: int, side: Side) -> Sequence[BookEvent]:
    topic = log.topics[0]
    kind = BalanceChange.Kind
    if topic == s.BALANCE_TRANSFER_TOPIC:
        what = "BalanceTransfer"
        sender, recipient = _indexed_addresses(log, 2, what)
        value, index_ray = split(log.data, 2, what)
        _check_index(index_ray, what)
        return (
            BalanceChange(sender, reserve_id, side, kind.SEND, value, 0, index_ray),
            BalanceChange(recipient, reserve_id, side, kind.RECEIVE, value, 0, index_ray),
        )
    minted = topic == s.MINT_TOPIC
    what = "Mint" if minted else "Burn"
    first, second = _indexed_addresses(log, 2, what)
    value, increase_raw, index_ray = split(log.data, 3, what)
    _check_index(index_ray, what)
    # Mint(caller, onBehalfOf, …) and Burn(from, target, …): the account stands in different places.
    account = second if minted else first
    return (
        BalanceChange(account, reserve_id, side, kind.MINT if minted else kind.BURN, value, increase_raw, index_ray),
    )


def _decode_pool_log(market: Market, log: Log) -> BookEvent:
    if log.topics[0] == s.USER_E_MODE_SET_TOPIC:
        what = "UserEModeSet"
        (account,) = _indexed_addresses(log, 1, what)
        return CategorySet(account, bounded(split(log.data, 1, what)[0], 8, what))
    enabled = log.topics[0] == s.RESERVE_USED_AS_COLLATERAL_ENABLED_TOPIC
    what = f"ReserveUsedAsCollateral{'Enabled' if enabled else 'Disabled'}"
    asset, account = _indexed_addresses(log, 2, what)
    split(log.data, 0, what)
    reserve = market.by_asset.get(asset)
    if reserve is None:
        return MarketChanged(f"{what} of the new reserve 0x{asset.hex()}")
    return CollateralFlag(account, reserve.id, enabled)


def _indexed_addresses(log: Log, count: int, what: str) -> list[Address]:
    if len(log.topics) != 1 + count:
        raise MalformedResponse(f"{what}: {len(log.topics)} topics instead of {1 + count}")
    return [topic_address(topic, what) for topic in log.topics[1:]]


def _check_index(index_ray: int, what: str) -> None:
    if bounded(index_ray, 128, what) < RAY:
        raise MalformedResponse(f"{what}: an index of {index_ray}, below one ray")


def next_scaled(market: Market, change: BalanceChange, previous_scaled: int) -> int:
    """The scaled balance after a token event. Raises `MissedLog` when it would go below zero."""
    found = _next_scaled(market, change, previous_scaled)
    if found < 0:
        raise MissedLog(
            f"{change.kind.value} of {change.value} takes reserve {change.reserve_id} of its account below zero"
        )
    return found


def _next_scaled(market: Market, change: BalanceChange, previous_scaled: int) -> int:
    kind, index_ray = change.kind, change.index_ray
    if kind in (BalanceChange.Kind.SEND, BalanceChange.Kind.RECEIVE):
        moved = change.value
        if market.profile.features is Features.V3_0_0:
            moved = ray_div_half_up(moved, index_ray)
        return previous_scaled + (moved if kind is BalanceChange.Kind.RECEIVE else -moved)
    minted = kind is BalanceChange.Kind.MINT
    # A burn smaller than the interest since the last action is announced as a mint of the difference: the sign is in here.
    moved_raw = change.value - change.balance_increase_raw if minted else -change.value - change.balance_increase_raw
    if market.profile.rounding is Rounding.HALF_UP:
        moved_scaled = ray_div_half_up(abs(moved_raw), index_ray)
        return previous_scaled + (moved_scaled if moved_raw > 0 else -moved_scaled)
    balances = BALANCES[market.profile.rounding]
    if change.side is Side.COLLATERAL:
        to_raw, to_scaled = balances.collateral_balance, balances.collateral_burn_scaled
    else:
        to_raw, to_scaled = balances.debt_balance, balances.debt_burn_scaled
    balance_raw = to_raw(previous_scaled, index_ray) + moved_raw
    return to_scaled(balance_raw, index_ray) if balance_raw >= 0 else balance_raw
