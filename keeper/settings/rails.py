"""The tables that say how much may be spent, and how often fail, before a person is asked. `"off"` takes a limit away."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field

from keeper.settings.fields import TABLE, Exact, exact

OFF = "off"


def _bound(value: object) -> object:
    return None if value == OFF else exact(value)


Bound = Annotated[Annotated[Decimal, Field(gt=0)] | None, BeforeValidator(_bound)]
Count = Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(lambda value: None if value == OFF else value)]
Percent = Annotated[Annotated[Decimal, Field(gt=0, le=100)] | None, BeforeValidator(_bound)]


class Gas(BaseModel):
    """Whole native coins."""

    model_config = TABLE

    per_transaction: Bound = Decimal("0.25")
    per_hour: Bound = Decimal(2)
    per_day: Bound = Decimal(5)


class Notional(BaseModel):
    """Debt repaid, in whole units of the base currency."""

    model_config = TABLE

    per_transaction: Bound = Decimal(5_000_000)
    per_hour: Bound = Decimal(20_000_000)
    per_day: Bound = Decimal(50_000_000)


class Loss(BaseModel):
    """What transactions lost, gas included, in whole units of the base currency; what others earned is not set against it."""

    model_config = TABLE

    per_transaction: Bound = Decimal(1_000)
    per_hour: Bound = Decimal(10_000)
    per_day: Bound = Decimal(25_000)


class Rails(BaseModel):
    """Of one chain's signer."""

    model_config = TABLE

    gas: Gas = Gas()
    notional: Notional = Notional()
    loss: Loss = Loss()
    reverts_in_a_row: Count = 10
    revert_rate_percent: Percent = Decimal(50)
    """Of the last hour's transactions,"""
    revert_rate_least: int = Field(20, ge=1)
    """once there are so many of them."""
    price_deviation_percent: Bound = Decimal(5)
    """So far may a venue's price be from the oracle's where an order swaps, either way."""
    least_native: Exact = Decimal("0.01")
    """Whole native coins that must stay in the account."""


class SharedGas(Gas):
    per_hour: Bound = Decimal(4)
    per_day: Bound = Decimal(10)


class SharedNotional(Notional):
    per_hour: Bound = Decimal(40_000_000)
    per_day: Bound = Decimal(100_000_000)


class SharedLoss(Loss):
    per_hour: Bound = Decimal(20_000)
    per_day: Bound = Decimal(50_000)


class SharedRails(BaseModel):
    """Of the whole process: all that its signers spend together."""

    model_config = TABLE

    gas: SharedGas = SharedGas()
    """Counted on each chain by itself: native coins of several chains cannot be added up."""
    notional: SharedNotional = SharedNotional()
    loss: SharedLoss = SharedLoss()
    reverts_in_a_row: Count = 20
    revert_rate_percent: Percent = Decimal(50)
    revert_rate_least: int = Field(40, ge=1)
    kill_file: Path | None = None
    """While it exists nothing at all is sent."""
