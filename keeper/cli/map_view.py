"""The liquidation map on a terminal: bars for what falls together, a table for what falls alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from keeper.cli.map_report import MarketMap, Named, names_in
from keeper.cli.positions_near import price_text
from keeper.cli.render import base_text, checksum, compact_text, table_console, time_text
from keeper.core.units import BPS
from keeper.stress.shock import Point

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS_BPS = (100, 500, 1_000, 2_000, 3_000, 4_000, 6_000)
"""Of the steps, those that fit into the table beside each other."""
BAR_WIDTH = 24


def show_maps(maps: Sequence[MarketMap]) -> None:
    console = table_console()
    for each in maps:
        for line in heading(each):
            console.print(line, highlight=False, markup=False)
        console.print(_bars(each, each.together))
        if len(each.alone) == 1:
            [only] = each.alone
            console.print(f"\n{only.name} alone falls:", highlight=False, markup=False)
            console.print(_bars(each, only))
        elif each.alone:
            console.print(_table(each))


def heading(found: MarketMap) -> Iterator[str]:
    """The block that everything is of, what is in the figures, and what is not."""
    look, snapshot = found.look, found.snapshot
    yield f"{look.chain}, market {checksum(look.market)}"
    yield f"block {look.block.number}, {time_text(look.block.timestamp_s)} UTC"
    yield f"{snapshot.borrowers} borrowers owe {base_text(found.debt_base, look.base_decimals)}; {_below_now(found)}"
    if snapshot.unpriceable:
        yield f"{len(snapshot.unpriceable)} of them cannot be valued for want of a price, and are in no other figure"
    yield ""
    yield f"Falling together: {names_in(look, found.together.curve.price_keys)}. All other prices stay."
    yield "Debt that falls below 1, besides what is there now:"


def _below_now(found: MarketMap) -> str:
    sick = [each for each in found.snapshot.exposed if each.is_below_one]
    if not sick:
        return "nobody is below 1 now"
    owed_base = sum(each.health.debt_base for each in sick)
    return f"{len(sick)} of them, owing {base_text(owed_base, found.look.base_decimals)}, are below 1 now"


def _bars(found: MarketMap, named: Named) -> Table:
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    decimals = found.look.base_decimals
    prices = found.snapshot.prices_base()
    [key, *others] = named.curve.price_keys or [None]
    one_price = prices.get(key) if key is not None and not others else None
    table = Table(box=None, pad_edge=False)
    for name in ("drop", "price", "borrowers", "debt", "without price", ""):
        shown = (name != "price" or one_price is not None) and (name != "without price" or _any_blind(named))
        if shown:
            table.add_column(name, justify="left" if name == "" else "right", no_wrap=True)
    whole_base = max(1, found.debt_base)
    for point in named.curve.points[1:]:
        cells: list[object] = [drop_text(point)]
        if one_price is not None:
            cells.append(price_text(one_price * (BPS - point.drop_bps) // BPS, decimals))
        cells += [str(point.fresh_borrowers), compact_text(point.fresh_debt_base, decimals)]
        if _any_blind(named):
            cells.append(str(point.unpriceable))
        bar = ProgressBar(total=whole_base, completed=min(whole_base, point.fresh_debt_base), width=BAR_WIDTH)
        table.add_row(*cells, bar)  # type: ignore[arg-type]
    return table


def _any_blind(named: Named) -> bool:
    return any(point.unpriceable for point in named.curve.points)


def _table(found: MarketMap) -> Table:
    from rich.table import Table

    table = Table(title="Each alone", title_justify="left")
    table.add_column("price of", overflow="fold")
    for drop_bps in COLUMNS_BPS:
        table.add_column(f"-{drop_bps // 100} %", justify="right", no_wrap=True)
    for named in found.alone:
        by_drop = {point.drop_bps: point for point in named.curve.points}
        cells = [compact_text(by_drop[drop].fresh_debt_base, found.look.base_decimals) for drop in COLUMNS_BPS]
        table.add_row(named.name, *cells)
    return table


def drop_text(point: Point) -> str:
    return f"-{point.drop_bps // 100} %"
