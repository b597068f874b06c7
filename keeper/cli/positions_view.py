"""Positions as JSON or as a table."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

from keeper.cli.render import base_text, checksum, health_text, table_console
from keeper.core.errors import ConfigError
from keeper.core.units import WAD
from keeper.core.valued import Valued


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


def show_table(rows: Sequence[Valued]) -> None:
    from rich.table import Table

    blocks = sorted({row.block_number for row in rows})
    table = Table(title=f"{len(rows)} borrowers at block {', '.join(map(str, blocks)) or '-'}", title_justify="left")
    for name in ("borrower", "health", "collateral", "debt", "threshold"):
        table.add_column(name, justify="left" if name == "borrower" else "right", overflow="fold")
    for row in rows:
        health = row.health
        if health is None:
            table.add_row(checksum(row.borrower), "no price", "-", "-", "-", style="yellow")
            continue
        table.add_row(
            checksum(row.borrower),
            health_text(health.health_factor_wad),
            base_text(health.collateral_base, row.base_decimals),
            base_text(health.debt_base, row.base_decimals),
            f"{health.liquidation_threshold_bps} bps",
            style="red" if health.health_factor_wad < WAD else "",
        )
    table_console().print(table)
