"""`keeper pause | resume | kill | report`: what they write, what they say, and what they refuse in one line."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from pathlib import Path

import pytest

from keeper.cli import run_cli
from keeper.cli.render import checksum
from keeper.core.intent import Mark
from keeper.core.ledger import CallValue, Valuation
from keeper.core.pauses import KILL, Scope
from keeper.core.units import to_hex
from keeper.store import Store, StoreReader
from tests.unit.cli.telling import write_store
from tests.unit.store.facts import LIQUIDATOR, USDC, WETH
from tests.unit.store.test_ledger import intent, mined


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write_store(tmp_path / "keeper.db")


Captured = pytest.CaptureFixture[str]


def said(capsys: Captured, code: int, *arguments: str) -> str:
    assert run_cli(list(arguments)) == code
    captured = capsys.readouterr()
    return captured.out if code == 0 else captured.err


async def with_transactions(path: Path) -> None:
    """One mined and valued, one reverted, one on its way."""
    async with Store.open(path) as store:
        await store.record_intents([intent(1), intent(2), intent(3)])
        done: list[Mark] = [mined(intent(1), 50), mined(intent(2), 51, succeeded=False)]
        await store.mark_intents(done)
        assert done[0].entry is not None
        value = CallValue(3 * 10**8, 2 * 10**8, 10**8, 10**8)
        await store.value([Valuation(intent(1).transaction_hash, done[0].entry.block_hash, value)])


def test_pause_and_resume_say_what_they_mean(store: Path, capsys: Captured) -> None:
    asyncio.run(with_transactions(store))
    told = said(capsys, 0, "pause", "a look first", "--store", str(store))
    assert "from now on no keeper on this store sends anything" in told
    assert "What was sent before may still be mined (1)." in told
    assert f"nonce 3  {to_hex(intent(3).transaction_hash)}  intended" in told
    assert said(capsys, 0, "pause", "again", "--store", str(store)).startswith("It was paused before")
    explained = said(capsys, 0, "explain", "--store", str(store))
    assert explained.startswith("Paused since ")
    assert "nothing is sent: operator: a look first." in explained
    told = said(capsys, 0, "resume", "--store", str(store))
    assert told.startswith("Lifted: operator: a look first (since ")
    assert "sends again from its next head on" in told
    assert said(capsys, 0, "resume", "--store", str(store)) == "Nothing was paused.\n"


def test_kill_cancels_what_waits(store: Path, capsys: Captured) -> None:
    asyncio.run(with_transactions(store))
    assert "A running keeper cancels them at its next head." in said(capsys, 0, "kill", "--store", str(store))
    with StoreReader.open(store) as reader:
        assert [each.pause.reason for each in reader.standing_pauses()] == [KILL]


def test_a_chain_alone_is_paused_and_resumed_by_its_name(store: Path, capsys: Captured) -> None:
    said(capsys, 0, "pause", "--chain", "testchain", "--store", str(store))
    with StoreReader.open(store) as reader:
        assert [each.pause.scope for each in reader.standing_pauses()] == [Scope(31_337)]
    said(capsys, 0, "pause", "all of it", "--store", str(store))
    told = said(capsys, 0, "resume", "--chain", "testchain", "--store", str(store))
    assert "Still paused: operator: all of it" in told
    assert "--chain mars: the store knows testchain" in said(
        capsys, 2, "kill", "--chain", "mars", "--store", str(store)
    )


@pytest.mark.parametrize("command", ["pause", "resume", "kill", "report"])
def test_without_a_store_there_is_one_line(tmp_path: Path, capsys: Captured, command: str) -> None:
    told = said(capsys, 2, command, "--store", str(tmp_path / "none.db"))
    assert told.count("\n") == 1
    assert "no store at" in told
    assert not (tmp_path / "none.db").exists()


# -- report ----------------------------------------------------------------------------------------------------------
COST_WEI = 300_000 * 10**15 + 7


def test_the_report_as_json(store: Path, capsys: Captured) -> None:
    asyncio.run(with_transactions(store))
    told = json.loads(said(capsys, 0, "report", "--format", "json", "--store", str(store)))
    [account] = told["accounts"]
    assert account == {
        "chain_id": 31_337,
        "signer": checksum(LIQUIDATOR),
        "native_change_wei": str(-2 * COST_WEI),
        "tokens": {checksum(WETH): "5", checksum(USDC): str(-(2**80))},
    }
    [attempt], [day] = told["attempts"], told["days"]
    assert (attempt["transactions"], attempt["reverted"], attempt["unvalued"]) == (2, 1, 1)
    assert (day["day"], day["attempt"], day["tokens"]) == ("1970-01-01", None, account["tokens"])
    assert (day["received_wad"], day["repaid_wad"], day["revenue_wad"]) == (
        "3000000000000000000",
        "2000000000000000000",
        "1000000000000000000",
    )
    assert (day["premium_wad"], day["slippage_wad"]) == ("0", "0")
    assert int(day["net_wei"]) == 10**18 - COST_WEI
    told = json.loads(said(capsys, 0, "report", "-f", "json", "--since", "2030-01-01", "--store", str(store)))
    assert told == {"accounts": [], "days": [], "attempts": []}


def test_the_report_as_csv(store: Path, capsys: Captured) -> None:
    asyncio.run(with_transactions(store))
    rows = list(csv.DictReader(io.StringIO(said(capsys, 0, "report", "--format", "csv", "--store", str(store)))))
    assert [row["record"] for row in rows] == ["attempt", "movement", "movement", "day"]
    assert {row["token"]: row["change_raw"] for row in rows if row["record"] == "movement"} == {
        checksum(WETH): "5",
        checksum(USDC): str(-(2**80)),
    }
    assert rows[0]["cost_wei"] == rows[3]["cost_wei"] == str(2 * COST_WEI)


def test_the_report_for_people(store: Path, capsys: Captured) -> None:
    asyncio.run(with_transactions(store))
    told = said(capsys, 0, "report", "--store", str(store))
    assert "2 (1 reverted)" in told
    assert "1 without a value in base currency" in told
    assert "a day is written like 2026-01-31" in said(capsys, 2, "report", "--since", "May", "--store", str(store))


def test_nothing_mined_is_said(store: Path, capsys: Captured) -> None:
    assert said(capsys, 0, "report", "--store", str(store)) == "Nothing of the keeper was mined yet.\n"
