"""Several providers around one market: what some of them cannot do, what they say differently, and when all lie alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keeper.app.plan import RunPlan
from keeper.app.run import DONE, WORK_LEFT, run_keeper
from keeper.core.errors import MarketError, NodesDisagree
from keeper.core.units import to_hex
from keeper.devnet import admin
from keeper.devnet.market import Bed
from keeper.pipeline import supervise
from tests.devnet.chain_facts import below_one
from tests.devnet.commands import happens
from tests.devnet.inside import inside
from tests.devnet.keeping import Keeping, keeping
from tests.devnet.secrets_kept import assert_kept, with_key
from tests.faults import FaultProxy, Manners

NO_SIMULATION = {"eth_simulateV1": {"code": -32601, "message": "the method eth_simulateV1 does not exist"}}
PLAIN = Manners(errors=NO_SIMULATION, batches=False, state_depth=100)
"""A provider without archive, batches or simulation."""


def elsewhere(proxy: FaultProxy) -> str:
    """The same proxy under another host's name."""
    return with_key(proxy.url.replace("127.0.0.1", "localhost"))


async def _once(kept: Keeping, *, live: bool = False) -> int:
    settings = kept.settings(mode="live" if live else "dry")
    return await run_keeper(settings, RunPlan(once=True, live=live, fork=False))


async def _fall(bed: Bed) -> int:
    """Ether falls; the price that is believed from now on."""
    await admin.set_answer(bed, "WETH", await bed.price_base("WETH") * 88 // 100)
    return await bed.price_base("WETH")


# -- what some cannot do -------------------------------------------------------------------------------------------------
async def test_without_archive_batches_and_simulation_borrowers_are_restored_all_the_same(
    bed36: Bed, tmp_path: Path
) -> None:
    kept = await keeping(bed36, tmp_path, funded=True)
    await bed36.chain.rpc.request("evm_setIntervalMining", [1])
    await _fall(bed36)
    borrowers = [opening.borrower for opening in bed36.openings]
    sick = await below_one(bed36, borrowers)
    async with FaultProxy(bed36.url, PLAIN) as proxy:
        kept.rpc_url = with_key(proxy.url)
        await _once(kept, live=True)
        assert proxy.counts["eth_simulateV1"] <= 5
    [told] = kept.events("endpoint")
    assert (told.fields["archive"], told.fields["batches"], told.fields["simulates"]) == (False, False, False)
    for way in ("one by one", "checked at the head", "eth_call with state overrides"):
        assert way in told.fields["detail"]
    restored = {row.borrower for row in kept.events("restored")}
    assert len(restored) >= 3
    assert not kept.events("not_restored", "reverted", "alert")
    left = {to_hex(borrower) for borrower in await below_one(bed36, borrowers)}
    assert {to_hex(borrower) for borrower in sick} - left == restored
    assert_kept(kept)


async def test_simulations_go_to_the_provider_that_offers_them(bed36: Bed, tmp_path: Path) -> None:
    kept = await keeping(bed36, tmp_path)
    await _fall(bed36)
    async with FaultProxy(bed36.url, PLAIN) as plain, FaultProxy(bed36.url) as able:
        kept.chain["rpc_url"] = [with_key(plain.url), with_key(able.url)]
        assert await _once(kept) == WORK_LEFT
        # Not again, once it is known.
        assert plain.counts["eth_simulateV1"] <= 2 < able.counts["eth_simulateV1"]
    assert f"simulations go to {able.url}" in kept.events("endpoint")[0].fields["detail"]
    assert kept.events("sent")
    assert_kept(kept)


# -- what they say differently -------------------------------------------------------------------------------------------
def _lies_about(method: str, where: str) -> Callable[[str, list[Any], dict[str, Any]], dict[str, Any]]:
    """Every word of a simulated call's answer is one more than it should be."""

    def rewrite(asked: str, _: list[Any], answer: dict[str, Any]) -> dict[str, Any]:
        if asked != method or "result" not in answer:
            return answer
        for block in answer["result"]:
            for call in block["calls"]:
                if len(call[where]) == 66:
                    call[where] = f"0x{int(call[where], 16) + 1:064x}"
        return answer

    return rewrite


async def test_nothing_is_sent_that_two_providers_do_not_agree_on(bed36: Bed, tmp_path: Path) -> None:
    kept = await keeping(bed36, tmp_path, funded=True)
    kept.tables["rpc"] = {"poll_s": 0.05, "timeout_s": 2, "agreement": 2}
    async with FaultProxy(bed36.url) as honest, FaultProxy(bed36.url) as liar:
        kept.chain["rpc_url"] = [with_key(honest.url), elsewhere(liar)]
        assert await _once(kept, live=True) == DONE
        await bed36.chain.rpc.request("evm_setIntervalMining", [1])
        await _fall(bed36)
        honest.counts.clear()
        liar.on_answer = _lies_about("eth_simulateV1", "returnData")
        await _once(kept, live=True)
        honest.assert_none("eth_sendRaw")
        liar.assert_none("eth_sendRaw")
        refused = kept.events("refused")
        told = [row for row in refused if row.fields["reason"] == "nodes_disagree"]
        assert len(told) >= 3
        for row in told:
            assert honest.url in row.fields["detail"]
            assert liar.url.replace("127.0.0.1", "localhost") in row.fields["detail"]
        assert not kept.events("decided", "sent")
        # As soon as they agree, the same borrowers are restored.
        liar.on_answer = None
        await _once(kept, live=True)
        assert honest.counts["eth_simulateV1"] > 0
    restored = {row.borrower for row in kept.events("restored")}
    assert restored >= {row.borrower for row in told}
    assert_kept(kept)


# -- when all lie alike --------------------------------------------------------------------------------------------------
def _replaced(true_word: int, said_word: int) -> Callable[[str, list[Any], dict[str, Any]], dict[str, Any]]:
    """Wherever a read returns this word, simulated or not, another one stands."""
    true_hex, said_hex = f"{true_word:064x}", f"{said_word:064x}"

    def rewrite(method: str, _: list[Any], answer: dict[str, Any]) -> dict[str, Any]:
        if method not in ("eth_call", "eth_simulateV1"):
            return answer
        lie: dict[str, Any] = json.loads(json.dumps(answer).replace(true_hex, said_hex))
        return lie

    return rewrite


async def test_a_price_that_all_lie_about_does_not_fit_the_health_that_they_tell(bed36: Bed, tmp_path: Path) -> None:
    """The oracle's answer is falsified everywhere. What the contract makes of the true one gives the lie away."""
    kept = await keeping(bed36, tmp_path)
    true_base = await bed36.price_base("WETH")
    async with FaultProxy(bed36.url) as one, FaultProxy(bed36.url) as two:
        one.on_answer = two.on_answer = _replaced(true_base, true_base * 80 // 100)
        kept.chain["rpc_url"] = [with_key(one.url), elsewhere(two)]
        with pytest.raises(MarketError, match="no known rules recompute"):
            await _once(kept)
        one.assert_none("eth_send")
        two.assert_none("eth_send")
    [refused] = kept.events("market_refused")
    assert "health of 0x" in refused.fields["detail"]
    assert not kept.events("decided")
    assert_kept(kept)


async def test_a_price_that_turns_false_after_the_start_finds_nobody_to_sell(bed36: Bed, tmp_path: Path) -> None:
    """The book was verified with the true price; only then all lie, in what the oracle is asked alone. Some look sick
    then, but the simulation, in which the pool asks the oracle itself, does not bear that out."""
    kept = await keeping(bed36, tmp_path, funded=True)
    true_base = await bed36.price_base("WETH")
    async with FaultProxy(bed36.url) as one, FaultProxy(bed36.url) as two:
        kept.chain["rpc_url"] = [with_key(one.url), elsewhere(two)]
        kept.tables["rpc"] = {"poll_s": 0.05, "timeout_s": 2, "agreement": 2}
        assert await _once(kept, live=True) == DONE
        await bed36.chain.rpc.request("evm_setIntervalMining", [1])
        for proxy in (one, two):
            proxy.counts.clear()
        async with inside(kept, live=True):
            await kept.until("caught_up", count=2)
            one.on_answer = two.on_answer = _replaced(true_base, true_base * 88 // 100)
            await kept.until("seen", count=3)
            first_block = await bed36.chain.block_number()
            await happens(lambda: kept.judged_block() >= first_block + 2)
        for proxy in (one, two):
            proxy.assert_none("eth_sendRaw")
    reasons = {str(row.fields["reason"]) for row in kept.events("refused")}
    assert reasons & {"simulation_reverted", "market_unverified"}
    # The lie may begin between two reads of one head.
    assert reasons <= {"simulation_reverted", "market_unverified", "healthy_now"}
    assert not kept.events("decided", "sent")
    assert_kept(kept)


FEED_ANSWER_SLOT = 2


def _elsewhere_true(feed: str, answer_base: int) -> Callable[[str, list[Any]], None]:
    """The node answers as in a world in which the feed's storage holds another answer, whatever it is asked: nothing in what it
    tells contradicts itself, simulations included. Blocks and logs are the true ones."""
    lie = {"stateDiff": {f"0x{FEED_ANSWER_SLOT:064x}": f"0x{answer_base:064x}"}}

    def ask_there(method: str, params: list[Any]) -> None:
        if method == "eth_simulateV1":
            params[0]["blockStateCalls"][0].setdefault("stateOverrides", {})[feed] = lie
        elif method == "eth_call":
            params += ["latest", {}][len(params) - 1 :]
            params[2][feed] = lie

    return ask_there


async def test_of_liars_whose_world_fits_together_the_journal_holds_what_was_believed(
    bed36: Bed, tmp_path: Path
) -> None:
    """All tell one false price in every method: oracle, health, totals and simulation agree, and so do the providers. No check
    can tell it from the truth. What was decided can be judged afterwards: it names the block and the price believed there."""
    kept = await keeping(bed36, tmp_path)
    weth, feed = to_hex(bed36.asset("WETH").token), to_hex(bed36.asset("WETH").feed)
    true_base = await bed36.price_base("WETH")
    stored = await bed36.chain.rpc.request("eth_getStorageAt", [feed, hex(FEED_ANSWER_SLOT), "latest"])
    assert int(stored, 16) == true_base
    said_base = true_base * 88 // 100
    borrowers = [opening.borrower for opening in bed36.openings]
    truly_sick = {to_hex(borrower) for borrower in await below_one(bed36, borrowers)}
    async with FaultProxy(bed36.url) as one, FaultProxy(bed36.url) as two:
        one.on_request = two.on_request = _elsewhere_true(feed, said_base)
        kept.chain["rpc_url"] = [with_key(one.url), elsewhere(two)]
        kept.tables["rpc"] = {"poll_s": 0.05, "timeout_s": 20, "agreement": 2}
        assert await _once(kept) == WORK_LEFT
        assert one.counts["eth_simulateV1"] and two.counts["eth_simulateV1"], "both were asked, and agreed"
    assert not kept.events("mismatch", "market_refused")
    deceived = [row for row in kept.events("decided") if row.borrower not in truly_sick]
    assert len(deceived) >= 3
    for row in deceived:
        assert row.block_number is not None
        block = await bed36.chain.rpc.request("eth_getBlockByNumber", [hex(row.block_number), False])
        assert row.fields["block_hash"] == block["hash"]
        believed = {entry["asset"].lower(): int(entry["price_base"]) for entry in row.fields["prices"]}
        assert set(believed) >= {call["debt_asset"].lower() for call in row.fields["calls"]}
        symbols = {to_hex(bed36.asset(symbol).token).lower(): symbol for symbol in bed36.deployment.symbols}
        false = {asset for asset, base in believed.items() if base != await bed36.price_base(symbols[asset])}
        assert false and false <= {weth.lower(), to_hex(bed36.asset("wstETH").token).lower()}
        if weth.lower() in believed:
            assert believed[weth.lower()] == said_base
    assert any(weth.lower() in str(row.fields["prices"]).lower() for row in deceived)


async def test_a_false_price_that_simulations_do_not_share_is_caught_by_their_disagreement(
    bed36: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same world in all reads, but the true one in simulations: the price read as of the window's end gives it away."""
    monkeypatch.setattr(supervise, "FIRST_PAUSE_S", 0.01)
    kept = await keeping(bed36, tmp_path)
    feed = to_hex(bed36.asset("WETH").feed)
    everywhere = _elsewhere_true(feed, await bed36.price_base("WETH") * 88 // 100)

    def but_simulations(method: str, params: list[Any]) -> None:
        if method != "eth_simulateV1":
            everywhere(method, params)

    async with FaultProxy(bed36.url) as one, FaultProxy(bed36.url) as two:
        one.on_request = two.on_request = but_simulations
        kept.chain["rpc_url"] = [with_key(one.url), elsewhere(two)]
        kept.tables["rpc"] = {"poll_s": 0.05, "timeout_s": 20}
        with pytest.raises(NodesDisagree, match="with no transaction in between: one of the two is false"):
            await _once(kept)
    assert not kept.events("decided", "sent")
