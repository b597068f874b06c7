"""`keeper demo`: the real Aave v3 on a local anvil, a crash, and the keeper at work."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from keeper.app.demo import DemoResult

_KEPT = "KEEPER_CACHE_DIR"
"""Says where downloads are kept; every other variable of ours configures a keeper, and the demo brings its own."""


def demo(
    svg: Annotated[Path | None, typer.Option("--svg", help="Also write the summary into this SVG file.")] = None,
    store: Annotated[
        Path | None, typer.Option("--store", help="Keep the journal in this file, for `keeper explain --store FILE`.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Other borrowers: any number.", show_default=False)] = None,
) -> None:
    """Watch the real Aave v3 contracts on a local anvil: prices fall, the keeper restores the borrowers.

    Needs no key, node or configuration. Exit code 0 only if every plan that promised its target was read back at or above
    it in its inclusion block, and everybody else below 1 has a reason in the journal; 1 otherwise, with the names.
    """
    for name in [name for name in os.environ if name.startswith("KEEPER_") and name != _KEPT]:
        del os.environ[name]
    result = _played(seed, store)
    _show(result, svg, store)
    raise typer.Exit(1 if result.problems else 0)


def _played(seed: int | None, store: Path | None) -> DemoResult:
    """Raises KeyboardInterrupt when a signal ended it; its anvil and its temporary folder are gone by then."""
    import asyncio

    from keeper.cli.demo_screen import opened_screen

    with opened_screen() as screen:
        screen.step("loading the keeper")
        from keeper.app.demo import DEFAULT_SEED, DemoTerms, run_demo

        terms = DemoTerms(DEFAULT_SEED if seed is None else seed, store)
        try:
            return asyncio.run(run_demo(terms, screen))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None


def _show(result: DemoResult, svg: Path | None, store: Path | None) -> None:
    from rich.console import Console

    from keeper.cli.demo_summary import TITLE, summary
    from keeper.cli.demo_svg import WIDTH, write_svg
    from keeper.cli.reading import readers_may_leave
    from keeper.cli.render import checksum

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    with readers_may_leave():
        console.print(summary(result))
        if store is not None:
            someone = next(iter(result.record.sick()), None)
            who = checksum(someone) if someone is not None else "BORROWER"
            console.print(
                f"\nthe whole story of one: keeper explain --store {store} {who}", markup=False, soft_wrap=True
            )
            console.print(f"everything: keeper journal --store {store}", markup=False, soft_wrap=True)
    if svg is not None:
        write_svg(svg, summary(result), TITLE)
