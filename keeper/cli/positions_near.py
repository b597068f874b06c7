"""Who is closest to falling below 1, and at which price: as JSON or as tables."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keeper.cli.map_report import market_object, price_name
from keeper.cli.render import base_text, checksum, fixed_text, health_text, table_console
from keeper.stress.snapshot import Snapshot, take_snapshot
from keeper.stress.trigger import Near, Trigger, nearest

if TYPE_CHECKING:
    from rich.console import Console

    from keeper.app.looking import MarketLook


@dataclass(frozen=True, slots=True)
class Closest:
    """One market's answer."""

    look: MarketLook
    snapshot: Snapshot[Any]
    near: Sequence[Near]


def closest(look: MarketLook, count: int) -> Closest:
    snapshot = take_snapshot(look.adapter, look.state, look.positions, look.block.timestamp_s)
    return Closest(look, snapshot, nearest(look.adapter, snapshot, count))


# -- JSON --------------------------------------------------------------------------------------------------------------
def show_json(found: Sequence[Closest]) -> None:
    """The stable contract of docs/COMMANDS.md."""
    markets = [
        market_object(each.look, each.snapshot) | {"near": [_object(each.look, near) for near in each.near]}
        for each in found
    ]
    json.dump(markets, sys.stdout, indent=1)
    sys.stdout.write("\n")


def _object(look: MarketLook, near: Near) -> dict[str, Any]:
    return {
        "borrower": checksum(near.exposed.borrower),
        "health_factor_wad": str(near.exposed.health.health_factor_wad),
        "debt_base": str(near.exposed.health.debt_base),
        "triggers": [
            {
                "price_key": checksum(trigger.price_key),
                "name": price_name(look, trigger.price_key),
                "direction": trigger.direction.value,
                "price_now_base": str(trigger.price_now_base),
                "price_trigger_base": str(trigger.price_trigger_base),
                "price_safe_base": str(trigger.price_safe_base),
                "move_ppm": str(trigger.move_ppm),
            }
            for trigger in near.triggers
        ],
    }


# -- tables ------------------------------------------------------------------------------------------------------------
_PRICE_DIGITS = 8
WHOLE_WIDTH = 120
"""From this width on there is room for a table with whole addresses."""


def show_tables(found: Sequence[Closest]) -> None:
    console = table_console()
    for each in found:
        _show_table(console, each) if console.width >= WHOLE_WIDTH else _show_entries(console, each)
        console.print(note(each), style="dim", highlight=False)


def note(found: Closest) -> str:
    """What the table leaves out, and what it means."""
    unpriceable = len(found.snapshot.unpriceable)
    blind = f" {unpriceable} more cannot be valued for want of a price." if unpriceable else ""
    return (
        f"Of {found.snapshot.borrowers} borrowers.{blind} Each price moves alone: a staked coin stays when its coin falls."
        " Of who is below 1 now, the price leads back."
    )


def _heading(look: MarketLook) -> str:
    return f"{look.chain}, market {checksum(look.market)}, block {look.block.number}"


def _show_entries(console: Console, found: Closest) -> None:
    """Where a table has no room for whole addresses: two lines each."""
    look = found.look
    console.print(_heading(look), highlight=False)
    for near in found.near:
        health, style = near.exposed.health, "red" if near.exposed.is_below_one else ""
        standing = (
            f"health {health_text(health.health_factor_wad)}  debt {base_text(health.debt_base, look.base_decimals)}"
        )
        console.print(f"{checksum(near.exposed.borrower)}  {standing}", style=style, highlight=False)
        if near.triggers:
            name, now, trigger, move = _trigger_cells(look, near.triggers[0])
            told = f"    {name} {now}: below 1 at {trigger}, {move}"
        else:
            told = "    no single price"
        console.print(told, style=style, highlight=False, markup=False)


def _show_table(console: Console, found: Closest) -> None:
    from rich.table import Table

    look = found.look
    table = Table(title=_heading(look), title_justify="left")
    for name in ("borrower", "health", "debt", "price of", "now", "below 1 at", "move"):
        table.add_column(name, justify="left" if name in ("borrower", "price of") else "right", overflow="fold")
    for near in found.near:
        health = near.exposed.health
        table.add_row(
            checksum(near.exposed.borrower),
            health_text(health.health_factor_wad),
            base_text(health.debt_base, look.base_decimals),
            *(_trigger_cells(look, near.triggers[0]) if near.triggers else ("no single price", "-", "-", "-")),
            style="red" if near.exposed.is_below_one else "",
        )
    console.print(table)


def _trigger_cells(look: MarketLook, trigger: Trigger) -> tuple[str, str, str, str]:
    return (
        price_name(look, trigger.price_key),
        price_text(trigger.price_now_base, look.base_decimals),
        price_text(trigger.price_trigger_base, look.base_decimals),
        move_text(trigger.move_ppm),
    )


def price_text(price_base: int, decimals: int) -> str:
    """All of the oracle's digits below 100, as many as tell prices apart above."""
    digits = min(decimals, _PRICE_DIGITS)
    return fixed_text(price_base, decimals, digits if price_base < 100 * 10**decimals else min(2, digits))


def move_text(move_ppm: int) -> str:
    """``-12.34 %``, rounded down."""
    sign = "+" if move_ppm > 0 else ""
    return f"{sign}{fixed_text(move_ppm, 4, 2)} %"
