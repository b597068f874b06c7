"""The map and the nearest, shown; figures by hand."""

from __future__ import annotations

import pytest
from rich.console import Console

from keeper.app.looking import MarketLook
from keeper.cli import positions_near
from keeper.cli.map_html import page_of
from keeper.cli.map_report import Wanted, maps_of
from keeper.cli.map_view import show_maps
from keeper.cli.positions_near import closest, move_text, price_text, show_tables
from keeper.cli.render import checksum, compact_text
from keeper.core.errors import ConfigError
from keeper.core.lending import Position
from keeper.core.units import Address
from tests.unit.protocols.aave_v3.builders import PROVIDER, make_block, make_position
from tests.unit.stress.test_trigger import ADAPTER, DOLLAR, TOKEN, asset, market

NAMES = {0: "W<b>ETH</b>", 1: "USD [red]coin", 2: "WBTC"}


def look(*positions: Position, names: dict[int, str] | None = None) -> MarketLook:
    state = market()
    named: dict[Address, str] = {asset(state, i): name for i, name in (names or NAMES).items()}
    return MarketLook("mainnet", PROVIDER, make_block(), DOLLAR, named, ADAPTER, state, positions)


NEARER = make_position({0: TOKEN}, {1: 1500 * TOKEN})
SICK = make_position({0: TOKEN}, {1: 1700 * TOKEN})


def test_the_map_says_what_falls_and_what_is_there_already(capsys: pytest.CaptureFixture[str]) -> None:
    show_maps(maps_of([look(NEARER, SICK)], Wanted()))
    shown = capsys.readouterr().out
    assert "2 borrowers owe 3,200.00; 1 of them, owing 1,700.00, are below 1 now" in shown
    assert "Falling together: W<b>ETH</b>. All other prices stay." in shown
    lines = {line.split()[0]: line.split() for line in shown.splitlines() if line.strip().startswith("-")}
    assert lines["-5"][2:5] == ["1,900.00", "0", "-"]
    assert lines["-7"][2:5] == ["1,860.00", "1", "1.50k"]


def test_several_alone_stand_beside_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    show_maps(maps_of([look(NEARER, make_position({2: TOKEN}, {1: 30_000 * TOKEN}))], Wanted()))
    shown = capsys.readouterr().out
    assert "Each alone" in shown
    assert shown.index("│ WBTC") < shown.index("│ W<b>ETH</b>"), "the most debt first"


def test_the_page_shows_names_from_the_chain_as_text() -> None:
    page = page_of(maps_of([look(NEARER, SICK)], Wanted()))
    assert "<b>" not in page
    assert "W&lt;b&gt;ETH&lt;/b&gt;" in page
    assert "-7 %: 1,500.00, 1 borrowers" in page


def test_nobody_is_a_page_too() -> None:
    page = page_of(maps_of([look()], Wanted()))
    assert "0 borrowers owe 0.00; nobody is below 1 now" in page


def test_names_are_found_in_any_case_and_by_address() -> None:
    held = look(NEARER)
    key = asset(market(), 2)
    for text in ("wbtc", "0x" + key.hex(), "0x" + key.hex().upper()):
        [found] = maps_of([held], Wanted(shock=[text], assets=["WBTC"]))
        assert found.together.curve.price_keys == {key}
        assert [named.name for named in found.alone] == ["WBTC"]


def test_what_one_market_lacks_another_may_have_and_twins_are_refused() -> None:
    other = look(NEARER, names={0: "WETH", 1: "USDC", 2: "USDC"})
    lacking, having = maps_of([look(NEARER), other], Wanted(shock=["WETH"]))
    assert not lacking.together.curve.price_keys
    assert having.together.curve.price_keys == {asset(market(), 0)}
    with pytest.raises(ConfigError, match="--shock DOGE: no such asset here; known are USDC, WETH"):
        maps_of([other], Wanted(shock=["DOGE"]))
    with pytest.raises(
        ConfigError, match="--asset usdc: the market has 2 assets of this name, name one by address: 0x"
    ):
        maps_of([other], Wanted(assets=["usdc"]))


def test_the_nearest_in_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    stuck = make_position({1: 100 * TOKEN}, {1: 90 * TOKEN})
    show_tables([closest(look(NEARER, SICK, stuck), 5)])
    shown = capsys.readouterr().out
    assert "mainnet, market 0x000000000000000000000000000000000000a000, block 100" in shown.lower()
    assert "1,874.99" in shown and "-6.26 %" in shown
    assert "no single price" in shown
    assert "Of 3 borrowers." in shown


def test_prices_moves_and_sums_for_people() -> None:
    assert price_text(99_980_001, 8) == "0.99980001"
    assert price_text(6_400_012_345_678, 8) == "64,000.12"
    assert (move_text(-62_501), move_text(250_000), move_text(0)) == ("-6.26 %", "+25.00 %", "0.00 %")
    shown = [compact_text(amount * DOLLAR, 8) for amount in (0, 1, 999, 1000, 1_239_999, 5 * 10**9)]
    assert shown == ["-", "1.00", "999.00", "1.00k", "1.23M", "5.00B"]


def test_eighty_columns_break_no_address_of_the_nearest(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(positions_near, "table_console", lambda: Console(width=80))
    show_tables([closest(look(NEARER, names={0: "[red]", 1: "USD", 2: "WBTC"}), 5)])
    lines = capsys.readouterr().out.splitlines()
    whole = next(index for index, line in enumerate(lines) if line.startswith(checksum(NEARER.borrower)))
    assert lines[whole + 1] == "    [red] 2,000.00: below 1 at 1,874.99, -6.26 %"
    assert max(map(len, lines)) <= 80
