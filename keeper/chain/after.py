"""Calls as a block to come would answer them: at a later second, and after transactions that are not mined yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keeper.chain.rpc import Rpc
from keeper.core.block import BlockRef, Call, CallResult, PendingTransaction
from keeper.core.errors import MalformedResponse, MethodUnavailable, RpcFailure
from keeper.core.hexdata import decode_bytes, decode_list, decode_object, decode_quantity
from keeper.core.units import to_hex


class ReadsAfter:
    """One `eth_simulateV1` each: a single block on top of a pinned one. A node without it is asked only once."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self._offered = True

    async def read(
        self, calls: Sequence[Call], block: BlockRef, timestamp_s: int, first: Sequence[PendingTransaction] = ()
    ) -> list[CallResult] | None:
        """The calls' results in a block after `block` at `timestamp_s` (later than the block's own), once the transactions
        `first` were executed there in order, whether or not they revert. No fees are charged.

        None when the node cannot tell: it does not offer the method, or refuses this request. Raises other `ChainError`s.
        """
        if not self._offered or timestamp_s <= block.timestamp_s:
            return None
        entries = [*map(_transaction, first), *map(_call, calls)]
        overrides = {"number": hex(block.number + 1), "time": hex(timestamp_s)}
        request = {"blockStateCalls": [{"blockOverrides": overrides, "calls": entries}], "validation": False}
        at = {"blockHash": to_hex(block.hash), "requireCanonical": True}
        try:
            answer = await self._rpc.request("eth_simulateV1", [request, at])
        except MethodUnavailable:
            self._offered = False
            return None
        except RpcFailure:
            return None
        results = _results(answer, len(entries), timestamp_s)
        return results[len(first) :]

    @property
    def offered(self) -> bool:
        """False once a node has said that it does not offer the method."""
        return self._offered


def _call(call: Call) -> dict[str, str]:
    return {"to": to_hex(call.target), "input": to_hex(call.calldata)}


def _transaction(pending: PendingTransaction) -> dict[str, str]:
    return {
        "from": to_hex(pending.sender),
        "input": to_hex(pending.input),
        "value": hex(pending.value_wei),
        "gas": hex(pending.gas_limit),
    } | ({} if pending.to is None else {"to": to_hex(pending.to)})


def _results(answer: object, count: int, timestamp_s: int) -> list[CallResult]:
    blocks = decode_list(answer, "simulation")
    simulated: dict[str, Any] = decode_object(blocks[0] if blocks else None, "simulated block")
    if decode_quantity(simulated.get("timestamp"), "time of the simulated block") != timestamp_s:
        raise MalformedResponse("the node simulated a block at another time than it was asked for")
    entries = decode_list(simulated.get("calls"), "simulated calls")
    if len(entries) != count:
        raise MalformedResponse(f"{count} simulated calls were answered with {len(entries)} results")
    return [_result(decode_object(entry, "simulated call")) for entry in entries]


def _result(entry: dict[str, Any]) -> CallResult:
    ok = decode_quantity(entry.get("status"), "call status") == 1
    return CallResult(ok, decode_bytes(entry.get("returnData", "0x"), "return data"))
