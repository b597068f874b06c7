"""The fork: orders really execute there, nothing changes on the chain it was forked from."""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from keeper.chain.jsonrpc import JsonRpc
from keeper.chain.origin import Origin
from keeper.core.block import BlockRef
from keeper.core.errors import BlockUnavailable, ConfigError, KeeperError
from keeper.core.order import Order, Outcome, Simulation
from keeper.core.units import Hash32, to_hex
from keeper.devnet.anvil import AnvilOptions, install_anvil, running_anvil
from keeper.devnet.market import Bed
from keeper.execution.fork import ForkSubmitter, Launch
from keeper.execution.funding import DealtFunding
from keeper.execution.live import LiveSubmitter, may_go_live
from keeper.execution.sender import Sender
from keeper.execution.simulate import NodeSimulator
from keeper.execution.slots import SlotFinder
from keeper.store.store import Store
from tests.execution.rig import KEEPER, WINDOW_S, Rig, rigged
from tests.faults import FaultProxy
from tests.submitting import submit


def launching(url: str) -> Launch:
    binary = install_anvil()
    return lambda head: running_anvil(binary, AnvilOptions(fork_url=url, fork_block_number=head.number))


@asynccontextmanager
async def forking(rig: Rig, upstream_url: str) -> AsyncIterator[tuple[ForkSubmitter, NodeSimulator]]:
    dealt = DealtFunding(SlotFinder(rig.rpc), KEEPER)
    async with ForkSubmitter(
        launching(upstream_url), JsonRpc, Origin(upstream_url).shown, dealt, rig.markets
    ) as submitter:
        yield submitter, NodeSimulator(rig.rpc, rig.markets, dealt)


async def simulated(rig: Rig, simulator: NodeSimulator, orders: list[Order]) -> list[tuple[Order, Simulation]]:
    head = await rig.head()
    results = await simulator.simulate(orders, head, head.timestamp_s + WINDOW_S)
    passed = [(order, result) for order, result in zip(orders, results, strict=True) if isinstance(result, Simulation)]
    assert len(passed) == len(orders)
    return passed


async def fingerprint(bed: Bed) -> Any:
    """All that could change on a chain: its head (and with it every balance and nonce), its mempool, its state."""
    return [
        await bed.chain.rpc.request("eth_getBlockByNumber", ["latest", True]),
        await bed.chain.rpc.request("txpool_content", []),
        await bed.chain.rpc.request("anvil_dumpState", []),
    ]


def realised(outcome: Outcome) -> dict[str, Any]:
    """What an outcome measured, without the names of the transactions and blocks that did it."""
    return {
        "liquidations": [replace(event, log_index=0) for event in outcome.liquidations],
        "health": (outcome.health_before_wad, outcome.health_planned_wad, outcome.health_after_wad, outcome.target_wad),
        "checks": (outcome.model_error_wad, outcome.amounts_match, outcome.disturbed, outcome.restored),
        "gas": [call.gas_used for call in outcome.mined],
        "times": [call.block.timestamp_s for call in outcome.mined],
        "revenue": outcome.profit and (outcome.profit.received_base, outcome.profit.repaid_base),
    }


async def test_orders_execute_on_the_fork_and_the_base_does_not_notice(bed: Bed) -> None:
    async with FaultProxy(bed.url) as proxy, rigged(bed, proxy.url) as rig:
        await rig.crash()
        async with forking(rig, proxy.url) as (submitter, simulator):
            ready = await simulated(rig, simulator, await rig.orders(KEEPER))
            before, head = await fingerprint(bed), await rig.head()
            submissions = [await submit(submitter, order, simulation, head) for order, simulation in ready]
            outcomes = [await submitter.settle(submission, head) for submission in submissions]
            assert await fingerprint(bed) == before
        assert len(outcomes) >= 3
        for (order, _), outcome in zip(ready, outcomes, strict=True):
            assert outcome is not None
            assert (outcome.restored, outcome.model_error_wad, outcome.amounts_match) == (True, 0, True), outcome
            assert outcome.profit is not None
            assert outcome.detail == "executed on a fork"
            window = order.plan.window
            assert all(window.earliest_s <= call.block.timestamp_s <= window.latest_s for call in outcome.mined)
        assert len({call.block.hash for outcome in outcomes if outcome for call in outcome.mined}) == 1
        for prefix in ("eth_send", "anvil_", "evm_", "hardhat_"):
            proxy.assert_none(prefix)


async def test_the_figures_are_those_of_a_live_run(bed: Bed, tmp_path: Path) -> None:
    """The same orders, first on a fork of the bed and then on the bed itself, in blocks of the same time."""
    async with rigged(bed) as rig, Store.open(tmp_path / "keeper.db") as store:
        await rig.fund(KEEPER)
        await rig.crash()
        async with forking(rig, bed.url) as (submitter, simulator):
            ready = await simulated(rig, simulator, await rig.orders(KEEPER, most=3))
            head = await rig.head()
            forked = [await submit(submitter, order, simulation, head) for order, simulation in ready]
            on_fork = [await submitter.settle(submission, head) for submission in forked]
        chain_id = bed.deployment.chain_id
        permit = may_go_live(chain_id, is_testnet_preset=False, node_is_anvil_devnet=True)
        live = LiveSubmitter(permit, Sender(rig.rpc, rig.signer(tmp_path), store, chain_id), rig.reconciler)
        await live.start(head)
        await bed.chain.rpc.request("evm_setAutomine", [False])
        sent = [await submit(live, order, simulation, head) for order, simulation in ready]
        assert on_fork[0] is not None
        mined_at_s = on_fork[0].mined[0].block.timestamp_s
        await bed.chain.rpc.request("evm_setNextBlockTimestamp", [mined_at_s])
        await bed.chain.rpc.request("evm_mine", [])
        on_chain = [await live.settle(submission, await rig.head()) for submission in sent]
        assert [realised(outcome) for outcome in on_fork if outcome] == [
            realised(outcome) for outcome in on_chain if outcome
        ]
        assert len([outcome for outcome in on_chain if outcome]) == 3


async def test_the_next_head_is_forked_anew_and_nothing_told_is_lost(bed36: Bed) -> None:
    async with rigged(bed36) as rig:
        await rig.crash()
        async with forking(rig, bed36.url) as (submitter, simulator):
            [(order, simulation), *_] = await simulated(rig, simulator, await rig.orders(KEEPER))
            first_head = await rig.head()
            first = await submit(submitter, order, simulation, first_head)
            await bed36.chain.mine(1, seconds=12)
            [again] = [each for each in await rig.orders(KEEPER) if each.borrower == order.borrower]
            [(again, simulation)] = await simulated(rig, simulator, [again])
            second_head = await rig.head()
            second = await submit(submitter, again, simulation, second_head)
            outcomes = [await submitter.settle(each, second_head) for each in (first, second)]
            assert [outcome.mined[0].block.number for outcome in outcomes if outcome] == [
                first_head.number + 1,
                second_head.number + 1,
            ]
            assert all(outcome is not None and outcome.restored for outcome in outcomes)


async def test_an_order_that_reverts_on_the_fork_says_why(bed36: Bed) -> None:
    async with rigged(bed36) as rig:
        await rig.crash()
        async with forking(rig, bed36.url) as (submitter, simulator):
            [(order, simulation), *_] = await simulated(rig, simulator, await rig.orders(KEEPER))
            head = await rig.head()
            again = replace(order, attempt="again")
            first = await submit(submitter, order, simulation, head)
            second = await submit(submitter, again, simulation, head)
            outcomes = [await submitter.settle(each, head) for each in (first, second)]
            assert outcomes[1] is not None
            assert outcomes[1].mined[0].revert == "HealthFactorNotBelowThreshold"
            assert outcomes[1].detail == "executed on a fork; call 1 reverted: HealthFactorNotBelowThreshold"
            assert outcomes[0] is not None
            assert outcomes[0].mined[0].succeeded


async def test_a_head_that_is_not_on_the_chain_any_more_is_not_rehearsed(bed36: Bed) -> None:
    async with rigged(bed36) as rig:
        await rig.crash()
        async with forking(rig, bed36.url) as (submitter, simulator):
            [(order, simulation), *_] = await simulated(rig, simulator, await rig.orders(KEEPER))
            gone = replace(await rig.head(), hash=Hash32(b"\x13" * 32))
            with pytest.raises(BlockUnavailable):
                await submit(submitter, order, simulation, gone)
            head = await rig.head()
            submission = await submit(submitter, order, simulation, head)
            outcome = await submitter.settle(submission, head)
            assert outcome is not None
            assert outcome.restored


async def test_a_fork_that_died_is_told_and_replaced(bed36: Bed) -> None:
    async with rigged(bed36) as rig:
        await rig.crash()
        async with forking(rig, bed36.url) as (submitter, simulator):
            [(order, simulation), *_] = await simulated(rig, simulator, await rig.orders(KEEPER))
            head = await rig.head()
            submission = await submit(submitter, order, simulation, head)
            await submitter._end()
            outcome = await submitter.settle(submission, head)
            assert outcome is not None
            assert (outcome.restored, outcome.mined, outcome.detail) == (False, (), "its fork is gone")
            again = await submitter.settle(await submit(submitter, order, simulation, head), head)
            assert again is not None
            assert again.restored


@dataclass(frozen=True)
class Elsewhere:
    """What claims to be the fork."""

    url: str


@pytest.mark.parametrize("answers_node_info, host", [(False, "127.0.0.1"), (True, "public.example.org")])
async def test_only_a_loopback_anvil_is_written_to(bed36: Bed, answers_node_info: bool, host: str) -> None:
    async with FaultProxy(bed36.url) as proxy, rigged(bed36) as rig:
        if not answers_node_info:
            proxy.manners.errors["anvil_nodeInfo"] = {"code": -32601, "message": "method not found"}
        await rig.crash()
        claimed = proxy.url.replace("127.0.0.1", host)

        @asynccontextmanager
        async def launch(head: BlockRef) -> AsyncIterator[Elsewhere]:
            yield Elsewhere(claimed)

        dealt = DealtFunding(SlotFinder(rig.rpc), KEEPER)
        before = await fingerprint(bed36)
        async with ForkSubmitter(launch, lambda url: JsonRpc(proxy.url), str, dealt, rig.markets) as submitter:
            [order, *_] = await rig.orders(KEEPER)
            with pytest.raises(ConfigError, match="no anvil on this machine"):
                await submit(submitter, order, Simulation((), 0), await rig.head())
        assert set(proxy.counts) <= {"anvil_nodeInfo"}
        assert await fingerprint(bed36) == before


async def test_the_rehearsers_balance_on_the_base_stays_empty(bed36: Bed) -> None:
    async with rigged(bed36) as rig:
        await rig.crash()
        async with forking(rig, bed36.url) as (submitter, simulator):
            [(order, simulation), *_] = await simulated(rig, simulator, await rig.orders(KEEPER))
            head = await rig.head()
            await submitter.settle(await submit(submitter, order, simulation, head), head)
        assert await rig.rpc.request("eth_getBalance", [to_hex(KEEPER), "latest"]) == "0x0"
        assert await rig.rpc.request("eth_getTransactionCount", [to_hex(KEEPER), "latest"]) == "0x0"


async def test_the_upstream_url_stays_out_of_every_error(bed36: Bed) -> None:
    """The fork quotes the URL that it cannot reach; with it would go the key in its path."""
    key = "s3cr3t-k3y-1234567890"
    async with rigged(bed36) as rig, FaultProxy(bed36.url) as proxy:
        await rig.crash()
        async with forking(rig, f"{proxy.url}/v2/{key}") as (submitter, simulator):
            ready = await simulated(rig, simulator, await rig.orders(KEEPER))
            head = await rig.head()
            await submitter.settle(await submit(submitter, *ready[0], head), head)
            proxy.on_request = lambda method, params: {"error": {"code": -32000, "message": f"no /v2/{key} for you"}}
            texts = []
            try:
                submission = await submit(submitter, *ready[-1], head)
                texts += [sent.detail for sent in submission.transactions]
                outcome = await submitter.settle(submission, head)
                texts.append(outcome.detail if outcome else "")
            except KeeperError as error:
                texts += ["".join(traceback.format_exception(error)), str(error)]
        assert any("***" in text for text in texts), texts
        assert [text for text in texts if key in text] == []
