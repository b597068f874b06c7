"""The facts that the keeper records: each once, then rendered as journal line, log line and metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from keeper.core.errors import Defect
from keeper.core.units import Address

Field = str | int | bool | None | list["Field"] | dict[str, "Field"]

MONEY_SUFFIXES = ("_wad", "_ray", "_raw", "_base", "_wei", "_scaled", "_shares")
"""An integer whose name ends so is always written as decimal text, whatever its size."""
LARGEST_EXACT_NUMBER = 2**53
"""Beyond it many JSON readers lose digits, so any other integer becomes decimal text too."""


def exact_field(name: str, item: Field) -> Field:
    """A field as it is written, in the journal and in log lines alike. Raises `Defect` for what cannot be written exactly."""
    if item is None or isinstance(item, str | bool):
        return item
    if isinstance(item, int):
        money = name.endswith(MONEY_SUFFIXES)
        return str(item) if money or abs(item) > LARGEST_EXACT_NUMBER else item
    if isinstance(item, dict):
        return {key: exact_field(key, value) for key, value in item.items()}
    if isinstance(item, list):
        return [exact_field(name, value) for value in item]
    raise Defect(f"journal field {name!r} holds a {type(item).__name__}: only text, integers, lists and objects fit")


class Kind(StrEnum):
    """What happened. Stable names: scripts read them."""

    STARTED = "started"
    STOPPED = "stopped"
    ENDPOINT = "endpoint"
    """What one RPC endpoint can do, as found at the start, and the slower way taken where it cannot."""
    CAUGHT_UP = "caught_up"
    REORG = "reorg"
    MARKET_VERIFIED = "market_verified"
    MARKET_REFUSED = "market_refused"
    MARKET_CHANGED = "market_changed"
    MISMATCH = "mismatch"
    """The book or our arithmetic differs from the chain; nothing is liquidated on the market until it is verified again."""
    SEEN = "seen"
    """A borrower is below 1 for the first time (or again)."""
    DECIDED = "decided"
    REFUSED = "refused"
    SENT = "sent"
    REPLACED = "replaced"
    """A transaction that waited too long was cancelled or sped up on its own nonce, or a nonce was filled."""
    MINED = "mined"
    REVERTED = "reverted"
    RESTORED = "restored"
    NOT_RESTORED = "not_restored"
    PAUSED = "paused"
    """From now on nothing is sent."""
    RESUMED = "resumed"
    """One pause was lifted."""
    RECOVERED = "recovered"
    """A borrower is back at 1 or above without our doing."""
    ALERT = "alert"
    TROUBLE = "trouble"


class Severity(StrEnum):
    NORMAL = "normal"
    WARNING = "warning"
    ALERT = "alert"


@dataclass(frozen=True, slots=True)
class Event:
    """One fact. `fields` holds numbers as integers; `exact_field` says how they are written."""

    kind: Kind
    chain: str
    block_number: int | None = None
    market: Address | None = None
    borrower: Address | None = None
    attempt: str | None = None
    severity: Severity = Severity.NORMAL
    fields: Mapping[str, Field] = field(default_factory=dict)
