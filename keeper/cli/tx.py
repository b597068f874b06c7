"""`keeper tx list | speedup | cancel`: the transactions that the keeper has signed."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keeper.cli.config import DEFAULT_CONFIG, ChainName, ConfigPath
from keeper.cli.reading import StorePath, open_store, readers_may_leave, to_account

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keeper.execution.nonces import Remedy
    from keeper.store.reader import RecordedTransaction

DONE, NOT_ACCEPTED = 0, 1

tx_app = typer.Typer(no_args_is_help=True)

Nonce = Annotated[int, typer.Argument(min=0, help="Of the transaction, as `keeper tx list` shows it.")]
SignerAddress = Annotated[
    str | None, typer.Option("--signer", help="Whose, when several signers have something open at the nonce.")
]


@tx_app.callback()
def _group() -> None:
    """The transactions that the keeper has signed."""


@tx_app.command("list", short_help="What may still be mined, and the latest others.")
def list_transactions(
    last: Annotated[int, typer.Option("--last", min=0, help="So many of those that are settled.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, integers as decimal strings.")] = False,
    config: ConfigPath = DEFAULT_CONFIG,
    store: StorePath = None,
) -> None:
    """List what may still be mined, and the latest of the others, by nonce. Reads only, also beside a running keeper."""
    with open_store(store, config) as reader, readers_may_leave():
        found = reader.transactions(last)
        if as_json:
            sys.stdout.write(json.dumps([_as_object(each) for each in found], indent=1) + "\n")
        else:
            _show(found, datetime.now(UTC))


@tx_app.command(short_help="Send one again on its nonce with a higher fee.")
def speedup(
    nonce: Nonce, chain: ChainName = None, signer: SignerAddress = None, config: ConfigPath = DEFAULT_CONFIG
) -> None:
    """Send a waiting transaction again on its nonce with a higher fee, within the cap.

    The same call: an order whose prices have moved on should be cancelled instead. No keeper may be running on the store.
    """
    from keeper.execution.nonces import Remedy

    _replace(nonce, Remedy.SPEED_UP, chain, signer, config)


@tx_app.command(short_help="Use up the nonce of one, so that it can never be mined.")
def cancel(
    nonce: Nonce, chain: ChainName = None, signer: SignerAddress = None, config: ConfigPath = DEFAULT_CONFIG
) -> None:
    """Send nothing to ourselves on a waiting transaction's nonce, with a higher fee, so that it can never be mined.

    No keeper may be running on the store; `keeper kill` makes a running one cancel everything.
    """
    from keeper.execution.nonces import Remedy

    _replace(nonce, Remedy.CANCEL, chain, signer, config)


def _replace(nonce: int, remedy: Remedy, chain: str | None, signer: str | None, config: Any) -> None:
    import asyncio

    from keeper.app.transactions import replace_transaction
    from keeper.cli.render import gwei_text
    from keeper.core.errors import Refused
    from keeper.core.order import Answer
    from keeper.core.units import to_hex
    from keeper.settings import load_settings

    whose = None if signer is None else to_account(signer)
    replaced = asyncio.run(replace_transaction(load_settings(config), chain, nonce, remedy, whose))
    sent = replaced.sent
    if isinstance(sent, Refused):
        raise sent
    if sent.transaction_hash is None:
        raise Refused(f"nonce {nonce}: {sent.detail}")
    fee = "" if replaced.fees is None else f", at most {gwei_text(replaced.fees.max_fee_wei)} per gas"
    sys.stdout.write(f"nonce {nonce}: {to_hex(sent.transaction_hash)} takes its place{fee} ({sent.answer.value})\n")
    raise typer.Exit(DONE if sent.answer is Answer.ACCEPTED else NOT_ACCEPTED)


def _fees_wei(transaction: RecordedTransaction) -> tuple[int, int]:
    """Highest fee and priority per gas, from the signed bytes."""
    from keeper.execution.signing.envelope import decode_signed

    fields = decode_signed(transaction.intent.raw_transaction).fields
    return fields.max_fee_wei, fields.priority_fee_wei


def _as_object(each: RecordedTransaction) -> dict[str, Any]:
    from keeper.cli.render import checksum
    from keeper.core.units import to_hex

    intent = each.intent
    max_fee_wei, priority_fee_wei = _fees_wei(each)
    return {
        "chain_id": intent.chain_id,
        "signer": checksum(intent.signer),
        "nonce": intent.nonce,
        "status": intent.status.value,
        "purpose": intent.purpose.value,
        "attempt": intent.attempt,
        "call_index": intent.call_index,
        "borrower": checksum(intent.borrower) if intent.borrower is not None else None,
        "transaction_hash": to_hex(intent.transaction_hash),
        "recorded_at": each.recorded_at,
        "submitted_block_number": intent.submitted_block,
        "block_number": each.block_number,
        "max_fee_wei": str(max_fee_wei),
        "priority_fee_wei": str(priority_fee_wei),
    }


def _show(found: Sequence[RecordedTransaction], now: datetime) -> None:
    from rich.table import Table

    from keeper.cli.render import checksum, gwei_text, table_console
    from keeper.core.units import to_hex

    if not found:
        sys.stdout.write("This keeper has signed nothing yet.\n")
        return
    table = Table(box=None, pad_edge=False)
    for title, justify in (("nonce", "right"), ("status", "left"), ("age", "right"), ("at most", "right")):
        table.add_column(title, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for title in ("from", "for", "transaction"):
        table.add_column(title, overflow="fold")
    for each in found:
        intent = each.intent
        status = intent.status.value if each.block_number is None else f"{intent.status.value} in {each.block_number}"
        whom = checksum(intent.borrower) if intent.borrower is not None else intent.purpose.value
        table.add_row(
            str(intent.nonce),
            status,
            _age_text(each.recorded_at, now),
            gwei_text(_fees_wei(each)[0]),
            checksum(intent.signer),
            whom,
            to_hex(intent.transaction_hash),
        )
    table_console().print(table)


def _age_text(recorded_at: str, now: datetime) -> str:
    seconds = max(0, int((now - datetime.fromisoformat(recorded_at)).total_seconds()))
    for unit, length_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds // length_s} {unit}"
    return f"{seconds} s"
