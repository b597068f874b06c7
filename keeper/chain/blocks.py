"""Block headers."""

from __future__ import annotations

from collections.abc import Sequence

from keeper.chain.rpc import Entry, Rpc
from keeper.core.block import BlockRef
from keeper.core.errors import BlockUnavailable, ChainError, MalformedResponse
from keeper.core.hexdata import encode_quantity
from keeper.core.units import to_hex
from keeper.core.wire import decode_block

BlockId = int | bytes | str
"""A number, a hash, or a tag such as ``latest``."""


async def read_header(rpc: Rpc, block: BlockId) -> BlockRef:
    """One header. Raises `BlockUnavailable` when the node does not know the block."""
    method, params = header_entry(block)
    return decode_header(await rpc.request(method, params), block)


async def read_headers(rpc: Rpc, blocks: Sequence[BlockId]) -> list[BlockRef]:
    """Several headers in one exchange; raises the first member's error."""
    headers = []
    for block, answer in zip(blocks, await rpc.batch([header_entry(block) for block in blocks]), strict=True):
        if isinstance(answer, ChainError):
            raise answer
        headers.append(decode_header(answer, block))
    return headers


def header_entry(block: BlockId) -> Entry:
    if isinstance(block, bytes):
        return "eth_getBlockByHash", [to_hex(block), False]
    return "eth_getBlockByNumber", [encode_quantity(block) if isinstance(block, int) else block, False]


def decode_header(answer: object, asked: BlockId) -> BlockRef:
    """The header in a node's answer to `header_entry(asked)`, checked to be the block that was asked for."""
    name = to_hex(asked) if isinstance(asked, bytes) else str(asked)
    if answer is None:
        raise BlockUnavailable(f"block {name} is unknown to the node")
    header = decode_block(answer, f"block {name}")
    if asked not in (header.number, header.hash) and not isinstance(asked, str):
        raise MalformedResponse(f"asked for block {name}, got block {header.number} {to_hex(header.hash)}")
    return header
