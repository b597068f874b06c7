"""Positions as JSON or as a table."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

from keeper.cli.render import base_text, checksum, compact_text, health_text, table_console
from keeper.core.errors import ConfigError
from keeper.core.units import WAD
from keeper.core.valued import Valued

WHOLE_WIDTH = 92
"""From this width on there is room for every column beside a whole address."""


def parse_health(text: str | None) -> int | None:
    """A health factor such as 1.0 in wad. Raises `ConfigError`."""
    if text is None:
        return None
    try:
        wad = Decimal(text) * WAD
    except InvalidOperation:
        raise ConfigError(f"--below wants a number such as 1.0, not {text!r}") from None
    if not wad.is_finite() or wad < 0:
        raise ConfigError(f"--below wants a number such as 1.0, not {text!r}")
    return int(wad)


def show_json(rows: Sequence[Valued]) -> None:
    """The stable contract of docs/COMMANDS.md: integers as decimal strings."""
    json.dump([as_object(row) for row in rows], sys.stdout, indent=1)
    sys.stdout.write("\n")


def as_object(row: Valued) -> dict[str, str | None]:
    health = row.health
    return {
        "borrower": checksum(row.borrower),
        "market": checksum(row.market),
        "block_number": str(row.block_number),
        "health_factor_wad": None if health is None else str(health.health_factor_wad),
        "collateral_base": None if health is None else str(health.collateral_base),
        "debt_base": None if health is None else str(health.debt_base),
        "liquidation_threshold_bps": None if health is None else str(health.liquidation_threshold_bps),
    }


def is_below(row: Valued, below_wad: int | None) -> bool:
    """Whether a row belongs to the list; one without a price is never known to be below anything."""
    return below_wad is None or (row.health is not None and row.health.health_factor_wad < below_wad)


def show_table(rows: Sequence[Valued], below: str | None = None) -> None:
    """For people; `below` is what was asked for."""
    from rich.table import Table

    console = table_console()
    whole = console.width >= WHOLE_WIDTH
    names = ["borrower", "health", "collateral", "debt"] + ["threshold"] * whole
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name, justify="left" if name == "borrower" else "right", overflow="fold")
    for row in rows:
        cells = (checksum(row.borrower), *_figures(row, whole))
        table.add_row(*cells[: len(names)], style=_style(row))
    console.print(_heading(rows, below), highlight=False)
    if rows:
        console.print(table)


def _heading(rows: Sequence[Valued], below: str | None) -> str:
    blocks = ", ".join(str(block) for block in sorted({row.block_number for row in rows}))
    count = f"{len(rows)} borrower{'' if len(rows) == 1 else 's'}" if rows else "No borrower"
    return count + (f" below {below}" if below is not None else " with debt") + (f" at block {blocks}" if rows else "")


def _figures(row: Valued, whole: bool) -> tuple[str, str, str, str]:
    """Health, collateral, debt and threshold; the values in few digits where there is no room for all."""
    health = row.health
    if health is None:
        return "no price", "-", "-", "-"
    value = base_text if whole or row.base_decimals is None else compact_text
    return (
        health_text(health.health_factor_wad),
        value(health.collateral_base, row.base_decimals),
        value(health.debt_base, row.base_decimals),
        f"{health.liquidation_threshold_bps} bps",
    )


def _style(row: Valued) -> str:
    if row.health is None:
        return "yellow"
    return "red" if row.health.health_factor_wad < WAD else ""
