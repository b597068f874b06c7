"""What discovery finds: the adapter's own immutable values, fixed until configuration changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from keeper.core.lending import Side
from keeper.core.units import Address
from keeper.protocols.aave_v3.profile import Profile


@dataclass(frozen=True, slots=True)
class Reserve:
    """One listed asset: what does not change while its configuration stands."""

    id: int
    """Bit position in the contracts' bitmaps; not the position in the list."""
    asset: Address
    a_token: Address
    variable_debt_token: Address
    stable_debt_token: Address | None
    symbol: str | None

    @property
    def label(self) -> str:
        """Symbol for people, or the address."""
        return self.symbol or "0x" + self.asset.hex()


@dataclass(frozen=True, slots=True)
class Category:
    """One e-mode."""

    id: int
    ltv_bps: int
    liquidation_threshold_bps: int
    liquidation_bonus_bps: int
    price_source: Address | None = None
    """Up to 3.1: an asset whose price stands for all of the category."""
    collateral_bitmap: int = 0
    """From 3.2: reserve ids that have the category's terms as collateral."""
    zero_ltv_bitmap: int = 0
    """From 3.6: of those, the ones that add no borrowing power."""
    isolated: bool = False
    """From 3.7: collateral outside the category adds no borrowing power."""


@dataclass(frozen=True, slots=True)
class Market:
    """One deployment, from its addresses provider."""

    provider: Address
    pool: Address
    configurator: Address
    oracle: Address
    sentinel: Address | None
    base_currency_unit: int
    pool_revision: int
    profile: Profile
    """The rules in use: the likeliest candidate until a sample of borrowers has been recomputed."""
    candidates: tuple[Profile, ...]
    """What the probes allow, likeliest first."""
    reserves: tuple[Reserve, ...]
    """By id."""
    categories: Mapping[int, Category]
    by_id: Mapping[int, Reserve] = field(init=False, repr=False, compare=False)
    by_asset: Mapping[Address, Reserve] = field(init=False, repr=False, compare=False)
    by_token: Mapping[Address, tuple[int, Side]] = field(init=False, repr=False, compare=False)
    """aTokens and variable debt tokens."""
    contracts: frozenset[Address] = field(init=False, repr=False, compare=False)
    """Whose events can change what discovery found, besides the tokens of `by_token`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_id", {reserve.id: reserve for reserve in self.reserves})
        object.__setattr__(self, "by_asset", {reserve.asset: reserve for reserve in self.reserves})
        tokens = {reserve.a_token: (reserve.id, Side.COLLATERAL) for reserve in self.reserves}
        tokens |= {reserve.variable_debt_token: (reserve.id, Side.DEBT) for reserve in self.reserves}
        object.__setattr__(self, "by_token", tokens)
        stable = {reserve.stable_debt_token for reserve in self.reserves if reserve.stable_debt_token is not None}
        object.__setattr__(
            self, "contracts", frozenset({self.pool, self.provider, self.configurator, self.oracle} | stable)
        )


@dataclass(frozen=True, slots=True)
class ReserveConfig:
    """The configuration word of a reserve, as far as health and liquidation depend on it."""

    ltv_bps: int
    liquidation_threshold_bps: int
    liquidation_bonus_bps: int
    """100 % included."""
    decimals: int
    active: bool
    paused: bool
    protocol_fee_bps: int
    """Share of the bonus."""
    category: int
    """Up to 3.1: the asset's own e-mode. Reads 0 from 3.2 on."""
    virtual_accounting: bool
    """3.1 to 3.3: false for assets that the protocol mints."""
