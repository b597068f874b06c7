"""Simulation without `eth_simulateV1`, on the real contracts: held against the one with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from keeper.core.order import Order, Simulation
from keeper.core.outcome import Reason, Skip
from keeper.devnet.market import Bed
from keeper.execution.by_call import CallSimulator
from keeper.execution.simulate import NodeSimulator
from tests.execution.rig import KEEPER, REFUSALS, REHEARSER, WINDOW_S, Rig, rigged
from tests.faults import FaultProxy, Override


def dry(rig: Rig) -> CallSimulator:
    return CallSimulator(rig.rpc, rig.markets, rig.dealt())


def _amounts(simulation: Simulation) -> list[tuple[int, int]]:
    return [(event.repaid_raw, event.received_raw) for call in simulation.calls for event in call.liquidations]


async def test_it_measures_what_the_other_simulation_measures(bed: Bed) -> None:
    async with FaultProxy(bed.url) as proxy, rigged(bed, proxy.url) as rig:
        await rig.crash()
        orders = await rig.orders(REHEARSER)
        head = await rig.head()
        latest_s = head.timestamp_s + WINDOW_S
        ours = await dry(rig).simulate(orders, head, latest_s)
        proxy.assert_none("eth_simulate")
        assert len(orders) >= 3
        alone = NodeSimulator(rig.rpc, rig.markets, rig.dealt())
        for order, found in zip(orders, ours, strict=True):
            [other] = await alone.simulate([order], head, latest_s)
            assert isinstance(other, Simulation)
            assert isinstance(found, Simulation), found
            assert _amounts(found) == _amounts(other)
            assert _amounts(found) == [
                (call.at_latest.repaid_raw, call.at_latest.received_raw) for call in order.plan.calls
            ]
            assert found.health_factor_after_wad == other.health_factor_after_wad
            assert found.gained_raw == other.gained_raw
            for mine, theirs in zip(found.calls, other.calls, strict=True):
                # Never less than it will cost, and not so much more that it would spoil a profit.
                assert theirs.gas_used <= mine.gas_used <= 1.5 * theirs.gas_used + 50_000
        assert await rig.head() == head
        for prefix in ("eth_send", "anvil_", "evm_"):
            proxy.assert_none(prefix)


async def test_what_reverts_is_a_reason(bed: Bed) -> None:
    async with rigged(bed) as rig:
        await rig.crash()
        orders = await rig.orders(REHEARSER)
        head = await rig.head()
        results = await dry(rig).simulate([rig.refused_order(orders), orders[0]], head, head.timestamp_s + WINDOW_S)
        assert isinstance(results[0], Skip)
        assert results[0].reason is Reason.SIMULATION_REVERTED
        assert results[0].detail in REFUSALS
        assert isinstance(results[1], Simulation)


async def test_the_real_money_is_what_counts_live(bed36: Bed) -> None:
    async with rigged(bed36) as rig:
        await rig.crash()
        simulator = CallSimulator(rig.rpc, rig.markets)
        [order] = await rig.orders(KEEPER, most=1)
        head = await rig.head()
        [poor] = await simulator.simulate([order], head, head.timestamp_s + WINDOW_S)
        assert isinstance(poor, Skip)
        assert poor.reason is Reason.SIMULATION_REVERTED
        await rig.fund(KEEPER)
        [order] = await rig.orders(KEEPER, most=1)
        head = await rig.head()
        [rich] = await simulator.simulate([order], head, head.timestamp_s + WINDOW_S)
        assert isinstance(rich, Simulation)


def _time_ignored(method: str, params: list[Any]) -> None:
    if method == "eth_call" and len(params) == 4:
        params.pop()


def _code_ignored(method: str, params: list[Any]) -> None:
    if method == "eth_call" and len(params) == 4:
        del params[2:]


def _refused(method: str, params: list[Any]) -> dict[str, Any] | None:
    if method == "eth_call" and len(params) == 4:
        return {"error": {"code": -32602, "message": "too many arguments, want at most 2"}}
    return None


async def test_a_node_that_cannot_try_them_says_so(bed36: Bed) -> None:
    manners: list[tuple[Override, str]] = [
        (_time_ignored, "not at the time asked for"),
        (_code_ignored, "does not put code"),
        (_refused, "cannot try it"),
    ]
    async with FaultProxy(bed36.url) as proxy, rigged(bed36, proxy.url) as rig:
        await rig.crash()
        [order] = await rig.orders(REHEARSER, most=1)
        head = await rig.head()
        for manner, told in manners:
            proxy.on_request = manner
            [skip] = await dry(rig).simulate([order], head, head.timestamp_s + WINDOW_S)
            assert isinstance(skip, Skip)
            assert (skip.reason, skip.verdict) == (Reason.CANNOT_SIMULATE, order.plan.verdict)
            assert told in skip.detail


async def test_one_asset_on_both_sides_cannot_be_measured(bed36: Bed) -> None:
    async with rigged(bed36) as rig:
        await rig.crash()
        [order] = await rig.orders(REHEARSER, most=1)
        head = await rig.head()
        [skip] = await dry(rig).simulate([_one_asset(order)], head, head.timestamp_s + WINDOW_S)
        assert isinstance(skip, Skip)
        assert skip.reason is Reason.CANNOT_SIMULATE


def _one_asset(order: Order) -> Order:
    [call, *others] = order.plan.calls
    pair = replace(call.pair, collateral_asset=call.pair.debt_asset)
    plan = replace(order.plan, calls=(replace(call, pair=pair), *others))
    return replace(order, offer=replace(order.offer, plan=plan))
