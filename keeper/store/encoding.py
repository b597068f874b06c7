"""Values to rows and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from keeper.core.events import Event, Field, exact_field
from keeper.core.intent import Intent, IntentStatus
from keeper.core.ledger import Purpose, Stake
from keeper.core.shares import Share
from keeper.core.units import Address, address_from_hex, hash_from_hex, to_hex

Row = dict[str, Any]


def utc_text(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds: ``2026-01-31T12:00:00.000Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def utc_now() -> datetime:
    return datetime.now(UTC)


def optional_hex(raw: bytes | None) -> str | None:
    return to_hex(raw) if raw is not None else None


def optional_address(text: str | None) -> Address | None:
    return address_from_hex(text) if text is not None else None


def optional_decimal(number: int | None) -> str | None:
    return str(number) if number is not None else None


def event_row(event: Event, recorded_at: str) -> Row:
    """Raises `Defect` when a field cannot be written exactly."""
    return {
        "recorded_at": recorded_at,
        "chain": event.chain,
        "kind": event.kind.value,
        "block_number": event.block_number,
        "market": optional_hex(event.market),
        "borrower": optional_hex(event.borrower),
        "attempt": event.attempt,
        "severity": event.severity.value,
        "fields": fields_text(event.fields),
    }


def fields_text(fields: Mapping[str, Field]) -> str:
    """Compact JSON in the order given."""
    return json.dumps({name: exact_field(name, item) for name, item in fields.items()}, separators=(",", ":"))


def intent_row(intent: Intent, recorded_at: str) -> Row:
    return {
        "recorded_at": recorded_at,
        "updated_at": recorded_at,
        "chain_id": intent.chain_id,
        "signer": to_hex(intent.signer),
        "nonce": intent.nonce,
        "transaction_hash": to_hex(intent.transaction_hash),
        "raw_transaction": intent.raw_transaction,
        "attempt": intent.attempt,
        "borrower": optional_hex(intent.borrower),
        "call_index": intent.call_index,
        "submitted_block": intent.submitted_block,
        "status": intent.status.value,
        "block_number": None,
        "purpose": intent.purpose.value,
        "worst_gas_wei": optional_decimal(intent.stake.gas_wei if intent.stake is not None else None),
        "worst_notional_wad": optional_decimal(intent.stake.notional_wad if intent.stake is not None else None),
        "worst_loss_wad": optional_decimal(intent.stake.loss_wad if intent.stake is not None else None),
        "shares": shares_text(intent.shares),
    }


def intent_from_row(row: Mapping[str, Any]) -> Intent:
    return Intent(
        chain_id=row["chain_id"],
        signer=address_from_hex(row["signer"]),
        nonce=row["nonce"],
        transaction_hash=hash_from_hex(row["transaction_hash"]),
        raw_transaction=row["raw_transaction"],
        attempt=row["attempt"],
        borrower=optional_address(row["borrower"]),
        call_index=row["call_index"],
        submitted_block=row["submitted_block"],
        status=IntentStatus(row["status"]),
        purpose=Purpose(row["purpose"]),
        stake=stake_from_text(row["worst_gas_wei"], row["worst_notional_wad"], row["worst_loss_wad"]),
        shares=shares_from_text(row["shares"]),
    )


def shares_text(shares: Sequence[Share]) -> str | None:
    """JSON, in their order; None where nothing is shared."""
    rows = [
        {
            "attempt": share.attempt,
            "borrower": to_hex(share.borrower),
            "planned_raw": str(share.planned_raw),
            "repaid_raw": optional_decimal(share.repaid_raw),
        }
        for share in shares
    ]
    return json.dumps(rows, separators=(",", ":")) if rows else None


def shares_from_text(text: str | None) -> tuple[Share, ...]:
    rows = json.loads(text) if text is not None else []
    return tuple(
        Share(
            row["attempt"],
            address_from_hex(row["borrower"]),
            int(row["planned_raw"]),
            int(row["repaid_raw"]) if row["repaid_raw"] is not None else None,
        )
        for row in rows
    )


def stake_from_text(gas_wei: str | None, notional_wad: str | None, loss_wad: str | None) -> Stake | None:
    """None where an older keeper wrote the row: it knew none of them."""
    if gas_wei is None or notional_wad is None or loss_wad is None:
        return None
    return Stake(int(gas_wei), int(notional_wad), int(loss_wad))
