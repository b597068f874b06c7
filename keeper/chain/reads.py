"""Contract reads, pinned to one block by its hash, in as few requests as possible."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeVar

from keeper.chain.adaptive import TARGET_BODY_BYTES, AdaptiveSize
from keeper.chain.blocks import decode_header, header_entry
from keeper.chain.multicall import (
    CURRENT_BLOCK_TIMESTAMP_SELECTOR,
    MULTICALL3,
    decode_aggregate3,
    encode_aggregate3,
)
from keeper.chain.rpc import Entry, Rpc
from keeper.chain.translate import halted, reverted, too_large
from keeper.core.block import BlockRef, Call, CallResult
from keeper.core.errors import BlockUnavailable, ChainError, MalformedResponse, RpcFailure
from keeper.core.hexdata import decode_bytes, encode_quantity
from keeper.core.lending import Reads
from keeper.core.units import to_hex

T = TypeVar("T")

MAX_CALLS = 300
MAX_CALLDATA_BYTES = 256 * 1024
_HEX_PER_BYTE = 2
_CLOCK = Call(MULTICALL3, CURRENT_BLOCK_TIMESTAMP_SELECTOR)
_NO_BLOCK_OBJECT = re.compile(
    r"unmarshal|invalid argument|invalid type|unknown field|0x prefix|blockhash|requirecanonical"
)


class PinnedReads:
    """Reads of one chain.

    Blocks are named by hash (EIP-1898). For a node that does not take that, by number, with the header at that number
    compared afterwards. Calls travel inside Multicall3 where it is deployed, else as single `eth_call`s in batches.
    """

    def __init__(self, rpc: Rpc, *, max_calls: int = MAX_CALLS, max_calldata_bytes: int = MAX_CALLDATA_BYTES) -> None:
        self._rpc = rpc
        self._chunk = AdaptiveSize(max_calls, TARGET_BODY_BYTES)
        self._max_calldata_bytes = max_calldata_bytes
        self._has_multicall: bool | None = None
        self._names_by_number = False

    async def read(self, calls: Sequence[Call], block: BlockRef) -> list[CallResult]:
        """The calls' results, in order, all at `block`. A call that reverts is a result that is not `ok`.

        Raises `BlockUnavailable` when the node does not have the block (any more), `MalformedResponse` on odd answers,
        other `ChainError`s as they come. No partial result is ever returned.
        """
        if not calls:
            return []
        if await self._multicall_deployed():
            aggregated = await self._read_aggregated(calls, block)
            if aggregated is not None:
                return aggregated
        return await self._read_separately(calls, block)

    async def drive(self, reads: Reads[T], block: BlockRef) -> T:
        """Run a generator of read batches to its value, every batch at `block`."""
        try:
            calls = next(reads)
            while True:
                calls = reads.send(await self.read(calls, block))
        except StopIteration as finished:
            value: T = finished.value
            return value

    async def _multicall_deployed(self) -> bool:
        if self._has_multicall is None:
            code = await self._rpc.request("eth_getCode", [to_hex(MULTICALL3), "latest"])
            self._has_multicall = bool(decode_bytes(code, "code of Multicall3"))
        return self._has_multicall

    # -- through Multicall3 --------------------------------------------------------------------------------------
    async def _read_aggregated(self, calls: Sequence[Call], block: BlockRef) -> list[CallResult] | None:
        """None when the contract does not exist at this block (yet)."""
        results: list[CallResult | None] = [None] * len(calls)
        waiting = self._chunks(calls, 0, len(calls))
        while waiting:
            asked, waiting = waiting, []
            bodies = [encode_aggregate3([_CLOCK, *calls[start:stop]]) for start, stop in asked]
            answers = await self._ask([Call(MULTICALL3, body) for body in bodies], block)
            for (start, stop), answer in zip(asked, answers, strict=True):
                if answer == b"":
                    return None
                if isinstance(answer, bytes):
                    results[start:stop] = self._decode(answer, stop - start, block)
                elif stop - start > 1 and _splits(answer):
                    self._chunk.refused(stop - start)
                    waiting += self._chunks(calls, start, stop)
                elif _splits(answer):
                    [results[start]] = await self._read_separately(calls[start:stop], block)
                else:
                    raise answer
        return await self._confirm(calls, results, block)

    def _chunks(self, calls: Sequence[Call], start: int, stop: int) -> list[tuple[int, int]]:
        """Cut [start, stop) where the count or the size of the calldata would grow too large."""
        chunks, size = [], 0
        first = start
        for index in range(start, stop):
            length = len(calls[index].calldata)
            if index - first >= self._chunk.size or (index > first and size + length > self._max_calldata_bytes):
                chunks.append((first, index))
                first, size = index, 0
            size += length
        return [*chunks, (first, stop)]

    def _decode(self, answer: bytes, count: int, block: BlockRef) -> list[CallResult]:
        clock, *results = decode_aggregate3(answer, count + 1)
        if clock.ok and len(clock.returndata) == 32 and int.from_bytes(clock.returndata) != block.timestamp_s:
            raise MalformedResponse(f"the node ran a read at another block than {block.number}, which it was pinned to")
        self._chunk.accepted(count, _HEX_PER_BYTE * len(answer))
        return results

    async def _confirm(
        self, calls: Sequence[Call], results: Sequence[CallResult | None], block: BlockRef
    ) -> list[CallResult]:
        """A call that failed without a word may have run out of the gas that the calls before it left. Ask it alone."""
        found = {index: result for index, result in enumerate(results) if result is not None}
        silent = [index for index, result in found.items() if not result.ok and not result.returndata]
        if silent:
            again = await self._read_separately([calls[index] for index in silent], block)
            found.update(zip(silent, again, strict=True))
        return [found[index] for index in range(len(calls))]

    # -- one by one ----------------------------------------------------------------------------------------------
    async def _read_separately(self, calls: Sequence[Call], block: BlockRef) -> list[CallResult]:
        return [_result(answer) for answer in await self._ask(calls, block)]

    async def _ask(self, calls: Sequence[Call], block: BlockRef) -> list[bytes | ChainError]:
        """Every call's returned bytes or error, from one exchange pinned to the block."""
        if not self._names_by_number:
            by_hash = {"blockHash": to_hex(block.hash), "requireCanonical": True}
            answers = _returned(await self._rpc.batch(_eth_calls(calls, by_hash)))
            if not any(map(_refuses_block_object, answers)):
                return answers
        # The header comes after the calls and in their exchange: another endpoint's would say nothing of this one's answers.
        entries = [*_eth_calls(calls, encode_quantity(block.number)), header_entry(block.number)]
        *returned, header = await self._rpc.batch(entries)
        answers = _returned(returned)
        # The same refusal again means that the fault was not in how we named the block.
        self._names_by_number = not any(map(_refuses_block_object, answers))
        if isinstance(header, ChainError):
            raise header
        if decode_header(header, block.number).hash != block.hash:
            raise BlockUnavailable(f"block {block.number} {to_hex(block.hash)} is no longer on the chain")
        return answers


def _eth_calls(calls: Sequence[Call], tag: object) -> list[Entry]:
    return [("eth_call", [{"to": to_hex(call.target), "data": to_hex(call.calldata)}, tag]) for call in calls]


def _returned(answers: Sequence[Any | ChainError]) -> list[bytes | ChainError]:
    return [
        answer if isinstance(answer, ChainError) else decode_bytes(answer, "answer to eth_call") for answer in answers
    ]


def _result(answer: bytes | ChainError) -> CallResult:
    if isinstance(answer, bytes):
        return CallResult(ok=True, returndata=answer)
    revert_data = reverted(answer)
    if revert_data is not None:
        return CallResult(ok=False, returndata=revert_data)
    if halted(answer):
        return CallResult(ok=False, returndata=b"")
    raise answer


def _splits(error: ChainError) -> bool:
    """Whether fewer calls may pass. `aggregate3` itself never reverts, unless for want of gas."""
    return too_large(error) or reverted(error) is not None


def _refuses_block_object(answer: bytes | ChainError) -> bool:
    if not isinstance(answer, RpcFailure) or answer.data is not None:
        return False
    return answer.code == -32602 or bool(_NO_BLOCK_OBJECT.search(str(answer).lower()))
