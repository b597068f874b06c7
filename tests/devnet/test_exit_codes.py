"""The exit codes of `keeper run --once`, as docs/COMMANDS.md promises them to scripts."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from keeper.core.units import to_hex
from keeper.devnet import admin
from keeper.devnet.market import Bed
from keeper.devnet.positions import open_all
from keeper.devnet.script import set_prices
from keeper.devnet.specials import DEMO_CRASH, special_opening
from keeper.devnet.state import Recipe, started_bed
from keeper.devnet.throwaway import write_throwaway
from tests.devnet.chain_facts import below_one, nonce
from tests.devnet.commands import happens, started
from tests.devnet.keeping import fund, keeping
from tests.faults import FaultProxy

DONE, WORK_LEFT, INTERRUPTED = 0, 3, 130


async def fall(bed: Bed, percent: int = 80) -> None:
    await admin.set_answer(bed, "WETH", await bed.price_base("WETH") * percent // 100)


async def test_dry_with_nobody_below_one_is_done(bed36: Bed, tmp_path: Path) -> None:
    kept = await keeping(bed36, tmp_path)
    assert (await kept.run_once()).code == DONE
    assert kept.kinds() == ["started", "endpoint", "caught_up", "market_verified", "stopped"]


async def test_dry_with_orders_has_work_left(bed36: Bed, tmp_path: Path) -> None:
    await fall(bed36)
    kept = await keeping(bed36, tmp_path)
    ended = await kept.run_once(fresh=True)
    assert (ended.code, ended.out) == (WORK_LEFT, "")
    assert kept.events("stopped")[-1].fields["detail"] == "once: work left"


async def test_whoever_the_rules_leave_below_one_is_no_work(tmp_path: Path) -> None:
    """Only a toxic borrower and bad debt: nothing that a liquidation would mend."""
    async with started_bed(Recipe("3.6", 0)) as bed:
        prices = {symbol: await bed.price_base(symbol) for symbol in bed.deployment.symbols}
        openings = [special_opening(name, prices, DEMO_CRASH) for name in ("toxic", "bad_debt")]
        await open_all(bed, openings, prices)
        await set_prices(bed, DEMO_CRASH)
        assert len(await below_one(bed, [opening.borrower for opening in openings])) == 2
        kept = await keeping(bed, tmp_path, funded=True)
        for flags in ([], ["--fork"], ["--live"]):
            ended = await kept.run_once(*flags)
            assert ended.code == DONE, (flags, ended.err)
        reasons = {row.borrower: row.fields["reason"] for row in kept.events("refused")}
        assert set(reasons) == {to_hex(opening.borrower) for opening in openings}
        assert reasons[to_hex(openings[0].borrower)] == "toxic"


async def test_live_without_money_has_work_left_and_says_why(bed36: Bed, tmp_path: Path) -> None:
    await fall(bed36)
    kept = await keeping(bed36, tmp_path)
    kept.account = write_throwaway(tmp_path)
    assert (await kept.run_once("--live")).code == WORK_LEFT
    assert "no_inventory" in {row.fields["reason"] for row in kept.events("refused")}
    await bed36.chain.fund([kept.account.address])
    assert (await kept.run_once("--live")).code == WORK_LEFT, "gas alone does not pay debts"
    assert await nonce(bed36, kept.account.address) == 0
    await fund(bed36, kept.account.address)
    assert (await kept.run_once("--live")).code == DONE


async def test_a_price_that_is_missing_leaves_work_and_the_others_are_served(bed: Bed, tmp_path: Path) -> None:
    """Zero is no price: whoever needs it waits, everybody else is restored as ever."""
    await admin.set_answer(bed, "WBTC", 0)
    await fall(bed, percent=88)
    kept = await keeping(bed, tmp_path, funded=True)
    assert (await kept.run_once("--live")).code == WORK_LEFT
    waiting = {row.borrower for row in kept.events("refused") if row.fields["reason"] == "unpriceable"}
    holding = {
        to_hex(opening.borrower)
        for opening in bed.openings
        if "WBTC" in {leg.symbol for leg in (*opening.collateral, *opening.debt)}
    }
    assert waiting == holding
    assert len(waiting) >= 10
    assert len(kept.events("restored")) >= 2
    assert waiting & {row.borrower for row in kept.events("restored")} == set()


async def test_a_price_that_is_old_is_still_the_contracts_price(bed36: Bed, tmp_path: Path) -> None:
    """Aave asks its oracle for the latest answer, whatever its age; so do we."""
    price = await bed36.price_base("WETH") * 80 // 100
    await admin.set_answer_at(bed36, "WETH", price, await bed36.chain.now_s() - 30 * 86_400)
    kept = await keeping(bed36, tmp_path, funded=True)
    assert (await kept.run_once("--live")).code == DONE
    assert len(kept.events("restored")) >= 5
    assert kept.events("not_restored", "trouble") == []


@pytest.mark.parametrize("moment", ["eth_chainId", "eth_getLogs"])
async def test_an_interrupted_run_is_told_from_a_finished_one(bed36: Bed, tmp_path: Path, moment: str) -> None:
    """At the first question, and while the logs are being read; the node does not answer any more."""
    async with FaultProxy(bed36.url) as proxy:

        def falls_silent(method: str, params: list[Any]) -> None:
            if method == moment:
                proxy.manners.delay_s = 60.0

        proxy.on_request = falls_silent
        kept = await keeping(bed36, tmp_path, proxy.url)
        kept.tables["rpc"] = {"timeout_s": 30}
        async with started(["run", "--once", "--config", str(kept.write())], tmp_path) as running:
            await happens(lambda: proxy.manners.delay_s > 0)
            ended = await running.stopped(signal.SIGINT)
    assert ended.code == INTERRUPTED, ended.err
    assert "Traceback" not in ended.err
    assert kept.events("stopped")[-1].fields["detail"] == "asked to stop"
