"""Simulation without `eth_simulateV1`: the exact calls of one order in one `eth_call`, by code put under our own address.

What is measured is what counts: the balances before and after every call and the borrower's health at the end, at the
block pinned to and at the time asked for, so the plan is held against it to the wei as ever. What is weaker:

* Each order is tried by itself, so it does not see what the head's other orders do to the pool's liquidity.
* There are no logs: amounts are what our balances lost and gained. A pair of one and the same asset cannot be told apart
  by that, and is refused.
* Gas is measured inside of one call, where what came before has warmed what a transaction would find cold. A margin is
  added for our reads, and a call never counts less than those before it, or than the adapter's own estimate.
* While it is tried our address has code. Who treats contracts differently from plain accounts may answer differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from keeper.core.block import BlockRef, Call, CallResult
from keeper.core.errors import MalformedResponse, MethodUnavailable, NodesDisagree, RpcFailure
from keeper.core.hexdata import decode_bytes
from keeper.core.lending import LiquidationEvent
from keeper.core.order import Order, SimulatedCall, Simulation
from keeper.core.outcome import Reason, Skip
from keeper.core.plan import PlannedCall
from keeper.core.units import Address, to_hex
from keeper.execution.funding import Dealt, DealtFunding, needs_of
from keeper.execution.markets import Markets, market_of
from keeper.execution.rpc import Rpc
from keeper.execution.runner import RunCall, RunResult, decode_run, runner_calldata, runner_code
from keeper.execution.simulate import HEALTH_READ_GAS, state_overrides
from keeper.execution.tokens import encode_balance_of
from keeper.execution.wire import pinned

BALANCE_READ_GAS = 300_000
TRANSACTION_GAS = 21_000
CALLDATA_BYTE_GAS = 40
"""At most, for a byte that is not 0 (EIP-7623)."""
WARMTH_GAS = 25_000
"""What our own reads before a call may have warmed: two balances behind proxies, and the called contract itself."""


@dataclass(frozen=True, slots=True)
class CallSimulator:
    """`keeper.ports.Simulator` over a node that can only call. `dealt` is as for `NodeSimulator`."""

    rpc: Rpc
    markets: Markets
    dealt: DealtFunding | None = None

    async def simulate(
        self, orders: Sequence[Order], block: BlockRef, timestamp_s: int, before: Sequence[Order] = ()
    ) -> Sequence[Simulation | Skip]:
        """One answer per order. Raises `ChainError` when the node is unwell; a node that cannot try them is a skip."""
        dealt = Dealt((), frozenset())
        if self.dealt is not None:
            dealt = await self.dealt.deal(needs_of(orders), block)
        return [await self._simulate(order, block, timestamp_s, dealt) for order in orders]

    async def _simulate(self, order: Order, block: BlockRef, timestamp_s: int, dealt: Dealt) -> Simulation | Skip:
        refusal = _untriable(order, dealt)
        if refusal is not None:
            return _cannot(order, refusal)
        run = self._run_of(order)
        try:
            answer = await self.rpc.request("eth_call", self._params(run, order.signer, block, timestamp_s, dealt))
            stamped_s, results = decode_run(decode_bytes(answer, "answer to a run of calls"), len(run))
        except NodesDisagree as error:
            return Skip(Reason.NODES_DISAGREE, str(error), order.plan.verdict)
        except (MethodUnavailable, RpcFailure) as error:
            return _cannot(order, f"the node cannot try it in an eth_call: {error}")
        except MalformedResponse as error:
            return _cannot(order, f"the node does not put code under an eth_call: {error}")
        if stamped_s != timestamp_s:
            return _cannot(order, f"the node tries calls at {stamped_s}, not at the time asked for, {timestamp_s}")
        return self._judge(order, results)

    def _run_of(self, order: Order) -> list[RunCall]:
        """Balances, then each call with the balances after it, then the borrower's health."""
        balances = [RunCall(Call(asset, encode_balance_of(order.signer)), BALANCE_READ_GAS) for asset in _held(order)]
        run = list(balances)
        for call, gas_limit in zip(order.calls, order.gas_limits, strict=True):
            run += [RunCall(call, gas_limit), *balances]
        handle = market_of(self.markets, order.plan.market)
        return [*run, RunCall(handle.adapter.encode_health(handle.market, order.borrower), HEALTH_READ_GAS)]

    def _params(
        self, run: Sequence[RunCall], signer: Address, block: BlockRef, timestamp_s: int, dealt: Dealt
    ) -> list[object]:
        gas = sum(each.gas_limit for each in run) + CALLDATA_BYTE_GAS * len(runner_calldata(run)) + TRANSACTION_GAS
        call = {"to": to_hex(signer), "data": to_hex(runner_calldata(run)), "gas": hex(gas)}
        overrides = state_overrides(dealt) | {to_hex(signer): {"code": to_hex(runner_code(run))}}
        return [call, pinned(block), overrides, {"time": hex(timestamp_s)}]

    def _judge(self, order: Order, results: Sequence[RunResult]) -> Simulation | Skip:
        handle = market_of(self.markets, order.plan.market)
        assets = _held(order)
        width = len(assets) + 1
        *steps, health = results
        called = steps[len(assets) :: width]
        for place, call in enumerate(called):
            if not call.ok:
                error = (
                    handle.adapter.decode_revert(handle.market, call.returndata)
                    if call.returndata
                    else "reverted without data"
                )
                where = f" (call {place + 1} of {len(called)})" if len(called) > 1 else ""
                return Skip(Reason.SIMULATION_REVERTED, f"{error}{where}", order.plan.verdict)
        try:
            after = handle.adapter.decode_health(handle.market, CallResult(health.ok, health.returndata))
            held_raw = [
                _balances_raw(assets, steps[start : start + len(assets)]) for start in range(0, len(steps), width)
            ]
        except MalformedResponse as error:
            return _cannot(order, str(error))
        simulated: list[SimulatedCall] = []
        for place, (before_raw, after_raw) in enumerate(pairwise(held_raw)):
            gas_used = max(_gas_of(order, place, called[place]), *(call.gas_used for call in simulated), 0)
            simulated.append(SimulatedCall(gas_used, (), (self._measured(order, place, before_raw, after_raw),)))
        gained_raw = {asset: held_raw[-1][asset] - held_raw[0][asset] for asset in _paid_out(order)}
        return Simulation(tuple(simulated), after.health_factor_wad, gained_raw)

    def _measured(
        self, order: Order, place: int, before_raw: dict[Address, int], after_raw: dict[Address, int]
    ) -> LiquidationEvent:
        pair = order.plan.calls[place].pair
        return LiquidationEvent(
            collateral_asset=pair.collateral_asset,
            debt_asset=pair.debt_asset,
            borrower=order.borrower,
            repaid_raw=before_raw[pair.debt_asset] - after_raw[pair.debt_asset],
            received_raw=after_raw[pair.collateral_asset] - before_raw[pair.collateral_asset],
            liquidator=order.signer,
            log_index=place,
        )


def _gas_of(order: Order, place: int, result: RunResult) -> int:
    """What the call would burn as a transaction of its own, by what it burnt here."""
    own_gas = TRANSACTION_GAS + CALLDATA_BYTE_GAS * len(order.calls[place].calldata) + WARMTH_GAS
    return max(result.gas_used + own_gas, order.offer.gas[place])


def _untriable(order: Order, dealt: Dealt) -> str | None:
    """Why an order cannot be tried at all."""
    if order.behind is not None:
        return "without eth_simulateV1 nothing can be tried behind a pending transaction"
    if order.executor is not None:
        return "without eth_simulateV1 what the executor does cannot be measured"
    missing = [to_hex(asset) for asset in order.offer.pulled_raw if (asset, order.spender) in dealt.undealable]
    if missing:
        return f"no storage slot was found to deal {', '.join(missing)}"
    if any(call.pair.collateral_asset == call.pair.debt_asset for call in order.plan.calls):
        return "without eth_simulateV1 a pair of one and the same asset cannot be measured"
    return None


def _held(order: Order) -> list[Address]:
    """The assets whose balances the order's calls change."""
    return list(dict.fromkeys(asset for call in order.plan.calls for asset in _assets(call)))


def _paid_out(order: Order) -> list[Address]:
    return list(dict.fromkeys(call.pair.collateral_asset for call in order.plan.calls))


def _assets(call: PlannedCall) -> tuple[Address, Address]:
    return call.pair.collateral_asset, call.pair.debt_asset


def _balances_raw(assets: Sequence[Address], results: Sequence[RunResult]) -> dict[Address, int]:
    """Raises `MalformedResponse` for a token that does not answer: an unread balance is not 0."""
    for asset, result in zip(assets, results, strict=True):
        if not result.ok or len(result.returndata) < 32:
            raise MalformedResponse(f"the balance of {to_hex(asset)} cannot be read")
    return {asset: int.from_bytes(result.returndata[:32]) for asset, result in zip(assets, results, strict=True)}


def _cannot(order: Order, detail: str) -> Skip:
    return Skip(Reason.CANNOT_SIMULATE, detail, order.plan.verdict)
