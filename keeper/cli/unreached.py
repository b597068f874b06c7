"""Why nobody judges: the trouble with a node that the journal holds since the last judged head."""

from __future__ import annotations

from collections.abc import Sequence

from keeper.cli.advice import advice_on
from keeper.cli.render import plain_text, time_text
from keeper.core import errors
from keeper.core.events import Kind
from keeper.store import EventFilter, JournalRow, StoreReader

LOOKED_AT = 500
"""So many of the latest troubles are looked through."""


def troubles_of(reader: StoreReader) -> list[JournalRow]:
    """The latest troubles, in order."""
    return list(reader.events(EventFilter(kinds=(Kind.TROUBLE,), last=LOOKED_AT)))


def unreached(troubles: Sequence[JournalRow], chain: str | None, since_at: str) -> str | None:
    """One sentence on the node of a chain (None: of any) that was in trouble after a moment; None when it was not."""
    found = [
        row
        for row in troubles
        if row.at > since_at and chain in (None, row.chain) and _kind_of(row.fields["error"]) is not None
    ]
    if not found:
        return None
    last = found[-1]
    kind = _kind_of(last.fields["error"])
    what = "cannot be reached" if kind is errors.RpcUnreachable else f"is in trouble ({last.fields['error']})"
    since = time_text(found[0].at)
    advice = advice_on(kind) if kind is not None else None
    end = f": {advice}" if advice is not None else "."
    return f"The node of {last.chain} {what} since {since} UTC, {plain_text(last.fields['detail'])}{end}"


def _kind_of(name: str) -> type[errors.ChainError] | None:
    """A node's trouble by its class name; None for any other error."""
    kind = getattr(errors, name, None)
    return kind if isinstance(kind, type) and issubclass(kind, errors.ChainError) else None
