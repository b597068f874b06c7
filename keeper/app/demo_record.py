"""What the demo knows of the keeper's work, folded from what the keeper journals. Pure: events in, pictures out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from keeper.core.events import Event, Field, Kind
from keeper.core.standing import ORDERED, Standing
from keeper.core.units import Address, address_from_hex


@dataclass(frozen=True, slots=True)
class Token:
    """How one asset is written."""

    symbol: str
    decimals: int


@dataclass(frozen=True, slots=True)
class Amount:
    """So much of one token."""

    raw: int
    token: Token


@dataclass(slots=True)
class Attempt:
    """One attempt to restore a borrower: what was planned, and what the keeper says came of it."""

    name: str
    borrower: Address
    verdict: str
    target_wad: int
    health_before_wad: int
    health_planned_wad: int
    clips: tuple[str | None, ...]
    """One per planned call."""
    state: str = Kind.DECIDED
    inclusion_block: int | None = None
    """Of the last mined call."""
    health_after_wad: int | None = None
    """As the keeper read it back."""
    model_error_wad: int | None = None
    amounts_match: bool | None = None
    repaid: list[Amount] = field(default_factory=list)
    """As the chain's events say, one per executed call."""
    received: list[Amount] = field(default_factory=list)
    received_base: int = 0
    repaid_base: int = 0
    gas_base: int = 0
    gas_wei: int = 0
    detail: str = ""

    @property
    def settled(self) -> bool:
        return self.state in (Kind.RESTORED, Kind.NOT_RESTORED)

    @property
    def overshoot_wad(self) -> int | None:
        return None if self.health_after_wad is None else self.health_after_wad - self.target_wad


@dataclass(slots=True)
class Record:
    """Everything that happened so far."""

    names: Mapping[Address, str]
    """How the demo calls each borrower."""
    tokens: Mapping[Address, Token]
    prices: Mapping[str, int] = field(default_factory=dict)
    """By symbol, base currency per whole token."""
    start_prices: Mapping[str, int] = field(default_factory=dict)
    judged_block: int | None = None
    verified: str | None = None
    """The rules under which the market was verified."""
    checked_borrowers: int = 0
    standings: Mapping[Address, Standing] = field(default_factory=dict)
    """Everybody below 1 at the judged block."""
    reasons: dict[Address, Standing] = field(default_factory=dict)
    """The last reason of each borrower that ever had one."""
    first_health_wad: dict[Address, int | None] = field(default_factory=dict)
    """Per borrower that was ever below 1, when first seen."""
    attempts: dict[str, Attempt] = field(default_factory=dict)
    refused: str | None = None
    """Why the keeper will not work on the market."""
    troubles: list[str] = field(default_factory=list)

    def name(self, borrower: Address) -> str:
        return self.names.get(borrower, "unknown")

    def hear(self, event: Event) -> None:
        """Take in one event of the journal."""
        fold = _FOLDS.get(event.kind)
        if fold is not None:
            fold(self, event)

    def judge(self, block_number: int, standings: Mapping[Address, Standing]) -> None:
        """Take in how everybody below 1 stands at one head."""
        self.judged_block, self.standings = block_number, dict(standings)
        for borrower, stands in standings.items():
            self.first_health_wad.setdefault(borrower, stands.health_factor_wad)
            if stands.reason != ORDERED:
                self.reasons[borrower] = stands

    def attempts_of(self, borrower: Address) -> list[Attempt]:
        return [attempt for attempt in self.attempts.values() if attempt.borrower == borrower]

    def open_attempts(self) -> list[Attempt]:
        return [attempt for attempt in self.attempts.values() if not attempt.settled]

    def sick(self) -> list[Address]:
        """Everybody who was ever below 1, in the order of the names' mapping: the demo's special borrowers first."""
        place = {borrower: index for index, borrower in enumerate(self.names)}
        return sorted(self.first_health_wad, key=lambda borrower: (place.get(borrower, len(place)), borrower))


def _verified(record: Record, event: Event) -> None:
    record.verified, record.refused = str(event.fields["revision"]), None
    record.checked_borrowers = number(event.fields, "checked_borrowers")


def _seen(record: Record, event: Event) -> None:
    if event.borrower is not None:
        record.first_health_wad.setdefault(event.borrower, maybe_number(event.fields, "health_factor_wad"))


def _decided(record: Record, event: Event) -> None:
    assert event.attempt is not None and event.borrower is not None, "a decision names its attempt and its borrower"
    fields = event.fields
    record.first_health_wad.setdefault(event.borrower, number(fields, "health_before_wad"))
    record.attempts[event.attempt] = Attempt(
        name=event.attempt,
        borrower=event.borrower,
        verdict=str(fields["verdict"]),
        target_wad=number(fields, "target_wad"),
        health_before_wad=number(fields, "health_before_wad"),
        health_planned_wad=number(fields, "health_planned_wad"),
        clips=tuple(None if call["clip"] is None else str(call["clip"]) for call in _parts(fields, "calls")),
    )


def _moved_on(record: Record, event: Event) -> None:
    """Sent, mined or reverted."""
    attempt = record.attempts[event.attempt or ""]
    attempt.state = event.kind.value
    if event.kind is not Kind.SENT:
        attempt.gas_wei += number(event.fields, "gas_used") * number(event.fields, "effective_gas_price_wei")


def _measured(record: Record, event: Event) -> None:
    attempt, fields = record.attempts[event.attempt or ""], event.fields
    attempt.state = event.kind.value
    attempt.inclusion_block = event.block_number
    attempt.health_after_wad = maybe_number(fields, "health_after_wad")
    attempt.model_error_wad = maybe_number(fields, "model_error_wad")
    match = fields["amounts_match"]
    attempt.amounts_match = match if isinstance(match, bool) else None
    attempt.detail = str(fields["detail"])
    if fields["net_base"] is not None:
        attempt.received_base = number(fields, "received_base")
        attempt.repaid_base = number(fields, "repaid_base")
        attempt.gas_base = number(fields, "gas_base")
    for liquidation in _parts(fields, "liquidations"):
        attempt.repaid.append(_amount(record, liquidation, "debt_asset", "repaid_raw"))
        attempt.received.append(_amount(record, liquidation, "collateral_asset", "received_raw"))


def _refused(record: Record, event: Event) -> None:
    record.refused = str(event.fields["detail"])


def _trouble(record: Record, event: Event) -> None:
    what = " ".join(str(event.fields[name]) for name in ("error", "detail") if name in event.fields)
    record.troubles.append(f"block {event.block_number}: {what}")


_FOLDS: Mapping[Kind, Callable[[Record, Event], None]] = {
    Kind.MARKET_VERIFIED: _verified,
    Kind.SEEN: _seen,
    Kind.DECIDED: _decided,
    Kind.SENT: _moved_on,
    Kind.MINED: _moved_on,
    Kind.REVERTED: _moved_on,
    Kind.RESTORED: _measured,
    Kind.NOT_RESTORED: _measured,
    Kind.TROUBLE: _trouble,
    Kind.ALERT: _trouble,
    Kind.MARKET_REFUSED: _refused,
}


def number(fields: Mapping[str, Field], name: str) -> int:
    """An integer of an event. Raises KeyError, TypeError, ValueError when there is none."""
    found = maybe_number(fields, name)
    if found is None:
        raise ValueError(f"{name} is missing")
    return found


def maybe_number(fields: Mapping[str, Field], name: str) -> int | None:
    """An integer of an event, or None where the journal says null."""
    found = fields[name]
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | str):
        raise TypeError(f"{name} is no number")
    return int(found)


def _parts(fields: Mapping[str, Field], name: str) -> Iterable[Mapping[str, Field]]:
    listed = fields[name]
    return [part for part in listed if isinstance(part, dict)] if isinstance(listed, list) else []


def _amount(record: Record, fields: Mapping[str, Field], asset: str, amount: str) -> Amount:
    token = record.tokens[address_from_hex(str(fields[asset]))]
    return Amount(number(fields, amount), token)
