"""Who lends what a transaction of the executor repays, and for what: whoever asks nothing first, then the cheapest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from keeper.core.block import Call, CallResult
from keeper.core.errors import MalformedResponse
from keeper.core.executor import Loan, LoanSource
from keeper.core.lending import LendingAdapter
from keeper.core.outcome import Reason, Skip
from keeper.core.selling.exchange import Exchange
from keeper.core.standing import Funds
from keeper.core.swap import Pool
from keeper.core.units import Address
from keeper.pipeline.budget import FundKey
from keeper.pipeline.carrying import Pricing
from keeper.pipeline.trade import Held

MOST_POOLS = 2
"""So many lending pools, the cheapest, are held against the market: each costs another look for the best routes without it."""
LOAN_GAS = {
    LoanSource.INVENTORY: 60_000,
    LoanSource.MORPHO: 100_000,
    LoanSource.MARKET: 130_000,
    LoanSource.POOL_V3: 135_000,
}
"""What the executor and the loan take beside liquidations and swaps, as measured: an estimate until the simulation."""


@dataclass(frozen=True, slots=True)
class Lent:
    """One way to have the debt asset for the length of a transaction."""

    loan: Loan
    premium: int
    """In millionths of what is lent."""

    @property
    def gas(self) -> int:
        return LOAN_GAS[self.loan.source]

    def leaves(self, exchange: Exchange) -> Exchange:
        """The pools that may be swapped in meanwhile: one that lends is locked."""
        if self.loan.source is not LoanSource.POOL_V3:
            return exchange
        left = tuple(pool for pool in exchange.pools if pool.address != self.loan.lender)
        return Exchange(left, exchange.through)


OWN = Lent(Loan(LoanSource.INVENTORY), 0)


class Lenders:
    """Of one market's executor, as of the head that was read last."""

    def __init__(
        self,
        executor: Address,
        held: Held,
        morpho: Address | None = None,
        loss_left: Callable[[Address], Call] | None = None,
    ) -> None:
        """`loss_left`: how to ask what operators may still lose of an asset; None where nothing is ever spent."""
        self._executor = executor
        self._held = held
        self._morpho = morpho
        self._loss_left = loss_left
        self.funds: dict[FundKey, Funds] = {}
        """What the executor holds of each debt asset, and may spend of it."""
        self._premium: int | None = None
        """The market's own; None while it is not known."""
        self._held_raw: dict[tuple[Address, Address], int] = {}
        """By holder and asset."""

    @property
    def likely(self) -> Lent:
        """For comparing sizes, before it is known how much is needed: nobody asks for more where there is a choice."""
        return Lent(Loan(LoanSource.MARKET), self._premium or 0)

    def encode_reads(self, adapter: LendingAdapter[Any, Any], market: Any) -> Sequence[Call]:
        return [
            adapter.encode_flash_premium(market),
            *(self._held(asset, holder) for holder, asset in self._holdings(adapter, market)),
            *(self._loss_left(asset) for asset in adapter.assets(market) if self._loss_left is not None),
        ]

    def decode_reads(self, adapter: LendingAdapter[Any, Any], market: Any, results: Sequence[CallResult]) -> None:
        holdings, assets = self._holdings(adapter, market), adapter.assets(market)
        premium, held, left = results[0], results[1 : 1 + len(holdings)], results[1 + len(holdings) :]
        try:
            self._premium = adapter.decode_flash_premium(market, premium)
        except MalformedResponse:
            self._premium = None
        self._held_raw = {
            holding: int.from_bytes(answer.returndata)
            for holding, answer in zip(holdings, held, strict=True)
            if answer.ok and len(answer.returndata) == 32
        }
        spender = adapter.spender(market)
        self.funds = {
            (asset, spender): Funds(self._held_raw[self._executor, asset], int.from_bytes(answer.returndata))
            for asset, answer in zip(assets, left, strict=False)
            if answer.ok and len(answer.returndata) == 32 and (self._executor, asset) in self._held_raw
        }

    def _holdings(self, adapter: LendingAdapter[Any, Any], market: Any) -> list[tuple[Address, Address]]:
        holders = [holder for holder in (self._executor, self._morpho) if holder is not None]
        return [(holder, asset) for holder in holders for asset in adapter.assets(market)]

    def inventory_raw(self, asset: Address) -> int:
        """What the executor itself has; what cannot be read is none to count on."""
        return self._held_raw.get((self._executor, asset), 0)

    def offering(
        self, needed_raw: Mapping[Address, int], pricing: Pricing, exchange: Exchange
    ) -> tuple[Lent, ...] | Skip:
        """Who has all of it. One who asks for nothing comes alone; else the market, and pools that ask for less than it, or
        all pools where it has not enough: whether it pays to go around such a pool only the routes can tell."""
        if all(self.inventory_raw(asset) >= raw for asset, raw in needed_raw.items()):
            return (OWN,)
        if all(self._morpho_raw(asset) >= raw for asset, raw in needed_raw.items()):
            return (Lent(Loan(LoanSource.MORPHO, self._morpho), 0),)
        market = self._market(needed_raw, pricing)
        below = market.premium if isinstance(market, Lent) else None
        pools = self._pools(needed_raw, exchange, below)
        if isinstance(market, Lent):
            return (*pools, market)
        return tuple(pools) or market

    def _morpho_raw(self, asset: Address) -> int:
        return 0 if self._morpho is None else self._held_raw.get((self._morpho, asset), 0)

    def _market(self, needed_raw: Mapping[Address, int], pricing: Pricing) -> Lent | Skip:
        if self._premium is None:
            return Skip(Reason.NO_INVENTORY, "what the market asks for a flash loan cannot be read")
        for asset, raw in needed_raw.items():
            there_raw = pricing.adapter.loanable_raw(pricing.state, asset)
            if there_raw is None or there_raw < raw:
                return Skip(
                    Reason.NO_INVENTORY, f"nobody lends {raw} raw of 0x{asset.hex()}: the market has {there_raw}"
                )
        return Lent(Loan(LoanSource.MARKET, pricing.adapter.spender(pricing.market)), self._premium)

    def _pools(self, needed_raw: Mapping[Address, int], exchange: Exchange, below: int | None) -> list[Lent]:
        """The cheapest first. A pool lends one asset, so none serves a plan that repays several."""
        if len(needed_raw) != 1:
            return []
        [(asset, raw)] = needed_raw.items()
        asked = sorted(
            (pool.lends_for, pool.address, pool)
            for pool in exchange.pools
            if asset in pool.tokens and pool.lends_for is not None and (below is None or pool.lends_for < below)
        )
        found = (
            Lent(Loan(LoanSource.POOL_V3, address, asset == pool.tokens[0]), fee)
            for fee, address, pool in asked
            if _has_it(pool, asset, raw)
        )
        return list(islice(found, MOST_POOLS))


def _has_it(pool: Pool, asset: Address, amount_raw: int) -> bool:
    """What a pool could be made to pay out by a swap it has."""
    [other] = (token for token in pool.tokens if token != asset)
    return pool.buy(other, amount_raw) is not None
