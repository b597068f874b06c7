"""What a liquidation earns when its collateral is sold: revenue − slippage − repayment − premium − gas. Integers, against us.

Everything is in raw units of the debt asset; gas is paid in the native coin and brought over at the block's own oracle prices,
with one rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

from keeper.core.fixedmath import mul_div_ceil, mul_div_floor
from keeper.core.units import WAD, Address

PREMIUM_UNITS = 1_000_000
"""A lender's premium is given in millionths: 500 is Aave's 5 bps, 0 is Morpho's, 100 to 10,000 a Uniswap V3 pool's."""


@dataclass(frozen=True, slots=True)
class AssetPrice:
    """What an asset is worth at one block. Raises ValueError for a price that is none: such an asset has no `AssetPrice`."""

    price_base: int
    """Of one whole token, in base currency."""
    unit_raw: int
    """Raw units of one whole token."""

    def __post_init__(self) -> None:
        if self.price_base <= 0 or self.unit_raw <= 0:
            raise ValueError(f"{self.price_base} base for {self.unit_raw} units is no price")

    def base_floor(self, amount_raw: int) -> int:
        return mul_div_floor(amount_raw, self.price_base, self.unit_raw)

    def raw_in(self, other: AssetPrice, amount_raw: int) -> int:
        """The amount in raw units of another asset, floored: for what is lost or below zero the larger loss."""
        return amount_raw * self.price_base * other.unit_raw // (self.unit_raw * other.price_base)

    def raw_in_ceil(self, other: AssetPrice, amount_raw: int) -> int:
        return -self.raw_in(other, -amount_raw)


@dataclass(frozen=True, slots=True)
class Costs:
    """What one transaction costs at one head, besides its swaps."""

    gas: int
    """Without swaps: the transaction, the loan, one liquidation."""
    more_gas: int
    """For each further liquidation in it."""
    fee_per_gas_wei: int
    """The highest that may be paid."""
    data_fee_wei: int
    """For what a rollup posts on its parent chain, where that is not in its gas price; else 0."""
    premium: int
    """The lender's, in millionths of what is borrowed."""
    native: AssetPrice

    def gas_wei(self, calls: int, route_gas: int) -> int:
        """Of a transaction with so many liquidations and these swaps, the data fee included."""
        return (self.gas + self.more_gas * (calls - 1) + route_gas) * self.fee_per_gas_wei + self.data_fee_wei

    def premium_raw(self, borrowed_raw: int) -> int:
        return mul_div_ceil(borrowed_raw, self.premium, PREMIUM_UNITS)

    def gas_price_wad(self, asset: AssetPrice) -> int:
        """One unit of gas in raw units of an asset, times 1e18."""
        return self.native.raw_in_ceil(asset, self.fee_per_gas_wei * WAD)


@dataclass(frozen=True, slots=True)
class Earnings:
    """Of one transaction, in raw units of the debt asset where nothing else is said."""

    debt_asset: Address
    price: AssetPrice
    """Of the debt asset."""
    native: AssetPrice
    revenue_raw: int
    """The collateral received, at oracle prices, floored."""
    proceeds_raw: int
    """What it brings: sold at the block's own state, what is kept at oracle prices."""
    least_proceeds_raw: int
    """At the limits of all steps."""
    repaid_raw: int
    premium_raw: int
    gas_wei: int
    """Data fee included."""
    data_fee_wei: int

    @property
    def slippage_raw(self) -> int:
        """What selling costs against the oracle's prices; below 0 where the pools pay more."""
        return self.revenue_raw - self.proceeds_raw

    @property
    def gas_raw(self) -> int:
        """Gas and data fee, rounded up."""
        return self.native.raw_in_ceil(self.price, self.gas_wei)

    @property
    def net_raw(self) -> int:
        return self.proceeds_raw - self.repaid_raw - self.premium_raw - self.gas_raw

    @property
    def least_net_raw(self) -> int:
        """The least that the transaction can make if it is mined and does not revert."""
        return self.net_raw - self.proceeds_raw + self.least_proceeds_raw

    @property
    def net_wei(self) -> int:
        """In the native coin."""
        return self.price.raw_in(self.native, self.net_raw)

    @property
    def net_base(self) -> int:
        """In the market's base currency."""
        return self.net_raw * self.price.price_base // self.price.unit_raw

    def least_gain_raw(self, least_net_raw: int = 0) -> int:
        """What the executor must have gained of the debt asset at the end so that, gas paid, so much is left of it."""
        return self.gas_raw + least_net_raw
