"""What one log means for the book of a market."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from keeper.core.units import Address


class Side(Enum):
    """Which token of a reserve a balance is in."""

    COLLATERAL = "collateral"
    DEBT = "debt"


@dataclass(frozen=True, slots=True)
class BalanceChange:
    """A token event: what it says, before rounding rules turn it into a new scaled balance."""

    class Kind(Enum):
        MINT = "mint"
        BURN = "burn"
        RECEIVE = "receive"
        SEND = "send"

    account: Address
    reserve_id: int
    side: Side
    kind: Kind
    value: int
    """Raw units for MINT and BURN; scaled for RECEIVE and SEND (where the token's revision says so)."""
    balance_increase_raw: int
    index_ray: int


@dataclass(frozen=True, slots=True)
class CollateralFlag:
    """A reserve was switched on or off as collateral of an account."""

    account: Address
    reserve_id: int
    enabled: bool


@dataclass(frozen=True, slots=True)
class CategorySet:
    """An account entered or left an e-mode."""

    account: Address
    category: int


@dataclass(frozen=True, slots=True)
class MarketChanged:
    """Configuration, oracle or code changed: discover the market again at this block."""

    event: str
    code_changed: bool = False
    """An implementation was replaced: rounding may differ from here on, so every row is read again."""
    contract: Address | None = None
    """Whose implementation; None where the log does not tell."""
    breaks_replay: bool = False
    """What came before cannot be replayed from the logs of today's tokens alone."""


BookEvent = BalanceChange | CollateralFlag | CategorySet | MarketChanged


@dataclass(frozen=True, slots=True)
class LogFilter:
    """What to ask the node for: any of the addresses, any of the first topics."""

    addresses: tuple[Address, ...]
    topics: tuple[bytes, ...]
