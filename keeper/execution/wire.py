"""How execution asks a node: several questions in one exchange, blocks named and read by their hash."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keeper.core.block import BlockRef
from keeper.core.errors import BlockUnavailable, ChainError
from keeper.core.units import Hash32, to_hex
from keeper.core.wire import decode_block
from keeper.execution.rpc import Rpc


def pinned(block: BlockRef) -> dict[str, str]:
    """The block parameter that names a block by its hash: a reorg cannot answer for it."""
    return {"blockHash": to_hex(block.hash)}


async def all_answers(rpc: Rpc, entries: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
    """The answers of one exchange; raises the first member's error. Nothing is asked where there is nothing to ask."""
    answers = list(await rpc.batch(entries)) if entries else []
    for answer in answers:
        if isinstance(answer, ChainError):
            raise answer
    return answers


async def read_blocks(rpc: Rpc, block_hashes: Sequence[Hash32]) -> list[BlockRef]:
    """Headers by their hashes, in one exchange. Raises `BlockUnavailable` when the node does not know one (any more)."""
    answers = await all_answers(rpc, [("eth_getBlockByHash", [to_hex(each), False]) for each in block_hashes])
    return [_header(block_hash, answer) for block_hash, answer in zip(block_hashes, answers, strict=True)]


async def read_block(rpc: Rpc, block_hash: Hash32) -> BlockRef:
    """One of them."""
    return _header(block_hash, await rpc.request("eth_getBlockByHash", [to_hex(block_hash), False]))


def _header(block_hash: Hash32, answer: object) -> BlockRef:
    if answer is None:
        raise BlockUnavailable(f"block {to_hex(block_hash)} is unknown to the node")
    return decode_block(answer, f"block {to_hex(block_hash)}")
