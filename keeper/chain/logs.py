"""Event logs: ranges that fit the node's limits, each checked against the chain that we follow."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from keeper.chain.adaptive import AdaptiveSize
from keeper.chain.blocks import decode_header, header_entry, read_header
from keeper.chain.rpc import Rpc
from keeper.core.block import BlockRef, Log
from keeper.core.errors import BlockUnavailable, ChainError, Defect, MalformedResponse, RangeRefused, RpcTimeout
from keeper.core.hexdata import (
    decode_list,
    encode_quantity,
)
from keeper.core.lending import LogFilter
from keeper.core.units import Hash32, to_hex
from keeper.core.wire import decode_log

MAX_SPAN = 10_000


@dataclass(frozen=True, slots=True)
class LogChunk:
    """All logs of the filter in the blocks [from_block, to_block], by (block, log index)."""

    from_block: int
    to_block: int
    logs: tuple[Log, ...]


Progress = Callable[[LogChunk, BlockRef], None]
"""Called with each chunk and the block that the whole read ends at."""


async def read_logs(
    rpc: Rpc,
    log_filter: LogFilter,
    from_block: int,
    to: BlockRef,
    *,
    span: AdaptiveSize | None = None,
    on_progress: Progress | None = None,
) -> AsyncIterator[LogChunk]:
    """Chunks in order, from `from_block` up to and including `to`. Pass the same `span` again to keep what it learned.

    Every chunk comes, in one exchange, with the header at `to`'s number: so the node that answered follows our chain
    and is not behind it. After the last chunk that header is read once more. Raises `BlockUnavailable` when it is not
    `to` (discard what came before), `RangeRefused` when even one block is too much, `MalformedResponse` on odd logs.
    """
    span = span or AdaptiveSize(MAX_SPAN)
    first = from_block
    while first <= to.number:
        last = min(first + span.size - 1, to.number)
        try:
            logs = await _read_range(rpc, log_filter, first, last, to)
        except (RangeRefused, RpcTimeout):
            if first == last:
                raise
            span.refused(last - first + 1)
            continue
        span.accepted(last - first + 1)
        if last == to.number:
            _expect(await read_header(rpc, to.number), to)
        chunk = LogChunk(first, last, logs)
        if on_progress is not None:
            on_progress(chunk, to)
        yield chunk
        first = last + 1


async def read_block_logs(rpc: Rpc, log_filter: LogFilter, blocks: Sequence[BlockRef]) -> list[Log]:
    """The logs of a few blocks, each asked by hash (EIP-234) in one exchange, by (block, log index).

    Raises `BlockUnavailable` when the node does not know one of them.
    """
    criteria = _criteria(log_filter)
    answers = await rpc.batch([("eth_getLogs", [criteria | {"blockHash": to_hex(block.hash)}]) for block in blocks])
    found: list[Log] = []
    for block, answer in zip(blocks, answers, strict=True):
        if isinstance(answer, ChainError):
            raise answer
        if answer is None:
            raise BlockUnavailable(f"the logs of block {block.number} {to_hex(block.hash)} are unknown to the node")
        found += _decode_logs(answer, log_filter, block.number, block.number, block)
    return sorted(found, key=_place)


async def _read_range(rpc: Rpc, log_filter: LogFilter, first: int, last: int, to: BlockRef) -> tuple[Log, ...]:
    criteria = _criteria(log_filter) | {"fromBlock": encode_quantity(first), "toBlock": encode_quantity(last)}
    answers = await rpc.batch([("eth_getLogs", [criteria]), header_entry(to.number)])
    for answer in answers:
        if isinstance(answer, ChainError):
            raise answer
    _expect(decode_header(answers[1], to.number), to)
    return tuple(_decode_logs(answers[0], log_filter, first, last, to))


def _criteria(log_filter: LogFilter) -> dict[str, Any]:
    if not log_filter.addresses:
        # Nodes take an empty list for every contract there is.
        raise Defect("a log filter without addresses")
    criteria: dict[str, Any] = {"address": [to_hex(address) for address in log_filter.addresses]}
    if log_filter.topics:
        criteria["topics"] = [[to_hex(topic) for topic in log_filter.topics]]
    return criteria


def _expect(header: BlockRef, expected: BlockRef) -> None:
    if header.hash != expected.hash:
        raise BlockUnavailable(f"block {expected.number} {to_hex(expected.hash)} is no longer on the chain")


def _decode_logs(answer: object, log_filter: LogFilter, first: int, last: int, known: BlockRef) -> list[Log]:
    """Logs by (block, index): each lies in [first, last], is wanted by the filter and comes once; the logs of one block,
    and those of the `known` one, agree on its hash."""
    logs = sorted((decode_log(entry) for entry in decode_list(answer, "answer to eth_getLogs")), key=_place)
    addresses, topics = frozenset(log_filter.addresses), frozenset(log_filter.topics)
    hashes: dict[int, Hash32] = {known.number: known.hash}
    previous = (-1, -1)
    for log in logs:
        name = f"log {log.log_index} of block {log.block_number}"
        if not first <= log.block_number <= last:
            raise MalformedResponse(f"{name} lies outside of the blocks {first} to {last}")
        if log.address not in addresses or (topics and (not log.topics or log.topics[0] not in topics)):
            raise MalformedResponse(f"{name} was not asked for")
        if _place(log) == previous:
            raise MalformedResponse(f"{name} comes twice")
        if hashes.setdefault(log.block_number, log.block_hash) != log.block_hash:
            raise BlockUnavailable(f"{name} is of another block of that number than the one we follow")
        previous = _place(log)
    return logs


def _place(log: Log) -> tuple[int, int]:
    return log.block_number, log.log_index
