"""A lending protocol small enough to see through: a test double for planner and pipeline.

It keeps the shape of the real thing (two-step discovery, scaled debt, close factor, dust rule, protocol fee, bad debt,
liquidity) with the plain arithmetic of `tests.toy_arithmetic`. Calls and logs carry JSON instead of ABI.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from keeper.core.block import BlockRef, Call, CallResult, Log
from keeper.core.errors import MalformedResponse, MarketError, MissedLog
from keeper.core.lending import (
    BalanceChange,
    BookEvent,
    CategorySet,
    CollateralFlag,
    CollateralLeg,
    Exposure,
    Health,
    LiquidationEvent,
    LogFilter,
    MarketChanged,
    Pair,
    Position,
    Quote,
    Refusal,
    ReserveTotals,
    Side,
)
from keeper.core.outcome import Reason, Skip
from keeper.core.prices import NO_FEEDS, PriceFeeds
from keeper.core.screening import ScreenColumn, ScreenTerms
from keeper.core.units import RAY, UINT256_MAX, Address
from tests.toy_arithmetic import (
    ToyMarket,
    ToyReserve,
    ToyRules,
    ToyState,
    refused,
    screen_terms_of,
    terms_of,
    value_position,
)


def ask(function: str, **arguments: str | int) -> bytes:
    return json.dumps({"function": function, **arguments}).encode()


def topic(name: str) -> bytes:
    return name.encode().ljust(32, b"\0")


TOPICS = {name: topic(name) for name in ("Borrow", "Moved", "Flag", "Category", "Changed", "Liquidated")}


class ToyAdapter:
    """`keeper.core.lending.LendingAdapter` for the toy. `known` holds the candidate rules of each revision."""

    protocol = "toy"

    def __init__(self, known: Mapping[int, Sequence[ToyRules]]) -> None:
        self._known = known

    def discover(self, entry: Address) -> Generator[Sequence[Call], Sequence[CallResult], ToyMarket]:
        (where,) = yield [Call(entry, ask("pool"))]
        if not where.ok:
            raise MarketError(f"0x{entry.hex()} is no entry of a toy market")
        pool = Address(bytes.fromhex(_answer(where)))
        (found,) = yield [Call(pool, ask("config"))]
        config = _answer(found)
        reserves = {
            entry_id: ToyReserve(entry_id, Address(bytes.fromhex(asset)), *rest)
            for entry_id, asset, *rest in config["reserves"]
        }
        return ToyMarket(entry, pool, config["revision"], ToyRules(), reserves)

    def candidates(self, market: ToyMarket) -> Sequence[ToyMarket]:
        return [replace(market, rules=rules) for rules in self._known.get(market.revision, ())]

    def discover_feeds(self, market: ToyMarket) -> Generator[Sequence[Call], Sequence[CallResult], PriceFeeds]:
        yield from ()
        return NO_FEEDS

    def encode_state(self, market: ToyMarket) -> Sequence[Call]:
        return [Call(market.pool, ask("state"))]

    def decode_state(self, market: ToyMarket, block: BlockRef, results: Sequence[CallResult]) -> ToyState:
        answer = _answer(results[0])
        columns = [{int(key): number for key, number in column.items()} for column in answer]
        return ToyState(market, *columns)

    def encode_position(self, market: ToyMarket, account: Address) -> Sequence[Call]:
        return [Call(market.pool, ask("row", account=account.hex()))]

    def decode_position(self, market: ToyMarket, account: Address, results: Sequence[CallResult]) -> Position:
        collateral, debt, enabled, category = _answer(results[0])
        return Position(account, dict(collateral), dict(debt), frozenset(enabled), category)

    def encode_health(self, market: ToyMarket, account: Address) -> Call:
        return Call(market.pool, ask("health", account=account.hex()))

    def decode_health(self, market: ToyMarket, result: CallResult) -> Health:
        health_wad, collateral_base, debt_base, available_base, threshold_bps, ltv_bps = _answer(result)
        weighted = collateral_base * threshold_bps
        return Health(health_wad, collateral_base, debt_base, available_base, threshold_bps, ltv_bps, weighted)

    def reserve_ids(self, market: ToyMarket) -> Sequence[int]:
        return sorted(market.reserves)

    def encode_totals(self, market: ToyMarket, reserve_id: int) -> Sequence[Call]:
        return [Call(market.pool, ask("totals", reserve=reserve_id))]

    def decode_totals(self, market: ToyMarket, reserve_id: int, results: Sequence[CallResult]) -> ReserveTotals:
        return ReserveTotals(*_answer(results[0]))

    def indexes_ray(self, state: ToyState, reserve_id: int, timestamp_s: int) -> tuple[int, int]:
        return RAY, state.debt_index_ray(reserve_id, timestamp_s)

    # -- logs ----------------------------------------------------------------------------------------------------
    def borrower_filter(self, market: ToyMarket) -> LogFilter:
        return LogFilter((market.pool,), (TOPICS["Borrow"],))

    def decode_borrower(self, market: ToyMarket, log: Log) -> Address | None:
        if log.topics[0] != TOPICS["Borrow"]:
            return None
        return Address(bytes.fromhex(_fields(log)["account"]))

    def log_filter(self, market: ToyMarket) -> LogFilter:
        return LogFilter((market.pool,), tuple(TOPICS.values()))

    def decode_log(self, market: ToyMarket, log: Log) -> Sequence[BookEvent]:
        name, fields = log.topics[0], _fields(log)
        if name == TOPICS["Liquidated"]:
            return []  # it moves nothing itself: the transfers beside it do
        if name == TOPICS["Changed"]:
            return [MarketChanged("Changed", code_changed=fields["code"])]
        account = Address(bytes.fromhex(fields["account"]))
        if name == TOPICS["Borrow"]:
            return [
                BalanceChange(account, fields["reserve"], Side.DEBT, BalanceChange.Kind.MINT, fields["scaled"], 0, RAY)
            ]
        if name == TOPICS["Moved"]:
            kind = BalanceChange.Kind.MINT if fields["scaled"] >= 0 else BalanceChange.Kind.BURN
            return [
                BalanceChange(account, fields["reserve"], Side(fields["side"]), kind, abs(fields["scaled"]), 0, RAY)
            ]
        if name == TOPICS["Flag"]:
            return [CollateralFlag(account, fields["reserve"], fields["enabled"])]
        return [CategorySet(account, fields["category"])]

    def next_scaled(self, market: ToyMarket, change: BalanceChange, previous_scaled: int) -> int:
        sign = 1 if change.kind in (BalanceChange.Kind.MINT, BalanceChange.Kind.RECEIVE) else -1
        after = previous_scaled + sign * change.value
        if after < 0:
            raise MissedLog(f"0x{change.account.hex()} would hold {after} of reserve {change.reserve_id}")
        return after

    # -- arithmetic ----------------------------------------------------------------------------------------------
    def health(self, state: ToyState, position: Position, timestamp_s: int) -> Health | Skip:
        return value_position(state, position, timestamp_s)

    def collateral_legs(self, state: ToyState, position: Position, timestamp_s: int) -> Sequence[CollateralLeg]:
        legs = []
        for reserve_id in sorted(position.collateral_enabled):
            balance_raw, price_base = position.collateral_scaled.get(reserve_id, 0), state.prices_base[reserve_id]
            if balance_raw and price_base is not None:
                reserve = state.market.reserves[reserve_id]
                value_base = balance_raw * price_base // reserve.unit
                legs.append(
                    CollateralLeg(reserve_id, balance_raw, value_base, reserve.threshold_bps, reserve.bonus_bps)
                )
        return legs

    def pairs(
        self, state: ToyState, position: Position, liquidator: Address, timestamp_s: int
    ) -> Sequence[Pair | Refusal]:
        found: list[Pair | Refusal] = []
        for collateral_id in sorted(position.collateral_scaled):
            for debt_id in sorted(position.debt_scaled):
                terms = terms_of(state, position, collateral_id, debt_id, timestamp_s)
                if liquidator == position.borrower:
                    found.append(refused(Reason.SELF_LIQUIDATION, "SelfLiquidation"))
                elif isinstance(terms, Refusal):
                    found.append(terms)
                else:
                    collateral = terms.collateral
                    found.append(
                        Pair(
                            collateral_id,
                            debt_id,
                            collateral.asset,
                            terms.debt.asset,
                            collateral.threshold_bps,
                            collateral.bonus_bps,
                        )
                    )
        return found

    def allowed_debt_to_cover(
        self, state: ToyState, position: Position, pair: Pair, timestamp_s: int
    ) -> Sequence[tuple[int, int]]:
        terms = terms_of(state, position, pair.collateral_id, pair.debt_id, timestamp_s)
        if isinstance(terms, Refusal):
            return []
        starts = sorted(terms.thresholds())
        accepted: list[tuple[int, int]] = []
        for start, end in zip(starts, [*(start - 1 for start in starts[1:]), UINT256_MAX], strict=True):
            if terms.refusal(start) is not None:
                continue
            if accepted and accepted[-1][1] == start - 1:
                accepted[-1] = (accepted[-1][0], end)
            else:
                accepted.append((start, end))
        return accepted

    def quote_liquidation(
        self, state: ToyState, position: Position, pair: Pair, debt_to_cover_raw: int, timestamp_s: int
    ) -> Quote | Refusal:
        terms = terms_of(state, position, pair.collateral_id, pair.debt_id, timestamp_s)
        return terms if isinstance(terms, Refusal) else terms.quote(debt_to_cover_raw)

    def with_prices(self, state: ToyState, prices_base: Mapping[Address, int | None]) -> ToyState:
        ids = {reserve.asset: reserve.id for reserve in state.market.reserves.values()}
        return replace(
            state, prices_base={**state.prices_base, **{ids[key]: price for key, price in prices_base.items()}}
        )

    def prices(self, state: ToyState) -> Mapping[Address, int | None]:
        return {reserve.asset: state.prices_base[reserve_id] for reserve_id, reserve in state.market.reserves.items()}

    def encode_prices(self, market: ToyMarket) -> Sequence[Call]:
        return []

    def decode_prices(self, market: ToyMarket, results: Sequence[CallResult]) -> Mapping[Address, int | None]:
        return {}

    def with_later_prices(
        self, state: ToyState, timestamp_s: int, prices_base: Mapping[Address, int | None]
    ) -> ToyState:
        return self.with_prices(state, prices_base)

    def exposures(self, state: ToyState, position: Position, timestamp_s: int) -> Sequence[Exposure] | Skip:
        if isinstance(whole := value_position(state, position, timestamp_s), Skip):
            return whole
        found = []
        for reserve in state.market.reserves.values():
            price_base, held = state.prices_base[reserve.id], position.collateral_scaled.get(reserve.id, 0)
            if price_base is None:
                continue
            value_base = held * price_base // reserve.unit if reserve.id in position.collateral_enabled else 0
            owed_raw = state.owed_raw(position, reserve.id, timestamp_s)
            debt_base = state.debt_value_base(reserve.id, owed_raw, price_base)
            if value_base or debt_base:
                found.append(Exposure(reserve.asset, price_base, value_base * reserve.threshold_bps, debt_base))
        return found

    def screen_terms(
        self, state: ToyState, columns: Sequence[ScreenColumn], timestamp_s: int, until_s: int | None = None
    ) -> ScreenTerms:
        """Only debt grows, so that health is at its lowest at the last second."""
        return screen_terms_of(state, columns, timestamp_s if until_s is None else until_s)

    def health_is_floored(self, state: ToyState) -> bool:
        return state.market.rules.floored

    # -- the rest ------------------------------------------------------------------------------------------------
    def assets(self, market: ToyMarket) -> Sequence[Address]:
        return [reserve.asset for reserve in market.reserves.values()]

    def base_unit(self, market: ToyMarket) -> int:
        return 10**8

    def rules_name(self, market: ToyMarket) -> str:
        return market.rules.name

    def relevant_prices(self, state: ToyState, position: Position) -> Mapping[Address, int | None]:
        held = {*position.collateral_scaled, *position.debt_scaled}
        return {state.market.reserves[reserve_id].asset: state.prices_base[reserve_id] for reserve_id in held}

    def estimated_gas(self, position: Position) -> int:
        return 300_000

    def value_base_floor(self, state: ToyState, asset: Address, amount_raw: int) -> int | None:
        reserve = state.market.by_asset(asset)
        price_base = state.prices_base[reserve.id] if reserve is not None else None
        return None if reserve is None or price_base is None else amount_raw * price_base // reserve.unit

    def raw_from_base_ceil(self, state: ToyState, asset: Address, value_base: int) -> int | None:
        reserve = state.market.by_asset(asset)
        price_base = state.prices_base[reserve.id] if reserve is not None else None
        return None if reserve is None or not price_base else -(-value_base * reserve.unit // price_base)

    def price_and_unit(self, state: ToyState, asset: Address) -> tuple[int, int] | None:
        reserve = state.market.by_asset(asset)
        price_base = state.prices_base[reserve.id] if reserve is not None else None
        return None if reserve is None or not price_base else (price_base, reserve.unit)

    def encode_liquidation(self, market: ToyMarket, borrower: Address, pair: Pair, debt_to_cover_raw: int) -> Call:
        arguments = {"collateral": pair.collateral_id, "debt": pair.debt_id, "request": debt_to_cover_raw}
        return Call(market.pool, ask("liquidate", borrower=borrower.hex(), **arguments))

    def spender(self, market: ToyMarket) -> Address:
        return market.pool

    def debt_token(self, market: ToyMarket, debt_id: int) -> Address:
        return market.pool

    def receipt_token(self, market: ToyMarket, asset: Address) -> Address:
        return asset

    def encode_flash_premium(self, market: ToyMarket) -> Call:
        return Call(market.pool, ask("premium"))

    def decode_flash_premium(self, market: ToyMarket, result: CallResult) -> int:
        return int.from_bytes(result.returndata)

    def loanable_raw(self, state: ToyState, asset: Address) -> int | None:
        return None

    def decode_flash_premiums(self, market: ToyMarket, logs: Sequence[Log]) -> Mapping[Address, int]:
        return {}

    def decode_liquidation(
        self, market: ToyMarket, logs: Sequence[Log], borrower: Address
    ) -> Sequence[LiquidationEvent]:
        found = []
        for log in logs:
            if log.topics[0] == TOPICS["Liquidated"]:
                fields = _fields(log)
                collateral, debt, who, liquidator = (
                    Address(bytes.fromhex(fields[name])) for name in ("collateral", "debt", "borrower", "liquidator")
                )
                if who == borrower:
                    found.append(
                        LiquidationEvent(
                            collateral, debt, who, fields["repaid"], fields["received"], liquidator, log.log_index
                        )
                    )
        return found

    @property
    def refused_as_late(self) -> frozenset[str]:
        return frozenset({"healthy"})

    def decode_revert(self, market: ToyMarket, revert_data: bytes) -> str:
        return revert_data.decode()


def _answer(result: CallResult) -> Any:
    if not result.ok:
        raise MalformedResponse(f"the toy reverted: {result.returndata!r}")
    try:
        return json.loads(result.returndata)
    except ValueError:
        raise MalformedResponse(f"the toy answered {result.returndata!r}") from None


def _fields(log: Log) -> Any:
    try:
        return json.loads(log.data)
    except ValueError:
        raise MalformedResponse(f"log {log.log_index} of block {log.block_number} holds {log.data!r}") from None
