"""Trigger prices and the liquidation map, held against the chain: the feeds are set to those prices, and the contract asked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from keeper.core.units import BPS, HEALTH_ONE_WAD, Address, address_from_hex, to_hex
from keeper.devnet import admin
from keeper.devnet.market import ADMIN, Bed
from keeper.devnet.spec import ETH_EMODE
from keeper.devnet.state import fresh_snapshot, revert_to
from keeper.stress.snapshot import take_snapshot
from keeper.stress.trigger import Direction, Trigger, nearest
from tests.devnet.chain_facts import account_figures
from tests.devnet.keeping import Keeping, keeping
from tests.protocols.onchain import Watcher

SOON_S = 1_000
"""So long after the present block the moment lies that everything is judged at."""
DROPS_BPS = (500, 3_000, 6_000)


@dataclass
class Oracle:
    """A bed whose every price has a feed of its own, so that each can be set to any number; and one moment at which it is
    looked at under other and other prices."""

    bed: Bed
    feeds: dict[Address, Address]
    moment_s: int

    @asynccontextmanager
    async def answering(self, prices_base: Mapping[Address, int]) -> AsyncIterator[None]:
        """The chain at the moment, had the feeds answered so; as before afterwards."""
        before = await fresh_snapshot(self.bed)
        at_s = self.moment_s - len(prices_base)
        for key, price_base in prices_base.items():
            at_s += 1
            await self.bed.chain.rpc.request("evm_setNextBlockTimestamp", [at_s])
            await self.bed.chain.send(ADMIN, self.feeds[key], self.bed.contracts["Feed"], "setAnswer", price_base)
        if not prices_base:
            await self.bed.chain.rpc.request("evm_setNextBlockTimestamp", [at_s])
            await self.bed.chain.rpc.request("evm_mine")
        assert await self.bed.chain.now_s() == self.moment_s
        try:
            yield
        finally:
            await revert_to(self.bed, before)

    async def health_wad(self, borrower: Address, prices_base: Mapping[Address, int]) -> int:
        async with self.answering(prices_base):
            return (await account_figures(self.bed, borrower))[5]

    async def below_one(self, prices_base: Mapping[Address, int]) -> dict[Address, int]:
        """Who would be below 1, and the debt of each."""
        found = {}
        async with self.answering(prices_base):
            for opening in self.bed.openings:
                _, debt_base, _, _, _, health = await account_figures(self.bed, opening.borrower)
                if health < HEALTH_ONE_WAD:
                    found[opening.borrower] = debt_base
        return found


async def own_feeds(bed: Bed) -> Oracle:
    """Every asset gets a plain feed with the price that it has."""
    feeds = {}
    for symbol in bed.deployment.symbols:
        feed = await admin.new_feed(bed, await bed.price_base(symbol))
        await admin.set_price_source(bed, symbol, feed)
        feeds[bed.asset(symbol).token] = feed
    return Oracle(bed, feeds, await bed.chain.now_s() + SOON_S)


async def closest_triggers(oracle: Oracle, count: int) -> list[tuple[Address, bool, Trigger]]:
    """(borrower, below 1 now, trigger): every trigger of the closest few, as of the moment."""
    watcher = Watcher(oracle.bed)
    look = await watcher.look(await watcher.discover(), [opening.borrower for opening in oracle.bed.openings])
    snapshot = take_snapshot(watcher.adapter, look.state, look.positions.values(), oracle.moment_s)
    assert snapshot.borrowers == len(oracle.bed.openings)
    return [
        (near.exposed.borrower, near.exposed.is_below_one, trigger)
        for near in nearest(watcher.adapter, snapshot, count)
        for trigger in near.triggers
    ]


async def crossed_by_the_contract(oracle: Oracle, borrower: Address, trigger: Trigger) -> None:
    sick = await oracle.health_wad(borrower, {trigger.price_key: trigger.price_trigger_base})
    safe = await oracle.health_wad(borrower, {trigger.price_key: trigger.price_safe_base})
    assert sick < HEALTH_ONE_WAD <= safe, trigger


async def test_the_contract_is_below_one_at_the_trigger_and_not_one_unit_back(bed: Bed) -> None:
    oracle = await own_feeds(bed)
    found = await closest_triggers(oracle, 20)
    assert {trigger.direction for _, _, trigger in found} == set(Direction)
    assert len({trigger.price_key for _, _, trigger in found}) >= 5
    for borrower, _, trigger in found:
        await crossed_by_the_contract(oracle, borrower, trigger)


async def test_of_who_is_below_one_the_trigger_leads_back(bed: Bed) -> None:
    oracle = await own_feeds(bed)
    weth = bed.asset("WETH")
    await bed.chain.send(ADMIN, oracle.feeds[weth.token], bed.contracts["Feed"], "setAnswer", 2_600 * 10**8)
    found = await closest_triggers(oracle, 5)
    assert all(below for _, below, _ in found)
    for borrower, _, trigger in found:
        await crossed_by_the_contract(oracle, borrower, trigger)


async def test_an_e_mode_with_a_price_of_its_own_has_its_own_trigger(bed302: Bed) -> None:
    oracle = await own_feeds(bed302)
    source = await admin.set_emode_price(bed302, ETH_EMODE.category_id, 3_300 * 10**8)
    oracle.feeds[source] = source
    oracle.moment_s = await bed302.chain.now_s() + SOON_S
    watched = [each for each in await closest_triggers(oracle, 60) if each[2].price_key == source]
    assert watched
    for borrower, _, trigger in watched[:5]:
        await crossed_by_the_contract(oracle, borrower, trigger)
    weth = bed302.asset("WETH").token
    inside = {each.borrower for each in bed302.openings if each.emode_id == ETH_EMODE.category_id}
    assert inside
    assert (
        not {borrower for borrower, _, trigger in await closest_triggers(oracle, 60) if trigger.price_key == weth}
        & inside
    )


def by_arguments(kept: Keeping) -> list[str]:
    return ["--rpc", kept.rpc_url, "--addresses-provider", to_hex(kept.provider)]


async def asked(kept: Keeping, *arguments: str) -> dict[str, Any]:
    ended = await kept.run(*arguments, *by_arguments(kept), "--json")
    assert (ended.code, ended.err) == (0, "")
    [market] = json.loads(ended.out)
    found: dict[str, Any] = market
    return found


async def test_the_map_is_what_the_contract_says_at_those_prices(bed: Bed, tmp_path: Path) -> None:
    oracle = await own_feeds(bed)
    kept, page = await keeping(bed, tmp_path), tmp_path / "map.html"
    async with oracle.answering({}):
        number = await bed.chain.block_number()
        told = await asked(
            kept, "map", "--shock", "wbtc,WETH,wstETH", "--asset", "WBTC", "--asset", "usdc", "--html", str(page)
        )
    now = await oracle.below_one({})
    assert int(told["block_number"]) == number
    assert (int(told["borrowers"]), told["unpriceable"]) == (len(bed.openings), [])
    curves = [told["together"], *told["alone"]]
    assert [len(each["prices"]) for each in curves] == [3, 1, 1]
    fresh = 0
    for curve in curves:
        prices = {address_from_hex(each["price_key"].lower()): int(each["price_now_base"]) for each in curve["prices"]}
        points = {int(point["drop_bps"]): point for point in curve["points"]}
        for drop_bps in DROPS_BPS:
            dropped = {key: price * (BPS - drop_bps) // BPS for key, price in prices.items()}
            below = await oracle.below_one(dropped)
            newly = {who: debt for who, debt in below.items() if who not in now}
            assert points[drop_bps] == {
                "drop_bps": str(drop_bps),
                "borrowers": str(len(below)),
                "debt_base": str(sum(below.values())),
                "fresh_borrowers": str(len(newly)),
                "fresh_debt_base": str(sum(newly.values())),
                "unpriceable": "0",
            }
            fresh += len(newly)
    assert fresh > 20
    assert page.read_text().startswith("<!doctype html>")


async def test_near_names_the_block_and_the_contract_agrees(bed36: Bed, tmp_path: Path) -> None:
    oracle = await own_feeds(bed36)
    kept = await keeping(bed36, tmp_path)
    async with oracle.answering({}):
        told = await asked(kept, "positions", "--near", "3")
        assert int(told["block_number"]) == await bed36.chain.block_number()
        table = await kept.run("positions", "--near", *by_arguments(kept))
    assert len(told["near"]) == 3
    for near in told["near"]:
        for trigger in near["triggers"]:
            key, borrower = (address_from_hex(text.lower()) for text in (trigger["price_key"], near["borrower"]))
            sick = await oracle.health_wad(borrower, {key: int(trigger["price_trigger_base"])})
            safe = await oracle.health_wad(borrower, {key: int(trigger["price_safe_base"])})
            assert sick < HEALTH_ONE_WAD <= safe
    assert (table.code, table.err) == (0, "")
    assert table.out.count("0x") == 21, "the market and twenty borrowers"


async def test_who_cannot_be_priced_is_counted(bed36: Bed, tmp_path: Path) -> None:
    await admin.set_answer(bed36, "WBTC", 0)
    kept = await keeping(bed36, tmp_path)
    told = await asked(kept, "map")
    blind = len(told["unpriceable"])
    assert 0 < blind < len(bed36.openings)
    assert int(told["borrowers"]) == len(bed36.openings)
    for curve in [told["together"], *told["alone"]]:
        assert {point["unpriceable"] for point in curve["points"]} == {str(blind)}
    shown = await kept.run("map", *by_arguments(kept))
    assert f"{blind} of them cannot be valued for want of a price" in shown.out
    near = await asked(kept, "positions", "--near")
    assert near["unpriceable"] == told["unpriceable"]


async def test_the_page_fetches_nothing_and_runs_nothing(bed36: Bed, tmp_path: Path) -> None:
    kept, page = await keeping(bed36, tmp_path), tmp_path / "map.html"
    ended = await kept.run("map", *by_arguments(kept), "--html", str(page))
    assert (ended.code, ended.err) == (0, "")
    text = page.read_text()
    for outside in ("http://", "https://", "//cdn", "<script", "src=", "href=", "@import", "url(", "style=", "onload"):
        assert outside not in text, outside
    assert "default-src 'none'; style-src 'sha256-" in text
    assert "prefers-color-scheme: dark" in text
    start, end = text.index("<svg"), text.index("</svg>") + len("</svg>")
    picture = ElementTree.fromstring(text[start:end])
    assert len(picture.findall("polyline")) == 7
    assert "together -60 %" in text


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["map", "--asset", "NOPE"], "--asset NOPE: no such asset here; known are DAI, GUSD"),
        (["map", "--shock", "WETH,NOPE"], "--shock NOPE: no such asset here"),
        (["map", "--html", "missing/folder/map.html"], "cannot be written"),
        (["positions", "--near", "--below", "1"], "--near and --below are two questions"),
        (["positions", "--near", "0"], "greater than or equal to 1"),
    ],
)
async def test_a_wrong_wish_is_one_line(bed36: Bed, tmp_path: Path, arguments: list[str], complaint: str) -> None:
    kept = await keeping(bed36, tmp_path)
    ended = await kept.run(*arguments, *by_arguments(kept))
    assert ended.code == 2
    assert complaint in ended.error_line
    assert ended.out == ""
