"""The table that says how collateral becomes debt asset, and what the keeper is for."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from keeper.settings.fields import TABLE, Exact, RpcUrl, as_list
from keeper.settings.presets import AddressText

VenueName = Literal["pools", "kyber", "hold", "hold_a_token"]
_RANKS = {"pools": 0, "kyber": 1, "hold": 2, "hold_a_token": 2}
"""Pools are computed at once, others must be asked; what is kept needs neither, and would never let them have their turn."""


class PairFactory(BaseModel):
    """A factory of Uniswap V2 pairs, or of a fork's."""

    model_config = TABLE

    address: AddressText
    fee_bps: int = Field(30, ge=0, le=1_000)


class Kyber(BaseModel):
    """KyberSwap's aggregator: no key is needed."""

    model_config = TABLE

    url: RpcUrl | None = None
    """With the chain's name, up to /api; default the public service's for this chain."""
    routers: Annotated[list[AddressText], BeforeValidator(as_list), Field(min_length=1)]
    """Whose calldata may be executed; the executor's owner must have allowed them, too."""
    deadline_s: int = Field(3, ge=1, le=30)


class Routes(BaseModel):
    """What becomes of the collateral."""

    model_config = TABLE

    venues: Annotated[list[VenueName], BeforeValidator(as_list), Field(min_length=1)] = ["pools"]
    """Tried in this order: first those that sell, then whether it is kept, and the executor's inventory repays."""
    sell: Literal["all", "cover"] = "all"
    """cover: only what the repayment and the lender's premium take; the rest of the collateral is kept."""
    v3_factories: Annotated[list[AddressText], BeforeValidator(as_list)] = []
    v2_factories: list[PairFactory] = []
    through: Annotated[list[AddressText], BeforeValidator(as_list)] = []
    """Tokens that a route of two hops may lead through; default the wrapped native coin."""
    least_slippage_bps: int = Field(10, ge=0, lt=10_000)
    """May always be lost against the quote; what the measured depth allows comes on top."""
    most_slippage_bps: int = Field(100, ge=0, lt=10_000)
    kyber: Kyber | None = None
    morpho: AddressText | None = None
    """Morpho Blue, which lends for nothing: asked where the executor has not enough; else the cheapest lends."""
    assert_health: bool = False
    """Have the contract itself refuse what leaves a borrower below the target; costs about 30,000 gas."""

    @model_validator(mode="after")
    def _complete(self) -> Routes:
        if self.least_slippage_bps > self.most_slippage_bps:
            raise ValueError(
                f"least_slippage_bps = {self.least_slippage_bps} is more than most_slippage_bps = {self.most_slippage_bps}"
            )
        if "pools" in self.venues and not (self.v3_factories or self.v2_factories):
            raise ValueError('the venue "pools" needs v3_factories or v2_factories')
        if "kyber" in self.venues and self.kyber is None:
            raise ValueError('the venue "kyber" needs the table kyber with its routers')
        if len(set(self.venues)) < len(self.venues):
            raise ValueError("venues names one twice")
        ranks = [_RANKS[venue] for venue in self.venues]
        if ranks != sorted(ranks):
            raise ValueError('venues: name "pools" before "kyber", and what keeps the collateral after what sells it')
        return self


class Objective(BaseModel):
    """What the keeper is for."""

    model_config = TABLE

    kind: Literal["restore", "max_profit", "solvency"] = "restore"
    most_loss_per_day: Exact = Decimal(0)
    """Of solvency: what restoring may cost in a day, whole units of the base currency."""

    @model_validator(mode="after")
    def _complete(self) -> Objective:
        if (self.kind == "solvency") != (self.most_loss_per_day > 0):
            raise ValueError('most_loss_per_day goes with kind = "solvency", and must then be above 0')
        return self
