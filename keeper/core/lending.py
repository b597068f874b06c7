"""The nouns of a lending market and the port through which the planner sees one protocol.

A protocol's own state (reserves, indexes, prices) stays in its adapter; the core sees borrowers, pairs, quotes
and health. All amounts are integers; the suffix gives the unit (`_raw` token units, `_scaled` as stored before
interest, `_base` the market's base currency, `_wad` 1e18, `_ray` 1e27, `_bps` 1e-4).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from keeper.core.block import BlockRef, Call, CallResult, Log
from keeper.core.book_events import (
    BalanceChange,
    BookEvent,
    CategorySet,
    CollateralFlag,
    LogFilter,
    MarketChanged,
    Side,
)
from keeper.core.flash import FlashLender
from keeper.core.outcome import Skip
from keeper.core.prices import PriceFeeds
from keeper.core.screening import ScreenColumn, ScreenTerms
from keeper.core.units import Address

__all__ = [
    "BalanceChange",
    "BookEvent",
    "CategorySet",
    "CollateralFlag",
    "CollateralLeg",
    "Exposure",
    "Health",
    "LendingAdapter",
    "LiquidationEvent",
    "LogFilter",
    "MarketChanged",
    "Pair",
    "Position",
    "Quote",
    "Reads",
    "Refusal",
    "ReserveTotals",
    "Side",
]


@dataclass(frozen=True, slots=True)
class Position:
    """What the contracts store about one account. Interest is not in here: it lives in the indexes.

    Zero balances are absent. `collateral_enabled` may name a reserve without a balance (it then counts for nothing).
    """

    borrower: Address
    collateral_scaled: Mapping[int, int]
    debt_scaled: Mapping[int, int]
    collateral_enabled: frozenset[int]
    category: int
    """The e-mode; 0 for none."""


@dataclass(frozen=True, slots=True)
class ReserveTotals:
    """What one reserve's contracts say of the reserve as a whole, at one block and its own time."""

    collateral_scaled: int
    """Of all holders, borrowers or not."""
    debt_scaled: int
    """Of all borrowers."""
    collateral_index_ray: int
    """With interest up to the block's own timestamp, as the contracts themselves compute it; so is the next."""
    debt_index_ray: int


@dataclass(frozen=True, slots=True)
class Health:
    """The outputs of the market's own account valuation, at one timestamp."""

    health_factor_wad: int
    collateral_base: int
    debt_base: int
    available_borrows_base: int
    liquidation_threshold_bps: int
    """Average, floored to whole bps as the contract reports it."""
    ltv_bps: int
    weighted_collateral_base_bps: int
    """Σ collateral_base · liquidation threshold (bps), not divided: the exact numerator of health."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One (collateral, debt) that a single liquidation call may touch."""

    collateral_id: int
    debt_id: int
    collateral_asset: Address
    debt_asset: Address
    threshold_bps: int
    """Effective liquidation threshold of the collateral for this borrower."""
    bonus_bps: int
    """Effective liquidation bonus, 100 % included (10 500 = 5 %)."""


@dataclass(frozen=True, slots=True)
class CollateralLeg:
    """One enabled collateral of a position, valued."""

    reserve_id: int
    balance_raw: int
    balance_base: int
    """Floored."""
    threshold_bps: int
    bonus_bps: int
    """100 % included; 0 where the reserve cannot be liquidated for this borrower."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """The part of a position's health that hangs on one oracle price."""

    price_key: Address
    """What the oracle is asked for: an asset, or an e-mode's own price source."""
    price_base: int
    weighted_collateral_base_bps: int
    """Σ collateral_base · liquidation threshold (bps) at this price."""
    debt_base: int


@dataclass(frozen=True, slots=True)
class Quote:
    """What the contract would do for one `debt_to_cover_raw`, at one timestamp."""

    debt_to_cover_raw: int
    """As asked."""
    repaid_raw: int
    """What the liquidator really pays (never more than asked)."""
    seized_raw: int
    """What the borrower loses of the collateral, protocol fee included."""
    protocol_fee_raw: int
    received_raw: int
    """seized − protocol fee: what the liquidator gets."""
    repaid_base: int
    """Floored."""
    seized_base: int
    """Floored."""
    received_base: int
    """Floored."""
    position_after: Position
    health_after: Health
    bad_debt_base: int
    """Debt that the call itself writes off because no collateral is left; 0 on versions that never do."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The contract would revert: the error by its protocol name, and our reason for it."""

    skip: Skip
    contract_error: str


Reads = Generator[Sequence[Call], Sequence[CallResult], "Result_co"]
"""Reads that depend on reads: yields batches of calls, is sent their results, returns the value."""

Market = TypeVar("Market")
State = TypeVar("State")
Result_co = TypeVar("Result_co", covariant=True)


class LendingAdapter(FlashLender[Market, State], Protocol[Market, State]):
    """One lending protocol, sans I/O. `Market` is what discovery found (fixed until `MarketChanged`); `State` is what
    one block adds (indexes, rates, prices, liquidity). Both are the adapter's own immutable types.

    Reads raise `MalformedResponse` on short or odd return data, `MarketError` when the market cannot be trusted.
    Quotes are pure and raise only `Defect`.
    """

    @property
    def protocol(self) -> str:
        """Stable name, as the folder under `keeper/protocols`."""
        ...

    # -- reads ---------------------------------------------------------------------------------------------------
    def discover(self, entry: Address) -> Generator[Sequence[Call], Sequence[CallResult], Market]:
        """Everything that is fixed until configuration changes, from one address."""
        ...

    def discover_feeds(self, market: Market) -> Generator[Sequence[Call], Sequence[CallResult], PriceFeeds]:
        """What stands behind the market's prices; what is not known is left out, never refused."""
        ...

    def encode_state(self, market: Market) -> Sequence[Call]:
        """The reads that one head needs."""
        ...

    def decode_state(self, market: Market, block: BlockRef, results: Sequence[CallResult]) -> State:
        """Their results as a value, pinned to `block`. A price that cannot be read is None in it, never 0."""
        ...

    def encode_position(self, market: Market, account: Address) -> Sequence[Call]:
        """Reads of one account's row straight from the chain (audit, verification)."""
        ...

    def candidates(self, market: Market) -> Sequence[Market]:
        """The market under every set of rules that its probes allow, likeliest first. The one that recomputes the
        chain's own answers for a sample of borrowers, without a difference, is the right one."""
        ...

    def decode_position(self, market: Market, account: Address, results: Sequence[CallResult]) -> Position: ...

    def encode_health(self, market: Market, account: Address) -> Call:
        """The market's own valuation of an account."""
        ...

    def decode_health(self, market: Market, result: CallResult) -> Health:
        """`weighted_collateral_base_bps` is not reported by contracts: it is collateral × average threshold here."""
        ...

    def reserve_ids(self, market: Market) -> Sequence[int]:
        """Every listed reserve, ascending."""
        ...

    def encode_totals(self, market: Market, reserve_id: int) -> Sequence[Call]:
        """Reads of what one reserve's contracts say of it as a whole (audit, verification of a saved book)."""
        ...

    def decode_totals(self, market: Market, reserve_id: int, results: Sequence[CallResult]) -> ReserveTotals: ...

    def indexes_ray(self, state: State, reserve_id: int, timestamp_s: int) -> tuple[int, int]:
        """Our own (collateral, debt) indexes with interest up to a timestamp: at the state's block and its own time
        they must be those of `decode_totals`."""
        ...

    # -- logs ----------------------------------------------------------------------------------------------------
    def borrower_filter(self, market: Market) -> LogFilter:
        """The logs that name every account that ever borrowed, and no more than needed for that."""
        ...

    def decode_borrower(self, market: Market, log: Log) -> Address | None:
        """The account that a log shows borrowing; None for any other log."""
        ...

    def log_filter(self, market: Market) -> LogFilter:
        """Everything that moves rows, names borrowers or changes the market."""
        ...

    def decode_log(self, market: Market, log: Log) -> Sequence[BookEvent]:
        """Events in one log; empty when it does not concern the book. Malformed logs raise `MalformedResponse`."""
        ...

    def next_scaled(self, market: Market, change: BalanceChange, previous_scaled: int) -> int:
        """The scaled balance after a token event. Raises `MissedLog` when it would go below zero."""
        ...

    # -- decisions' arithmetic -----------------------------------------------------------------------------------
    def health(self, state: State, position: Position, timestamp_s: int) -> Health | Skip:
        """The contract's valuation at a timestamp; `Skip(unpriceable)` when a needed price is missing."""
        ...

    def collateral_legs(self, state: State, position: Position, timestamp_s: int) -> Sequence[CollateralLeg]:
        """Every enabled collateral with a balance and a price, whether or not it can be liquidated now."""
        ...

    def pairs(
        self, state: State, position: Position, liquidator: Address, timestamp_s: int
    ) -> Sequence[Pair | Refusal]:
        """Every (collateral, debt) of the position: usable, or refused by the contract with the reason."""
        ...

    def allowed_debt_to_cover(
        self, state: State, position: Position, pair: Pair, timestamp_s: int
    ) -> Sequence[tuple[int, int]]:
        """Closed, disjoint, ascending intervals of *requested* `debt_to_cover_raw` that the contract does not refuse: close
        factor, dust rules and available liquidity applied. A request above what may be repaid is clipped by the
        contract, so where the clipped repayment is accepted the last interval ends at 2**256 − 1. Empty when nothing
        is accepted. Agrees with `quote_liquidation` at every edge."""
        ...

    def quote_liquidation(
        self, state: State, position: Position, pair: Pair, debt_to_cover_raw: int, timestamp_s: int
    ) -> Quote | Refusal:
        """What the contract would do, to the wei; or its refusal."""
        ...

    def with_prices(self, state: State, prices_base: Mapping[Address, int | None]) -> State:
        """The same state, had the oracle answered these prices; all else, interest included, as it is. Keys are what the
        oracle is asked for: an asset, or an e-mode's own price source. Each is a price of its own: one that hangs on another
        (a staked coin on the coin) stays where it is unless it is named too. None is a price that cannot be read. Raises
        `Defect` for a key that the market does not ask for."""
        ...

    def prices(self, state: State) -> Mapping[Address, int | None]:
        """What the oracle answered at the state's block, by what it was asked for."""
        ...

    def encode_prices(self, market: Market) -> Sequence[Call]:
        """The reads of the prices alone."""
        ...

    def decode_prices(self, market: Market, results: Sequence[CallResult]) -> Mapping[Address, int | None]:
        """Their results by what the oracle is asked for, as `with_prices` takes them."""
        ...

    def with_later_prices(self, state: State, timestamp_s: int, prices_base: Mapping[Address, int | None]) -> State:
        """The state with the oracle's answers at a later second besides: some prices move without a transaction. From that
        second on they stand; in between, where both differ, a position is worth what the worse of the two makes it."""
        ...

    def exposures(self, state: State, position: Position, timestamp_s: int) -> Sequence[Exposure] | Skip:
        """The position's weighted collateral and debt by the oracle price that they hang on, one entry for each price, none
        for what counts for neither; together they make its `health`. `Skip(unpriceable)` as there."""
        ...

    def screen_terms(
        self, state: State, columns: Sequence[ScreenColumn], timestamp_s: int, until_s: int | None = None
    ) -> ScreenTerms:
        """What the columnar screen needs to never miss a borrower whose `health` is below 1 or `Skip` at that timestamp, or at
        any second from it up to `until_s`."""
        ...

    def health_is_floored(self, state: State) -> bool:
        """True where health is taken from the average threshold floored to whole bps: not monotone in the repayment."""
        ...

    # -- writes --------------------------------------------------------------------------------------------------
    def assets(self, market: Market) -> Sequence[Address]:
        """Every listed asset, each once."""
        ...

    def base_unit(self, market: Market) -> int:
        """One whole unit of the base currency (1e8 for dollars with 8 decimals)."""
        ...

    def rules_name(self, market: Market) -> str:
        """The revision and rules in use, for people."""
        ...

    def relevant_prices(self, state: State, position: Position) -> Mapping[Address, int | None]:
        """The price of every asset that the position holds or owes, and of its e-mode's own source where it has one, in the
        oracle's own scale."""
        ...

    def estimated_gas(self, position: Position) -> int:
        """A low guess of one liquidation's gas, before simulation."""
        ...

    def value_base_floor(self, state: State, asset: Address, amount_raw: int) -> int | None:
        """Oracle value of an amount in base currency, floored; None for an unknown asset or a missing price."""
        ...

    def raw_from_base_ceil(self, state: State, asset: Address, value_base: int) -> int | None:
        """The least amount worth at least `value_base` (base currency, before flooring), in the asset's units."""
        ...

    def price_and_unit(self, state: State, asset: Address) -> tuple[int, int] | None:
        """Oracle price of one whole token and its raw units; None for an unknown asset or a missing price."""
        ...

    def encode_liquidation(self, market: Market, borrower: Address, pair: Pair, debt_to_cover_raw: int) -> Call: ...

    def spender(self, market: Market) -> Address:
        """Who pulls the debt asset from the liquidator, and so needs the allowance."""
        ...

    def decode_liquidation(self, market: Market, logs: Sequence[Log], borrower: Address) -> Sequence[LiquidationEvent]:
        """What liquidations of this borrower really did, from a receipt's logs."""
        ...

    @property
    def refused_as_late(self) -> frozenset[str]:
        """The errors, as `decode_revert` names them, of a call that somebody else has made needless: its borrower is at 1 or
        above, or owes nothing of the asset."""
        ...

    def decode_revert(self, market: Market, revert_data: bytes) -> str:
        """The protocol's own name of an error, or a readable rendering of the bytes."""
        ...


@dataclass(frozen=True, slots=True)
class LiquidationEvent:
    """What one mined liquidation reports."""

    collateral_asset: Address
    debt_asset: Address
    borrower: Address
    repaid_raw: int
    received_raw: int
    liquidator: Address
    log_index: int
