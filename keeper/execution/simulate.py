"""The exact calls of one head on top of it, in one request (`eth_simulateV1`).

All orders share one simulated block: number + 1, at the timestamp asked for, in the order given, without fees (the
calls' own gas is measured, the base fee is not charged). After the last call of an order the market is asked for the
borrower's health, and around its calls each collateral token for our balance: what a token keeps for itself shows there.
A call that reverts leaves nothing behind by itself; an order of several calls that fails after the first has already
changed the state, so everything is run again without it, at most `MAX_ROUNDS` times.

The orders of this head that are on their way already run first, in the order in which they will be mined; then, where the
orders must stand behind somebody's pending transaction, that. When all of it needs more gas than one block holds, the gas
limit of the simulated block is raised; when it needs more than nodes commonly grant a request (`REQUEST_GAS`), the orders
are split, and of those before a part only as many run as still fit, the latest. What is left out belongs to other
borrowers: it cannot move this borrower's row, and within one second no index moves either; what it can take away is shared
money, which the budget counts, and a reserve's liquidity, for which the contract refuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from keeper.core.block import BlockRef, Call, CallResult, Log
from keeper.core.errors import MalformedResponse, MethodUnavailable, NodesDisagree, RpcFailure
from keeper.core.hexdata import decode_bytes, decode_list, decode_object, decode_quantity
from keeper.core.order import Behind, Order, SimulatedCall, Simulation
from keeper.core.outcome import Reason, Skip
from keeper.core.units import Address, to_hex
from keeper.core.wire import decode_log
from keeper.execution.funding import Dealt, DealtFunding, needs_of
from keeper.execution.markets import MarketHandle, Markets, market_of, revert_in_words
from keeper.execution.rpc import Rpc
from keeper.execution.tokens import encode_balance_of
from keeper.execution.wire import pinned

MAX_ROUNDS = 5
REQUEST_GAS = 45_000_000
"""Nodes cap a whole simulation, commonly at 50 M."""
HEALTH_READ_GAS = 500_000
"""Set aside for each read of a borrower's health."""
_NO_HASH = "0x" + "00" * 32
_NOWHERE = {"blockNumber": "0x0", "blockHash": _NO_HASH, "transactionHash": _NO_HASH, "logIndex": "0x0"}


@dataclass(frozen=True, slots=True)
class NodeSimulator:
    """`keeper.ports.Simulator` over one node. `dealt` writes the rehearsal's money; None simulates the real balances.

    A call may burn its gas limit in the order. What it is charged (`gas_used`) has refunds deducted: the limit of the
    transaction needs a margin above it."""

    rpc: Rpc
    markets: Markets
    dealt: DealtFunding | None = None

    async def simulate(
        self, orders: Sequence[Order], block: BlockRef, timestamp_s: int, before: Sequence[Order] = ()
    ) -> Sequence[Simulation | Skip]:
        """One answer per order. Raises `ChainError` when the node is unwell; a node that cannot simulate is a skip."""
        answers: dict[str, Simulation | Skip] = {}
        dealt = Dealt((), frozenset())
        if self.dealt is not None:
            dealt = await self.dealt.deal(needs_of([*before, *orders]), block)
        ready = []
        for order in orders:
            missing = [to_hex(asset) for asset in order.offer.pulled_raw if (asset, order.spender) in dealt.undealable]
            if missing:
                answers[order.attempt] = _cannot(order, f"no storage slot was found to deal {', '.join(missing)}")
            else:
                ready.append(order)
        ran = list(before)
        for part in split_by_gas(ready):
            answers.update(await self._cumulatively(part, latest_fitting(ran, part), block, timestamp_s, dealt))
            ran += [order for order in part if isinstance(answers[order.attempt], Simulation)]
        return [answers[order.attempt] for order in orders]

    async def _cumulatively(
        self, orders: Sequence[Order], before: Sequence[Order], block: BlockRef, timestamp_s: int, dealt: Dealt
    ) -> dict[str, Simulation | Skip]:
        answers: dict[str, Simulation | Skip] = {}
        running = list(orders)
        for _ in range(MAX_ROUNDS):
            try:
                results = await self._round(running, before, block, timestamp_s, dealt)
            except MethodUnavailable:
                return {order.attempt: _cannot(order, "the node does not offer eth_simulateV1") for order in orders}
            except RpcFailure as failure:
                return {order.attempt: _cannot(order, str(failure)) for order in orders}
            except NodesDisagree as error:
                skipped = {
                    order.attempt: Skip(Reason.NODES_DISAGREE, str(error), order.plan.verdict) for order in running
                }
                return answers | skipped
            halfway = next((place for place, result in enumerate(results) if result.halfway), None)
            trusted = len(running) if halfway is None else halfway + 1
            for order, result in zip(running[:trusted], results[:trusted], strict=True):
                answers[order.attempt] = result.answer
            if halfway is None:
                return answers
            running = [
                order
                for place, order in enumerate(running)
                if place > halfway or isinstance(answers[order.attempt], Simulation)
            ]
        for order in running:
            answers.setdefault(order.attempt, _cannot(order, "too many orders before it failed halfway"))
        return answers

    async def _round(
        self, orders: Sequence[Order], before: Sequence[Order], block: BlockRef, timestamp_s: int, dealt: Dealt
    ) -> Sequence[_Result]:
        if not orders:
            return []
        calls = [call for order in before for call in self._calls(order)]
        calls += [_pending(each) for each in dict.fromkeys(order.behind for order in orders) if each is not None]
        first = len(calls)
        for order in orders:
            handle = market_of(self.markets, order.plan.market)
            healths = [handle.adapter.encode_health(handle.market, part.borrower) for part in order.parts]
            holder = order.executor or order.signer
            balances = [_entry(Call(asset, encode_balance_of(holder)), order.signer) for asset in order.measured_assets]
            calls += balances
            calls += self._calls(order)
            calls += [_entry(health, order.signer) for health in healths]
            calls += balances
        request = simulation_request(calls, block, timestamp_s, needed_gas(orders, before), dealt)
        answer = await self.rpc.request("eth_simulateV1", [request, pinned(block)])
        blocks = decode_list(answer, "simulation")
        entries = decode_list(decode_object(blocks[0] if blocks else None, "simulated block").get("calls"), "calls")
        if len(entries) != len(calls):
            raise MalformedResponse(f"{len(calls)} simulated calls were answered with {len(entries)} results")
        results = []
        entries = entries[first:]
        for order in orders:
            width = len(order.calls) + len(order.parts) + 2 * len(order.measured_assets)
            own, entries = entries[:width], entries[width:]
            results.append(self._judge(order, [_decode_call(entry) for entry in own]))
        return results

    def _calls(self, order: Order) -> list[dict[str, str]]:
        return [
            _entry(call, order.signer) | {"gas": hex(gas_limit)}
            for call, gas_limit in zip(order.calls, order.gas_limits, strict=True)
        ]

    def _judge(self, order: Order, results: Sequence[_CallAnswer]) -> _Result:
        handle = market_of(self.markets, order.plan.market)
        assets = order.measured_assets
        held, after_calls = results[: len(assets)], results[len(results) - len(assets) :]
        between = results[len(assets) : len(results) - len(assets)]
        calls, healths = between[: len(order.calls)], between[len(order.calls) :]
        for place, call in enumerate(calls):
            if not call.ok:
                error = revert_in_words(handle, call.returndata) if call.returndata else call.message
                where = f" (call {place + 1} of {len(calls)})" if len(calls) > 1 else ""
                skip = Skip(Reason.SIMULATION_REVERTED, f"{error}{where}", order.plan.verdict)
                return _Result(skip, halfway=any(before.ok for before in calls[:place]) or _any_ok(calls[place + 1 :]))
        try:
            after = [
                handle.adapter.decode_health(handle.market, CallResult(each.ok, each.returndata)) for each in healths
            ]
        except MalformedResponse:
            return _Result(_cannot(order, "the borrower's health cannot be read after the calls"), halfway=True)
        gained_raw: dict[Address, int] = {}
        for asset, before, now in zip(assets, held, after_calls, strict=True):
            if not (before.ok and now.ok and len(before.returndata) >= 32 and len(now.returndata) >= 32):
                return _Result(_cannot(order, f"the balance of {to_hex(asset)} cannot be read"), halfway=True)
            gained_raw[asset] = int.from_bytes(now.returndata[:32]) - int.from_bytes(before.returndata[:32])
        parts = tuple(
            Simulation(_of_borrower(handle, part.borrower, calls), each.health_factor_wad, gained_raw)
            for part, each in zip(order.parts, after, strict=True)
        )
        return _Result(replace(parts[0], members=parts) if order.members else parts[0], halfway=False)


def _of_borrower(
    handle: MarketHandle[Any, Any], borrower: Address, calls: Sequence[_CallAnswer]
) -> tuple[SimulatedCall, ...]:
    return tuple(
        SimulatedCall(
            gas_used=call.gas_used,
            logs=call.logs,
            liquidations=tuple(handle.adapter.decode_liquidation(handle.market, call.logs, borrower)),
        )
        for call in calls
    )


@dataclass(frozen=True, slots=True)
class _Result:
    answer: Simulation | Skip
    halfway: bool
    """It failed, but some of its calls took effect."""


@dataclass(frozen=True, slots=True)
class _CallAnswer:
    ok: bool
    returndata: bytes
    gas_used: int
    logs: tuple[Log, ...]
    message: str


def _entry(call: Call, sender: Address) -> dict[str, str]:
    return {"from": to_hex(sender), "to": to_hex(call.target), "input": to_hex(call.calldata)}


def _pending(behind: Behind) -> dict[str, str]:
    """The transaction that orders stand behind, as one more call."""
    pending = behind.transaction
    call = {
        "from": to_hex(pending.sender),
        "input": to_hex(pending.input),
        "value": hex(pending.value_wei),
        "gas": hex(pending.gas_limit),
    }
    return call if pending.to is None else call | {"to": to_hex(pending.to)}


def _any_ok(calls: Sequence[_CallAnswer]) -> bool:
    return any(call.ok for call in calls)


def needed_gas(orders: Sequence[Order], before: Sequence[Order] = ()) -> int:
    """What the orders are expected to burn, those before them included, with room for the largest of all gas limits."""
    burnt = sum(sum(order.offer.gas) + HEALTH_READ_GAS * len(order.parts) for order in orders)
    burnt += sum(sum(order.offer.gas) for order in before)
    burnt += sum(each.transaction.gas_limit for each in {order.behind for order in orders} if each is not None)
    return burnt + max((limit for order in (*before, *orders) for limit in order.gas_limits), default=0)


def latest_fitting(before: Sequence[Order], orders: Sequence[Order]) -> Sequence[Order]:
    """Of those before, the latest that fit into one request together with these orders."""
    first = 0
    while first < len(before) and needed_gas(orders, before[first:]) > REQUEST_GAS:
        first += 1
    return before[first:]


def split_by_gas(orders: Sequence[Order]) -> list[list[Order]]:
    """Parts that each fit into one request; an order is never cut."""
    parts: list[list[Order]] = []
    for order in orders:
        if parts and needed_gas([*parts[-1], order]) <= REQUEST_GAS:
            parts[-1].append(order)
        else:
            parts.append([order])
    return parts


def simulation_request(
    calls: Sequence[dict[str, str]], block: BlockRef, timestamp_s: int, gas: int, dealt: Dealt
) -> dict[str, Any]:
    """The parameters of `eth_simulateV1`: one block after `block`, the dealt storage under it."""
    overrides = {"number": hex(block.number + 1), "time": hex(timestamp_s)}
    if gas > block.gas_limit:
        overrides["gasLimit"] = hex(REQUEST_GAS)
    simulated: dict[str, Any] = {"blockOverrides": overrides, "calls": list(calls)}
    if dealt.writes:
        simulated["stateOverrides"] = state_overrides(dealt)
    return {"blockStateCalls": [simulated], "validation": False, "traceTransfers": False}


def state_overrides(dealt: Dealt) -> dict[str, dict[str, dict[str, str]]]:
    """The dealt words as a node takes them in a call."""
    overrides: dict[str, dict[str, dict[str, str]]] = {}
    for slot, word in dealt.writes:
        contract = overrides.setdefault(to_hex(slot.contract), {"stateDiff": {}})
        contract["stateDiff"][to_hex(slot.key)] = to_hex(word.to_bytes(32, "big"))
    return overrides


def _cannot(order: Order, detail: str) -> Skip:
    return Skip(Reason.CANNOT_SIMULATE, detail, order.plan.verdict)


def _decode_call(answer: object) -> _CallAnswer:
    entry = decode_object(answer, "simulated call")
    error = entry.get("error")
    returndata = decode_bytes(entry.get("returnData", "0x"), "return data")
    message = ""
    if isinstance(error, dict):
        message = str(error.get("message", "reverted"))
        if not returndata and isinstance(error.get("data"), str):
            returndata = decode_bytes(error["data"], "revert data")
    return _CallAnswer(
        ok=decode_quantity(entry.get("status"), "call status") == 1,
        returndata=returndata,
        gas_used=decode_quantity(entry.get("gasUsed"), "gas used"),
        logs=tuple(_decode_simulated_log(log) for log in decode_list(entry.get("logs", []), "logs")),
        message=message or "reverted without data",
    )


def _decode_simulated_log(answer: object) -> Log:
    """Not every node names a block and a transaction that will never exist; nobody asks for those."""
    given = {name: field for name, field in decode_object(answer, "log").items() if field is not None}
    return decode_log(_NOWHERE | given)
