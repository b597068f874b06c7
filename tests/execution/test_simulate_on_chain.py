"""Simulation of the exact calls, on the real contracts."""

from __future__ import annotations

from dataclasses import replace

from keeper.core.block import Call
from keeper.core.order import Simulation
from keeper.core.outcome import Reason, Skip
from keeper.core.units import to_hex
from keeper.devnet.chain import salted_address
from keeper.devnet.market import Bed
from keeper.execution.simulate import MAX_ROUNDS, NodeSimulator
from tests.execution.rig import KEEPER, REFUSALS, REHEARSER, WINDOW_S, Rig, rigged
from tests.faults import FaultProxy


def dry(rig: Rig) -> NodeSimulator:
    return NodeSimulator(rig.rpc, rig.markets, rig.dealt())


async def test_the_orders_of_a_head_are_simulated_as_planned_and_change_nothing(bed: Bed) -> None:
    async with FaultProxy(bed.url) as proxy, rigged(bed, proxy.url) as rig:
        await rig.crash()
        orders = await rig.orders(REHEARSER)
        assert len(orders) >= 3
        head = await rig.head()
        results = await dry(rig).simulate(orders, head, head.timestamp_s + WINDOW_S)
        for order, result in zip(orders, results, strict=True):
            assert isinstance(result, Simulation), result
            planned = [(call.at_latest.repaid_raw, call.at_latest.received_raw) for call in order.plan.calls]
            measured = [(event.repaid_raw, event.received_raw) for call in result.calls for event in call.liquidations]
            assert measured == planned
            assert result.health_factor_after_wad == order.plan.calls[-1].at_latest.health_after.health_factor_wad
            assert all(100_000 < call.gas_used < 1_500_000 for call in result.calls)
        assert await rig.head() == head
        assert proxy.counts["eth_simulateV1"] == 1
        for prefix in ("eth_send", "anvil_", "evm_"):
            proxy.assert_none(prefix)


async def test_an_order_that_reverts_leaves_the_others_alone(bed: Bed) -> None:
    async with rigged(bed) as rig:
        await rig.crash()
        orders = await rig.orders(REHEARSER)
        head = await rig.head()
        results = await dry(rig).simulate([rig.refused_order(orders), *orders[:2]], head, head.timestamp_s + WINDOW_S)
        assert isinstance(results[0], Skip)
        assert results[0].reason is Reason.SIMULATION_REVERTED
        assert results[0].detail in REFUSALS
        assert isinstance(results[1], Simulation)
        assert isinstance(results[2], Simulation)


async def test_an_order_that_fails_halfway_leaves_nothing_behind(bed: Bed) -> None:
    """Its first call would restore the borrower; the order after it is for the same one, and must see it unrestored."""
    async with rigged(bed) as rig:
        await rig.crash()
        order, other, *_ = await rig.orders(REHEARSER)
        halfway = replace(
            order, attempt="halfway", calls=(order.calls[0], order.calls[0]), gas_limits=order.gas_limits[:1] * 2
        )
        head = await rig.head()
        results = await dry(rig).simulate([other, halfway, order], head, head.timestamp_s + WINDOW_S)
        assert isinstance(results[0], Simulation)
        assert isinstance(results[1], Skip)
        assert results[1].reason is Reason.SIMULATION_REVERTED
        assert results[1].detail.endswith("(call 2 of 2)")
        assert isinstance(results[2], Simulation), results[2]
        assert results[2].health_factor_after_wad == order.plan.calls[-1].at_latest.health_after.health_factor_wad


async def test_too_many_halfway_orders_end_in_a_reason_not_in_endless_requests(bed36: Bed) -> None:
    async with FaultProxy(bed36.url) as proxy, rigged(bed36, proxy.url) as rig:
        await rig.crash()
        [order, *_] = [each for each in await rig.orders(REHEARSER) if len(each.calls) == 1]
        twice = replace(order, calls=order.calls * 2, gas_limits=order.gas_limits * 2)
        doubled = [replace(twice, attempt=f"halfway {place}") for place in range(MAX_ROUNDS + 3)]
        head = await rig.head()
        results = await dry(rig).simulate(doubled, head, head.timestamp_s + WINDOW_S)
        reasons = [result.reason for result in results if isinstance(result, Skip)]
        assert reasons == [Reason.SIMULATION_REVERTED] * MAX_ROUNDS + [Reason.CANNOT_SIMULATE] * 3
        assert proxy.counts["eth_simulateV1"] == MAX_ROUNDS


async def test_live_simulates_with_the_real_money(bed36: Bed) -> None:
    async with rigged(bed36) as rig:
        await rig.crash()
        simulator = NodeSimulator(rig.rpc, rig.markets)
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


async def test_what_cannot_be_dealt_or_simulated_is_a_reason(bed36: Bed) -> None:
    async with FaultProxy(bed36.url) as proxy, rigged(bed36, proxy.url) as rig:
        await rig.crash()
        [order] = await rig.orders(REHEARSER, most=1)
        head = await rig.head()
        proxy.manners.errors["eth_createAccessList"] = {"code": -32601, "message": "method not found"}
        [undealt] = await dry(rig).simulate([order], head, head.timestamp_s + WINDOW_S)
        assert isinstance(undealt, Skip)
        assert (undealt.reason, undealt.verdict) == (Reason.CANNOT_SIMULATE, order.plan.verdict)
        assert to_hex(order.plan.calls[0].pair.debt_asset) in undealt.detail
        proxy.manners.errors.clear()
        for code, message in ((-32601, "the method eth_simulateV1 does not exist/is not available"), (-38014, "no")):
            proxy.manners.errors["eth_simulateV1"] = {"code": code, "message": message}
            [unsimulated] = await dry(rig).simulate([order], head, head.timestamp_s + WINDOW_S)
            assert isinstance(unsimulated, Skip)
            assert unsimulated.reason is Reason.CANNOT_SIMULATE
        proxy.assert_none("eth_send")


async def test_more_orders_than_a_block_holds_share_a_raised_gas_limit(bed36: Bed) -> None:
    async with rigged(bed36) as rig:
        await rig.crash()
        orders = [
            replace(order, offer=replace(order.offer, gas=(4_000_000,) * len(order.calls)))
            for order in await rig.orders(REHEARSER, most=8)
        ]
        head = await rig.head()
        assert sum(sum(order.offer.gas) for order in orders) > head.gas_limit
        results = await dry(rig).simulate(orders, head, head.timestamp_s + WINDOW_S)
        assert all(isinstance(result, Simulation) for result in results)


async def test_a_call_to_nowhere_is_no_liquidation(bed36: Bed) -> None:
    """Calls that succeed without doing anything are measured as what they are: nothing repaid, no health gained."""
    async with rigged(bed36) as rig:
        await rig.crash()
        [order] = await rig.orders(REHEARSER, most=1)
        idle = replace(order, calls=(Call(REHEARSER, b""),) * len(order.calls))
        head = await rig.head()
        [result] = await dry(rig).simulate([idle], head, head.timestamp_s + WINDOW_S)
        assert isinstance(result, Simulation)
        assert [call.liquidations for call in result.calls] == [()] * len(order.calls)
        assert result.health_factor_after_wad < order.plan.target_wad


async def test_orders_of_two_signers_are_simulated_together_each_from_its_own_account(bed: Bed) -> None:
    """The second signer's order runs on top of the first's, and with its own money alone."""
    other = salted_address("other signer")
    async with FaultProxy(bed.url) as proxy, rigged(bed, proxy.url) as rig:
        await rig.fund(KEEPER)
        await rig.crash()
        first, second, third, *_ = [each for each in await rig.orders(KEEPER) if len(each.calls) == 1]
        second, again = replace(second, signer=other), replace(first, signer=other, attempt="again")
        simulator, head = NodeSimulator(rig.rpc, rig.markets), await rig.head()
        latest_s = head.timestamp_s + WINDOW_S
        served, poor, beside = await simulator.simulate([first, second, third], head, latest_s)
        assert isinstance(served, Simulation) and isinstance(beside, Simulation)
        assert isinstance(poor, Skip) and poor.reason is Reason.SIMULATION_REVERTED
        assert proxy.counts["eth_simulateV1"] == 1
        await rig.fund(other)
        head = await rig.head()
        on_top = await simulator.simulate([second, again], head, head.timestamp_s + WINDOW_S, [first])
        assert isinstance(on_top[0], Simulation)
        [event] = on_top[0].calls[0].liquidations
        assert event.liquidator == other
        assert isinstance(on_top[1], Skip) and on_top[1].detail in REFUSALS, "the first signer's order restored it"
        assert proxy.counts["eth_simulateV1"] == 2
