"""What `pause`, `resume` and `kill` share: the store's pauses, beside a running keeper or without one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keeper.cli.reading import open_store
from keeper.core.errors import ConfigError
from keeper.core.events import Kind

if TYPE_CHECKING:
    from keeper.core.pauses import Pause
    from keeper.store import StoreReader
    from keeper.store.pauses import PauseSwitch

ChainName = Annotated[str | None, typer.Option("--chain", help="Only this chain of the configuration.")]
Why = Annotated[str, typer.Argument(help="Why, in your words: everybody who looks will read it.")]


@contextmanager
def open_switch(store: Path | None, config: Path) -> Iterator[tuple[PauseSwitch, StoreReader]]:
    from keeper.store.pauses import PauseSwitch

    with open_store(store, config) as reader, PauseSwitch.open(reader.path) as switch:
        yield switch, reader


def chain_id_of(reader: StoreReader, name: str | None) -> int | None:
    """As the keeper found it when it started there. Raises `ConfigError` for a chain that the store does not know."""
    from keeper.store import EventFilter

    if name is None:
        return None
    known: dict[str, int] = {}
    for row in reader.events(EventFilter(kinds=(Kind.STARTED,))):
        known[row.chain] = int(row.fields["chain_id"])
    if name not in known:
        raise ConfigError(f"--chain {name}: the store knows {', '.join(known) or 'no chain yet'}")
    return known[name]


def put_up(switch: PauseSwitch, reader: StoreReader, pause: Pause) -> None:
    """Write a pause down and tell what it means."""
    before = len(switch.standing())
    switch.pause(pause)
    new = len(switch.standing()) > before
    waiting = reader.on_their_way()
    say(
        "Paused: from now on no keeper on this store sends anything. It goes on watching; `keeper resume` lifts it."
        if new
        else "It was paused before; nothing has changed."
    )
    if not waiting:
        return
    cancelled = " A running keeper cancels them at its next head." if pause.kills else ""
    say(f"What was sent before may still be mined ({len(waiting)}).{cancelled}")
    for intent in waiting:
        say(f"  nonce {intent.nonce}  0x{intent.transaction_hash.hex()}  {intent.status.value}  {intent.attempt}")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
