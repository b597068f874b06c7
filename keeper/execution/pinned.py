"""Pinned reads over one node, one JSON-RPC batch each: for the loopback fork, where no provider limits apply."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from keeper.core.block import BlockRef, Call, CallResult, Log
from keeper.core.errors import ChainError, Defect, RpcFailure
from keeper.core.hexdata import decode_bytes, decode_list
from keeper.core.lending import LogFilter
from keeper.core.units import to_hex
from keeper.core.wire import decode_log
from keeper.execution.rpc import Rpc
from keeper.execution.wire import pinned


@dataclass(frozen=True, slots=True)
class PinnedReads:
    """`World` over one node."""

    rpc: Rpc

    async def logs(self, log_filter: LogFilter, from_block: int, to: BlockRef) -> AsyncIterator[tuple[int, list[Log]]]:
        if from_block != to.number:
            raise Defect("a fork is asked for the logs of one block at a time")
        criteria = {
            "blockHash": to_hex(to.hash),
            "address": [to_hex(address) for address in log_filter.addresses],
            "topics": [[to_hex(topic) for topic in log_filter.topics]],
        }
        answer = decode_list(await self.rpc.request("eth_getLogs", [criteria]), "logs")
        yield to.number, [decode_log(entry) for entry in answer]

    async def read(self, calls: Sequence[Call], block: BlockRef) -> list[CallResult]:
        answers = await self.rpc.batch(
            [
                ("eth_call", [{"to": to_hex(call.target), "input": to_hex(call.calldata)}, pinned(block)])
                for call in calls
            ]
        )
        return [_result(answer) for answer in answers]


def _result(answer: object) -> CallResult:
    if isinstance(answer, RpcFailure):
        return CallResult(ok=False, returndata=answer.data or b"")
    if isinstance(answer, ChainError):
        raise answer
    return CallResult(ok=True, returndata=decode_bytes(answer, "return data"))
