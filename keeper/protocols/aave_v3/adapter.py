"""The Aave v3 adapter: the lending port over the pure parts of this folder."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace

from keeper.core.block import BlockRef, Call, CallResult, Log
from keeper.core.lending import (
    BalanceChange,
    BookEvent,
    CollateralLeg,
    Exposure,
    Health,
    LiquidationEvent,
    LogFilter,
    Pair,
    Position,
    Quote,
    Refusal,
    ReserveTotals,
    Side,
)
from keeper.core.outcome import Reason, Skip
from keeper.core.prices import PriceFeeds
from keeper.core.screening import ScreenColumn, ScreenTerms
from keeper.core.units import Address
from keeper.protocols.aave_v3 import (
    bounds,
    calls,
    decode,
    discovery,
    feeds,
    flash,
    liquidation,
    reads,
    reverts,
    screen,
    totals,
)
from keeper.protocols.aave_v3.market import Market
from keeper.protocols.aave_v3.profile import Features
from keeper.protocols.aave_v3.refusals import WITHOUT_DATA, refuse
from keeper.protocols.aave_v3.state import Accrued, State
from keeper.protocols.aave_v3.terms import Terms, TermsMemo
from keeper.protocols.aave_v3.valuation import bonus_bps, exposures_of, price_of, threshold_bps, value_account

LEAST_CALL_GAS = 280_000
"""A plain liquidation of one collateral and one debt."""
RESERVE_GAS = 30_000
"""Each further reserve that the pool values on the way."""
OVERFLOWING = Skip(Reason.UNPRICEABLE, "the contract's own arithmetic overflows on this position")


class AaveV3:
    """Implements `LendingAdapter[Market, State]`. Stateless but for a memo of the pairs quoted last."""

    def __init__(self) -> None:
        self._memo = TermsMemo()

    @property
    def protocol(self) -> str:
        return "aave_v3"

    # -- reads ---------------------------------------------------------------------------------------------------------
    def discover(self, entry: Address) -> Generator[Sequence[Call], Sequence[CallResult], Market]:
        """From the `PoolAddressesProvider`."""
        return discovery.discover(entry)

    def candidates(self, market: Market) -> Sequence[Market]:
        return [replace(market, profile=profile) for profile in market.candidates]

    def rules_name(self, market: Market) -> str:
        return f"Aave v{market.profile.release} (pool revision {market.pool_revision})"

    def assets(self, market: Market) -> Sequence[Address]:
        return [reserve.asset for reserve in market.reserves]

    def base_unit(self, market: Market) -> int:
        return market.base_currency_unit

    def discover_feeds(self, market: Market) -> Generator[Sequence[Call], Sequence[CallResult], PriceFeeds]:
        return feeds.discover_feeds(market)

    def encode_state(self, market: Market) -> Sequence[Call]:
        return reads.encode_state(market)

    def decode_state(self, market: Market, block: BlockRef, results: Sequence[CallResult]) -> State:
        return reads.decode_state(market, block, results)

    def encode_position(self, market: Market, account: Address) -> Sequence[Call]:
        return reads.encode_position(market, account)

    def decode_position(self, market: Market, account: Address, results: Sequence[CallResult]) -> Position:
        return reads.decode_position(market, account, results)

    def encode_health(self, market: Market, account: Address) -> Call:
        return reads.encode_health(market, account)

    def decode_health(self, market: Market, result: CallResult) -> Health:
        del market
        return reads.decode_health(result)

    def reserve_ids(self, market: Market) -> Sequence[int]:
        return [reserve.id for reserve in market.reserves]

    def encode_totals(self, market: Market, reserve_id: int) -> Sequence[Call]:
        return totals.encode_totals(market, reserve_id)

    def decode_totals(self, market: Market, reserve_id: int, results: Sequence[CallResult]) -> ReserveTotals:
        return totals.decode_totals(market, reserve_id, results)

    def indexes_ray(self, state: State, reserve_id: int, timestamp_s: int) -> tuple[int, int]:
        reserve = state.at(timestamp_s)[reserve_id]
        return reserve.income_index_ray, reserve.debt_index_ray

    # -- logs ----------------------------------------------------------------------------------------------------------
    def borrower_filter(self, market: Market) -> LogFilter:
        return decode.borrower_filter(market)

    def decode_borrower(self, market: Market, log: Log) -> Address | None:
        return decode.decode_borrower(market, log)

    def log_filter(self, market: Market) -> LogFilter:
        return decode.log_filter(market)

    def decode_log(self, market: Market, log: Log) -> Sequence[BookEvent]:
        return decode.decode_log(market, log)

    def next_scaled(self, market: Market, change: BalanceChange, previous_scaled: int) -> int:
        return decode.next_scaled(market, change, previous_scaled)

    # -- decisions' arithmetic -----------------------------------------------------------------------------------------
    def health(self, state: State, position: Position, timestamp_s: int) -> Health | Skip:
        try:
            return value_account(state.at(timestamp_s), position)
        except ArithmeticError:
            return OVERFLOWING

    def collateral_legs(self, state: State, position: Position, timestamp_s: int) -> Sequence[CollateralLeg]:
        at = state.at(timestamp_s)
        emode = at.emode(position.category)
        legs = []
        for reserve_id in sorted(position.collateral_enabled & position.collateral_scaled.keys()):
            leg = at[reserve_id]
            price_base = price_of(leg, emode)
            if price_base is None:
                continue
            balance_raw = at.balances.collateral_balance(position.collateral_scaled[reserve_id], leg.income_index_ray)
            legs.append(
                CollateralLeg(
                    reserve_id=reserve_id,
                    balance_raw=balance_raw,
                    balance_base=balance_raw * price_base // leg.unit,
                    threshold_bps=threshold_bps(leg, emode) if leg.counts else 0,
                    bonus_bps=bonus_bps(leg, emode) if leg.counts else 0,
                )
            )
        return legs

    def pairs(
        self, state: State, position: Position, liquidator: Address, timestamp_s: int
    ) -> Sequence[Pair | Refusal]:
        at = state.at(timestamp_s)
        return [
            self._pair(at, position, liquidator, collateral_id, debt_id)
            for collateral_id in sorted(position.collateral_scaled)
            for debt_id in sorted(position.debt_scaled)
        ]

    def _pair(
        self, at: Accrued, position: Position, liquidator: Address, collateral_id: int, debt_id: int
    ) -> Pair | Refusal:
        market = at.state.market
        collateral, debt = market.by_id[collateral_id], market.by_id[debt_id]
        terms: Terms | Refusal = self._terms(at, position, collateral_id, debt_id)
        unpriceable = isinstance(terms, Refusal) and terms.skip.reason is Reason.UNPRICEABLE
        if liquidator == position.borrower and at.features >= Features.V3_4 and not unpriceable:
            terms = refuse(Reason.SELF_LIQUIDATION, "SelfLiquidation")
        if isinstance(terms, Refusal):
            detail = f"{collateral.label} for {debt.label}: {terms.skip.detail}"
            return replace(terms, skip=replace(terms.skip, detail=detail))
        return Pair(
            collateral_id=collateral_id,
            debt_id=debt_id,
            collateral_asset=collateral.asset,
            debt_asset=debt.asset,
            threshold_bps=threshold_bps(terms.collateral, terms.emode),
            bonus_bps=terms.bonus_bps,
        )

    def allowed_debt_to_cover(
        self, state: State, position: Position, pair: Pair, timestamp_s: int
    ) -> Sequence[tuple[int, int]]:
        terms = self._terms(state.at(timestamp_s), position, pair.collateral_id, pair.debt_id)
        return [] if isinstance(terms, Refusal) else bounds.allowed_debt_to_cover(terms)

    def quote_liquidation(
        self, state: State, position: Position, pair: Pair, debt_to_cover_raw: int, timestamp_s: int
    ) -> Quote | Refusal:
        terms = self._terms(state.at(timestamp_s), position, pair.collateral_id, pair.debt_id)
        return terms if isinstance(terms, Refusal) else liquidation.quote(terms, debt_to_cover_raw)

    def _terms(self, at: Accrued, position: Position, collateral_id: int, debt_id: int) -> Terms | Refusal:
        try:
            return self._memo.find(at, position, collateral_id, debt_id)
        except ArithmeticError:
            return Refusal(OVERFLOWING, WITHOUT_DATA)

    def with_prices(self, state: State, prices_base: Mapping[Address, int | None]) -> State:
        return state.with_prices(prices_base)

    def prices(self, state: State) -> Mapping[Address, int | None]:
        return state.prices_base()

    def encode_prices(self, market: Market) -> Sequence[Call]:
        return reads.encode_prices(market)

    def decode_prices(self, market: Market, results: Sequence[CallResult]) -> Mapping[Address, int | None]:
        return reads.decode_prices(market, results)

    def with_later_prices(self, state: State, timestamp_s: int, prices_base: Mapping[Address, int | None]) -> State:
        return state.with_later_prices(timestamp_s, prices_base)

    def exposures(self, state: State, position: Position, timestamp_s: int) -> Sequence[Exposure] | Skip:
        try:
            return exposures_of(state.at(timestamp_s), position)
        except ArithmeticError:
            return OVERFLOWING

    def screen_terms(
        self, state: State, columns: Sequence[ScreenColumn], timestamp_s: int, until_s: int | None = None
    ) -> ScreenTerms:
        until = None if until_s is None else state.at(until_s)
        return screen.screen_terms(state.at(timestamp_s), columns, until)

    def health_is_floored(self, state: State) -> bool:
        return not state.at(state.block.timestamp_s).health_is_exact

    def relevant_prices(self, state: State, position: Position) -> Mapping[Address, int | None]:
        held = position.collateral_scaled.keys() | position.debt_scaled.keys()
        found = {state.market.by_id[i].asset: state.reserves[i].price_base for i in sorted(held)}
        category = state.market.categories.get(position.category)
        if category is not None and category.price_source is not None:
            found[category.price_source] = state.category_prices_base.get(category.id)
        return found

    def value_base_floor(self, state: State, asset: Address, amount_raw: int) -> int | None:
        priced = _priced(state, asset)
        return None if priced is None else amount_raw * priced[0] // priced[1]

    def raw_from_base_ceil(self, state: State, asset: Address, value_base: int) -> int | None:
        priced = _priced(state, asset)
        return None if priced is None else -(-value_base * priced[1] // priced[0])

    def price_and_unit(self, state: State, asset: Address) -> tuple[int, int] | None:
        return _priced(state, asset)

    # -- writes --------------------------------------------------------------------------------------------------------
    def encode_liquidation(self, market: Market, borrower: Address, pair: Pair, debt_to_cover_raw: int) -> Call:
        return calls.encode_liquidation(market, borrower, pair, debt_to_cover_raw)

    def spender(self, market: Market) -> Address:
        return market.pool

    def debt_token(self, market: Market, debt_id: int) -> Address:
        return market.by_id[debt_id].variable_debt_token

    def receipt_token(self, market: Market, asset: Address) -> Address:
        return market.by_asset[asset].a_token

    def encode_flash_premium(self, market: Market) -> Call:
        return flash.encode_premium(market)

    def decode_flash_premium(self, market: Market, result: CallResult) -> int:
        return flash.decode_premium(result)

    def loanable_raw(self, state: State, asset: Address) -> int | None:
        return flash.loanable_raw(state, asset)

    def decode_flash_premiums(self, market: Market, logs: Sequence[Log]) -> Mapping[Address, int]:
        return flash.decode_premiums(market, logs)

    def estimated_gas(self, position: Position) -> int:
        reserves = position.collateral_enabled | position.debt_scaled.keys()
        return LEAST_CALL_GAS + RESERVE_GAS * max(0, len(reserves) - 2)

    def decode_liquidation(self, market: Market, logs: Sequence[Log], borrower: Address) -> Sequence[LiquidationEvent]:
        return calls.decode_liquidations(market, logs, borrower)

    @property
    def refused_as_late(self) -> frozenset[str]:
        return reverts.LATE

    def decode_revert(self, market: Market, revert_data: bytes) -> str:
        del market
        return reverts.decode_revert(revert_data)


def _priced(state: State, asset: Address) -> tuple[int, int] | None:
    """Price and unit of an asset, or of the aToken that stands for it; None when it is unknown or has no price."""
    market = state.market
    reserve = market.by_asset.get(asset)
    if reserve is not None:
        reserve_id = reserve.id
    elif asset in market.by_token and market.by_token[asset][1] is Side.COLLATERAL:
        reserve_id = market.by_token[asset][0]
    else:
        return None
    found = state.reserves[reserve_id]
    return None if found.price_base is None else (found.price_base, 10**found.config.decimals)
