"""`keeper positions`: every borrower with debt, as the contract itself values it at that block."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from keeper.core.units import HEALTH_ONE_WAD, address_from_hex, to_hex
from keeper.devnet import admin
from keeper.devnet.market import Bed
from tests.devnet.chain_facts import account_figures
from tests.devnet.keeping import Keeping, keeping
from tests.faults import FaultProxy, Manners
from tests.protocols.test_incomplete_books import hiding

KEYS = [
    "borrower",
    "market",
    "block_number",
    "health_factor_wad",
    "collateral_base",
    "debt_base",
    "liquidation_threshold_bps",
]


def by_arguments(kept: Keeping) -> list[str]:
    return ["positions", "--rpc", kept.rpc_url, "--addresses-provider", to_hex(kept.provider)]


async def listed(kept: Keeping, *options: str) -> list[dict[str, Any]]:
    ended = await kept.run(*by_arguments(kept), "--json", *options)
    assert (ended.code, ended.err) == (0, "")
    found: list[dict[str, Any]] = json.loads(ended.out)
    return found


async def test_every_figure_is_the_contracts_own(bed: Bed, tmp_path: Path) -> None:
    """Of every borrower, after a fall and some time; exactly the documented keys; the lowest health first."""
    await admin.set_answer(bed, "WETH", await bed.price_base("WETH") * 85 // 100)
    await bed.chain.mine(3, seconds=86_400)
    kept = await keeping(bed, tmp_path)
    rows = await listed(kept)
    assert {row["borrower"].lower() for row in rows} == {to_hex(opening.borrower) for opening in bed.openings}
    [block_number] = {row["block_number"] for row in rows}
    assert int(block_number) == await bed.chain.block_number()
    for row in rows:
        assert list(row) == KEYS
        assert all(isinstance(text, str) for text in row.values())
        assert row["market"].lower() == to_hex(kept.provider)
        collateral, debt, _, threshold, _, health = await account_figures(
            bed, address_from_hex(row["borrower"].lower()), int(block_number)
        )
        assert row["collateral_base"] == str(collateral)
        assert row["debt_base"] == str(debt)
        assert row["liquidation_threshold_bps"] == str(threshold)
        assert row["health_factor_wad"] == str(health)
    healths = [int(row["health_factor_wad"]) for row in rows]
    assert healths == sorted(healths)

    below = await listed(kept, "--below", "1.0")
    assert below == [row for row in rows if int(row["health_factor_wad"]) < HEALTH_ONE_WAD]
    assert 3 <= len(below) < len(rows)
    assert await listed(kept, "--below", "0") == []


async def test_a_configuration_says_the_same_and_the_store_stays_untouched(bed36: Bed, tmp_path: Path) -> None:
    kept = await keeping(bed36, tmp_path)
    kept.tables["signer"] = {"keystore": str(tmp_path / "no-keystore")}
    ended = await kept.run("positions", "--json", "--config", str(kept.write()), fresh=True)
    assert ended.code == 0
    assert json.loads(ended.out) == await listed(kept)
    assert not kept.store.exists()


async def test_a_borrower_without_a_price_is_listed_first_with_nulls(bed36: Bed, tmp_path: Path) -> None:
    await admin.set_answer(bed36, "WBTC", 0)
    kept = await keeping(bed36, tmp_path)
    rows = await listed(kept)
    unpriced = [row for row in rows if row["health_factor_wad"] is None]
    assert unpriced
    assert rows[: len(unpriced)] == unpriced
    assert all(row[key] is None for row in unpriced for key in KEYS[3:])
    assert all(row["health_factor_wad"] is not None for row in await listed(kept, "--below", "100"))
    table = await kept.run(*by_arguments(kept))
    assert table.out.count("no price") == len(unpriced)


async def test_a_reader_that_leaves_early_is_no_error(bed36: Bed, tmp_path: Path) -> None:
    kept = await keeping(bed36, tmp_path)
    command = [sys.executable, "-m", "keeper", *by_arguments(kept), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # noqa: ASYNC220
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), error) == (0, b"")


async def test_a_search_that_outlasts_the_nodes_memory_takes_a_newer_head(bed36: Bed, tmp_path: Path) -> None:
    """The node keeps the state of four blocks only, and eight go by while the borrowers are being searched for."""
    left = 8

    async with FaultProxy(bed36.url, Manners(state_depth=4)) as proxy:
        answered = proxy._pass_on

        async def mining(method: str, params: list[Any], manners: Manners) -> dict[str, Any]:
            nonlocal left
            if method == "eth_getLogs" and left:
                left -= 4
                await bed36.chain.mine(4)
            return await answered(method, params, manners)

        proxy._pass_on = mining  # type: ignore[method-assign]
        kept = await keeping(bed36, tmp_path, proxy.url)
        kept.tables["rpc"] = {"log_span": 40}
        ended = await kept.run("positions", "--json", "--config", str(kept.write()))
        assert ended.code == 0, ended.err
        rows = json.loads(ended.out)
    assert len(rows) == len(bed36.openings)
    assert {row["block_number"] for row in rows} == {str(await bed36.chain.block_number())}


async def test_a_list_in_which_somebody_is_missing_is_none(bed36: Bed, tmp_path: Path) -> None:
    """A node that keeps one borrower's logs back: every row that is there is right, but the debts do not add up."""
    async with FaultProxy(bed36.url) as proxy:
        proxy.on_answer = hiding(bed36.openings[3].borrower)
        kept = await keeping(bed36, tmp_path, proxy.url)
        ended = await kept.run("positions", "--config", str(kept.write()))
    assert (ended.code, ended.out) == (1, "")
    assert "total_debt_scaled in reserve" in ended.error_line


@pytest.mark.parametrize("option", [["--below", "x"], ["--rpc", "http://127.0.0.1:9"]])
async def test_a_wrong_argument_asks_no_node(bed36: Bed, tmp_path: Path, option: list[str]) -> None:
    async with FaultProxy(bed36.url) as proxy:
        kept = await keeping(bed36, tmp_path, proxy.url)
        config = ["--config", str(kept.write())]
        ended = await kept.run("positions", *option, *config)
        assert ended.code == 2
        assert ended.error_line
        assert not proxy.counts
