"""How execution names blocks to a node, and reads them by hash."""

from __future__ import annotations

from keeper.core.block import BlockRef
from keeper.core.errors import BlockUnavailable
from keeper.core.units import Hash32, to_hex
from keeper.core.wire import decode_block
from keeper.execution.rpc import Rpc


def pinned(block: BlockRef) -> dict[str, str]:
    """The block parameter that names a block by its hash: a reorg cannot answer for it."""
    return {"blockHash": to_hex(block.hash)}


async def read_block(rpc: Rpc, block_hash: Hash32) -> BlockRef:
    """A header by its hash. Raises `BlockUnavailable` when the node does not know it (any more)."""
    answer = await rpc.request("eth_getBlockByHash", [to_hex(block_hash), False])
    if answer is None:
        raise BlockUnavailable(f"block {to_hex(block_hash)} is unknown to the node")
    return decode_block(answer, f"block {to_hex(block_hash)}")
