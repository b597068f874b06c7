"""What one block adds to a market, and how it stands at a timestamp, interest included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from keeper.core.block import BlockRef
from keeper.core.errors import Defect
from keeper.core.screening import Fraction
from keeper.core.units import Address, to_hex
from keeper.protocols.aave_v3.later import Later, PriceRange
from keeper.protocols.aave_v3.market import Category, Market, ReserveConfig
from keeper.protocols.aave_v3.math import BALANCES, normalized_debt_ray, normalized_income_ray
from keeper.protocols.aave_v3.profile import Features, HealthFormula

ScreenWeights = tuple[Fraction | None, Fraction | None, int]
"""What the screen counts for one scaled unit of a reserve's collateral and of its debt; and the threshold, bps."""


@dataclass(frozen=True, slots=True)
class ReserveState:
    """One reserve at one block."""

    config: ReserveConfig
    liquidity_index_ray: int
    liquidity_rate_ray: int
    variable_borrow_index_ray: int
    variable_borrow_rate_ray: int
    last_update_s: int
    liquidity_raw: int
    """What can leave the reserve: virtual balance from 3.1 on, tokens held by the aToken before."""
    grace_until_s: int
    """No liquidation up to and including this second; 0 before 3.1."""
    price_base: int | None
    """Per whole token; None when it cannot be read or is zero."""


@dataclass(frozen=True, slots=True)
class State:
    """A market at one block."""

    market: Market
    block: BlockRef
    reserves: Mapping[int, ReserveState]
    """By reserve id."""
    category_prices_base: Mapping[int, int | None]
    """Up to 3.1: the price of each e-mode that has a price source. None when unreadable; 0 is the oracle's own answer."""
    liquidation_allowed: bool
    """The sequencer sentinel's word; True where there is none."""
    later: Later | None = None
    """What the oracle will answer at a later second, where that is known and differs."""
    like: State | None = field(default=None, repr=False, compare=False)
    """The same block at other prices: what they do not move was accrued there already."""
    _accrued: dict[int, Accrued] = field(default_factory=dict, init=False, repr=False, compare=False)

    def at(self, timestamp_s: int) -> Accrued:
        """The market with interest up to `timestamp_s`; computed once for all borrowers."""
        found = self._accrued.get(timestamp_s)
        if found is None:
            found = self._accrued[timestamp_s] = Accrued(self, timestamp_s)
        return found

    def with_prices(self, prices_base: Mapping[Address, int | None]) -> State:
        """The same block, had the oracle answered these prices, at every second. Keys are what the oracle is asked for: a
        reserve's asset, or an e-mode's price source (up to 3.1). As in a read, a reserve's price of 0 is none, an e-mode's 0
        leaves each asset its own. Raises `Defect` for any other key."""
        sources = {i: category.price_source for i, category in self.market.categories.items() if category.price_source}
        unknown = prices_base.keys() - self.market.by_asset.keys() - set(sources.values())
        if unknown:
            raise Defect(f"the oracle is not asked for {', '.join(sorted(to_hex(key) for key in unknown))}")
        reserves, categories = dict(self.reserves), dict(self.category_prices_base)
        for key in prices_base.keys() & self.market.by_asset.keys():
            reserve_id, price_base = self.market.by_asset[key].id, prices_base[key] or None
            if reserves[reserve_id].price_base != price_base:
                reserves[reserve_id] = replace(reserves[reserve_id], price_base=price_base)
        for category_id, key in sources.items():
            if key in prices_base:
                categories[category_id] = prices_base[key]
        later = None if self.later is None else self.later.without(prices_base)
        return replace(self, reserves=reserves, category_prices_base=categories, later=later, like=self)

    def with_later_prices(self, timestamp_s: int, prices_base: Mapping[Address, int | None]) -> State:
        """The same block, with the oracle's answers at a later second besides. What cannot be read now is not read later."""
        own_base = self.prices_base()
        moved = {
            key: price_base or None if key in self.market.by_asset else price_base
            for key, price_base in prices_base.items()
            if own_base.get(key) is not None and price_base != own_base[key]
        }
        return replace(self, later=Later(timestamp_s, moved) if moved else None)

    def prices_base(self) -> dict[Address, int | None]:
        """The oracle's answers at the block, by what it was asked for."""
        found: dict[Address, int | None] = {
            self.market.by_id[i].asset: reserve.price_base for i, reserve in self.reserves.items()
        }
        for category_id, price_base in self.category_prices_base.items():
            found[self._source_of(category_id)] = price_base
        return found

    def reserve_price_range(self, reserve_id: int, timestamp_s: int) -> PriceRange:
        own_base = self.reserves[reserve_id].price_base
        if self.later is None:
            return own_base, own_base
        asset = self.market.by_id[reserve_id].asset
        return self.later.price_range(asset, own_base, self.block.timestamp_s, timestamp_s)

    def category_price_range(self, category_id: int, timestamp_s: int) -> PriceRange:
        """Zeros for an e-mode without a price source."""
        own_base = self.category_prices_base.get(category_id, 0)
        if self.later is None or category_id not in self.category_prices_base:
            return own_base, own_base
        return self.later.price_range(self._source_of(category_id), own_base, self.block.timestamp_s, timestamp_s)

    def _source_of(self, category_id: int) -> Address:
        source = self.market.categories[category_id].price_source
        assert source is not None, "only a source gives an e-mode a price"
        return source


class ReserveAt:
    """One reserve at one timestamp. Plain slots, because every valuation reads them."""

    __slots__ = (
        "config",
        "counts",
        "debt_index_ray",
        "debt_price_base",
        "id",
        "income_index_ray",
        "price_base",
        "state",
        "unit",
        "weights",
    )

    def __init__(
        self, reserve_id: int, state: ReserveState, prices_base: PriceRange, features: Features, timestamp_s: int
    ) -> None:
        self.id = reserve_id
        self.state = state
        self.config = state.config
        self.weights: dict[int, ScreenWeights] = {}
        """By e-mode, as the screen found them."""
        self.unit: int = 10**state.config.decimals
        self.price_base, self.debt_price_base = prices_base
        """As collateral, and as debt: between two readings of a moving price the lower and the higher one."""
        self.counts = features >= Features.V3_6 or state.config.liquidation_threshold_bps != 0
        """As collateral. Up to 3.5 a reserve without a threshold of its own never counts, not even in an e-mode."""
        self.income_index_ray = normalized_income_ray(
            state.liquidity_index_ray, state.liquidity_rate_ray, state.last_update_s, timestamp_s
        )
        self.debt_index_ray = normalized_debt_ray(
            features, state.variable_borrow_index_ray, state.variable_borrow_rate_ray, state.last_update_s, timestamp_s
        )


class EMode:
    """An e-mode as one state sees it."""

    __slots__ = ("category", "debt_price_base", "has_price_source", "members", "price_base", "zero_ltv")

    def __init__(self, state: State, category_id: int, timestamp_s: int) -> None:
        # Discovery reads every id, so an unknown one is the contract's empty category.
        self.category = state.market.categories.get(category_id) or Category(category_id, 0, 0, 0)
        if state.market.profile.features >= Features.V3_2:
            self.members = _bits(self.category.collateral_bitmap)
        else:
            self.members = frozenset(
                i for i, reserve in state.reserves.items() if reserve.config.category == category_id
            )
        self.zero_ltv = _bits(self.category.zero_ltv_bitmap)
        self.has_price_source = category_id in state.category_prices_base
        self.price_base, self.debt_price_base = state.category_price_range(category_id, timestamp_s)
        """None when the source cannot be read; 0 when the category leaves each asset its own price."""


class Accrued(dict[int, ReserveAt]):
    """Reserves by id at one timestamp, accrued on first use."""

    def __init__(self, state: State, timestamp_s: int) -> None:
        super().__init__()
        profile = state.market.profile
        self.state = state
        self.timestamp_s = timestamp_s
        self.features = profile.features
        self.health_is_exact = profile.health_formula is HealthFormula.EXACT
        self.balances = BALANCES[profile.rounding]
        self._emodes: dict[int, EMode] = {}
        if state.like is not None and state.later is None and state.like.later is None:
            self._take(state.like.at(timestamp_s))

    def _take(self, like: Accrued) -> None:
        """What the other prices do not move."""
        reserves = self.state.reserves
        self.update({i: found for i, found in like.items() if reserves.get(i) is found.state})
        if self.state.category_prices_base == like.state.category_prices_base:
            self._emodes.update(like._emodes)

    def __missing__(self, reserve_id: int) -> ReserveAt:
        state = self.state.reserves.get(reserve_id)
        if state is None:
            raise Defect(f"reserve {reserve_id} is not in the state of block {self.state.block.number}")
        prices_base = self.state.reserve_price_range(reserve_id, self.timestamp_s)
        found = ReserveAt(reserve_id, state, prices_base, self.features, self.timestamp_s)
        self[reserve_id] = found
        return found

    def emode(self, category_id: int) -> EMode | None:
        """None for category 0, which is no e-mode."""
        if category_id == 0:
            return None
        found = self._emodes.get(category_id)
        if found is None:
            found = self._emodes[category_id] = EMode(self.state, category_id, self.timestamp_s)
        return found


def _bits(bitmap: int) -> frozenset[int]:
    return frozenset(bit for bit in range(bitmap.bit_length()) if bitmap >> bit & 1)
