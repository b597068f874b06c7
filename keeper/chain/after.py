"""Calls as a block to come would answer them: at a later second, and after transactions that are not mined yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keeper.chain.multicall import CURRENT_BLOCK_TIMESTAMP_SELECTOR, MULTICALL3
from keeper.chain.rpc import Entry, Rpc
from keeper.chain.translate import halted, reverted
from keeper.core.block import BlockRef, Call, CallResult, PendingTransaction
from keeper.core.errors import ChainError, MalformedResponse, MethodUnavailable, RpcFailure
from keeper.core.hexdata import decode_bytes, decode_list, decode_object, decode_quantity
from keeper.core.units import to_hex

ASK_AGAIN_BLOCKS = 1_000
"""A node that offers it may have been down when the others were asked."""
CLOCK = Call(MULTICALL3, CURRENT_BLOCK_TIMESTAMP_SELECTOR)


class ReadsAfter:
    """One `eth_simulateV1` each: a single block on top of a pinned one.

    Where no node offers it they are asked by `eth_call` with the block's time overridden, which cannot execute transactions
    first. A node that overrides nothing is found out by the clock of Multicall3."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self._ask_again_block = 0
        """Until this block the method is not asked for: no node offered it."""

    async def read(
        self, calls: Sequence[Call], block: BlockRef, timestamp_s: int, first: Sequence[PendingTransaction] = ()
    ) -> list[CallResult] | None:
        """The calls' results in a block after `block` at `timestamp_s` (later than the block's own), once the transactions
        `first` were executed there in order, whether or not they revert. No fees are charged.

        None when the node cannot tell: it does not offer the method, refuses this request, or goes by a time of its own. Raises
        other `ChainError`s.
        """
        if timestamp_s <= block.timestamp_s:
            return None
        if block.number < self._ask_again_block:
            return None if first else await self._read_by_call(calls, block, timestamp_s)
        entries = [*map(_transaction, first), *map(_call, calls)]
        overrides = {"number": hex(block.number + 1), "time": hex(timestamp_s)}
        request = {"blockStateCalls": [{"blockOverrides": overrides, "calls": entries}], "validation": False}
        at = {"blockHash": to_hex(block.hash), "requireCanonical": True}
        try:
            answer = await self._rpc.request("eth_simulateV1", [request, at])
        except MethodUnavailable:
            self._ask_again_block = block.number + ASK_AGAIN_BLOCKS
            return await self.read(calls, block, timestamp_s, first)
        except RpcFailure:
            return None
        results = _results(answer, len(entries), timestamp_s)
        return None if results is None else results[len(first) :]

    async def _read_by_call(self, calls: Sequence[Call], block: BlockRef, timestamp_s: int) -> list[CallResult] | None:
        at = {"blockHash": to_hex(block.hash), "requireCanonical": True}
        overrides = {"time": hex(timestamp_s)}
        entries: list[Entry] = [("eth_call", [_call(call), at, {}, overrides]) for call in (CLOCK, *calls)]
        clock, *answers = await self._rpc.batch(entries)
        if isinstance(clock, ChainError) or int.from_bytes(decode_bytes(clock, "the node's clock")) != timestamp_s:
            return None
        results = [_answered(answer) for answer in answers]
        return [each for each in results if each is not None] if None not in results else None


def _call(call: Call) -> dict[str, str]:
    return {"to": to_hex(call.target), "input": to_hex(call.calldata)}


def _answered(answer: Any | ChainError) -> CallResult | None:
    """None for an error that says nothing of the call."""
    if not isinstance(answer, ChainError):
        return CallResult(ok=True, returndata=decode_bytes(answer, "answer to eth_call"))
    revert_data = b"" if halted(answer) else reverted(answer)
    return None if revert_data is None else CallResult(ok=False, returndata=revert_data)


def _transaction(pending: PendingTransaction) -> dict[str, str]:
    return {
        "from": to_hex(pending.sender),
        "input": to_hex(pending.input),
        "value": hex(pending.value_wei),
        "gas": hex(pending.gas_limit),
    } | ({} if pending.to is None else {"to": to_hex(pending.to)})


def _results(answer: object, count: int, timestamp_s: int) -> list[CallResult] | None:
    """None where the node simulates a block at another time than it was asked for."""
    blocks = decode_list(answer, "simulation")
    simulated: dict[str, Any] = decode_object(blocks[0] if blocks else None, "simulated block")
    if decode_quantity(simulated.get("timestamp"), "time of the simulated block") != timestamp_s:
        return None
    entries = decode_list(simulated.get("calls"), "simulated calls")
    if len(entries) != count:
        raise MalformedResponse(f"{count} simulated calls were answered with {len(entries)} results")
    return [_result(decode_object(entry, "simulated call")) for entry in entries]


def _result(entry: dict[str, Any]) -> CallResult:
    ok = decode_quantity(entry.get("status"), "call status") == 1
    return CallResult(ok, decode_bytes(entry.get("returnData", "0x"), "return data"))
