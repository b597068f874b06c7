"""Event logs: ranges that fit the node's limits, each checked against the chain that we follow."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

from keeper.chain.acceptance import HashAt, RangeCheck, nothing_known
from keeper.chain.adaptive import TARGET_BODY_BYTES, AdaptiveSize, logs_bytes
from keeper.chain.flight import MOST_IN_FLIGHT, in_pieces
from keeper.chain.rpc import Rpc
from keeper.concurrency import Group
from keeper.core.block import BlockRef, Log
from keeper.core.errors import BlockUnavailable, ChainError, Defect, MalformedResponse
from keeper.core.hexdata import (
    decode_list,
    encode_quantity,
)
from keeper.core.lending import LogFilter
from keeper.core.units import to_hex
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
    hash_at: HashAt = nothing_known,
    most_in_flight: int = MOST_IN_FLIGHT,
) -> AsyncGenerator[LogChunk, None]:
    """Chunks in order, from `from_block` up to and including `to`. Pass the same `span` again to keep what it learned.

    Each is accepted by the rule of `RangeCheck`; `hash_at` tells the blocks that we follow. Raises `BlockUnavailable` when
    the chain moved (discard what came before), `RangeRefused` when even one block is too much, `MalformedResponse` on odd
    logs.
    """
    span = span or AdaptiveSize(MAX_SPAN, TARGET_BODY_BYTES)
    check = RangeCheck(from_block, to, hash_at)
    ask = partial(_read_range, rpc, log_filter, check)
    async with aclosing(in_pieces(from_block, to.number, ask, span, logs_bytes, most_in_flight)) as pieces:
        async for first, last, logs in pieces:
            if last == to.number:
                await check.confirm(rpc)
            chunk = LogChunk(first, last, logs)
            if on_progress is not None:
                on_progress(chunk, to)
            yield chunk


async def read_block_logs(rpc: Rpc, log_filter: LogFilter, blocks: Sequence[BlockRef]) -> list[Log]:
    """The logs of a few blocks, each asked by hash (EIP-234), by (block, log index). All at once, but each in its own exchange:
    where logs are many a batch is cut, and its parts wait for each other.

    Raises `BlockUnavailable` when the node does not know one of them.
    """
    criteria = _criteria(log_filter)
    try:
        async with Group() as group:
            asked = [
                group.create_task(rpc.request("eth_getLogs", [criteria | {"blockHash": to_hex(block.hash)}]))
                for block in blocks
            ]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    found: list[Log] = []
    for block, answer in zip(blocks, [each.result() for each in asked], strict=True):
        if answer is None:
            raise BlockUnavailable(f"the logs of block {block.number} {to_hex(block.hash)} are unknown to the node")
        logs = _decode_logs(answer, log_filter, block.number, block.number)
        RangeCheck(block.number, block).accept_logs(logs)
        found += logs
    return sorted(found, key=_place)


async def _read_range(rpc: Rpc, log_filter: LogFilter, check: RangeCheck, first: int, last: int) -> tuple[Log, ...]:
    criteria = _criteria(log_filter) | {"fromBlock": encode_quantity(first), "toBlock": encode_quantity(last)}
    found, *ends = await rpc.batch([("eth_getLogs", [criteria]), *check.entries()])
    if isinstance(found, ChainError):
        raise found
    check.accept_ends(ends)
    logs = _decode_logs(found, log_filter, first, last)
    check.accept_logs(logs)
    return tuple(logs)


def _criteria(log_filter: LogFilter) -> dict[str, Any]:
    if not log_filter.addresses:
        # Nodes take an empty list for every contract there is.
        raise Defect("a log filter without addresses")
    criteria: dict[str, Any] = {"address": [to_hex(address) for address in log_filter.addresses]}
    if log_filter.topics:
        criteria["topics"] = [[to_hex(topic) for topic in log_filter.topics]]
    return criteria


def _decode_logs(answer: object, log_filter: LogFilter, first: int, last: int) -> list[Log]:
    """Logs by (block, index): each lies in [first, last], is wanted by the filter and comes once."""
    logs = sorted((decode_log(entry) for entry in decode_list(answer, "answer to eth_getLogs")), key=_place)
    addresses, topics = frozenset(log_filter.addresses), frozenset(log_filter.topics)
    previous = (-1, -1)
    for log in logs:
        name = f"log {log.log_index} of block {log.block_number}"
        if not first <= log.block_number <= last:
            raise MalformedResponse(f"{name} lies outside of the blocks {first} to {last}")
        if log.address not in addresses or (topics and (not log.topics or log.topics[0] not in topics)):
            raise MalformedResponse(f"{name} was not asked for")
        if _place(log) == previous:
            raise MalformedResponse(f"{name} comes twice")
        previous = _place(log)
    return logs


def _place(log: Log) -> tuple[int, int]:
    return log.block_number, log.log_index
