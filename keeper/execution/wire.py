"""JSON-RPC's texts as our values and back. Whatever does not fit raises `MalformedResponse`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keeper.core.block import BlockRef, Log
from keeper.core.errors import BlockUnavailable, MalformedResponse
from keeper.core.units import Address, Hash32, address_from_hex, hash_from_hex, to_hex
from keeper.execution.rpc import Rpc

Json = Mapping[str, Any]


def pinned(block: BlockRef) -> dict[str, str]:
    """The block parameter that names a block by its hash: a reorg cannot answer for it."""
    return {"blockHash": to_hex(block.hash)}


def decode_object(answer: object, what: str) -> Json:
    if not isinstance(answer, dict):
        raise MalformedResponse(f"{what} is no object")
    return answer


def decode_list(answer: object, what: str) -> list[Any]:
    if not isinstance(answer, list):
        raise MalformedResponse(f"{what} is no list")
    return answer


def decode_quantity(text: object, what: str) -> int:
    """A hex quantity such as ``0x1a``."""
    if not isinstance(text, str) or not text.startswith("0x"):
        raise MalformedResponse(f"{what} is no hex quantity")
    try:
        return int(text, 16)
    except ValueError:
        raise MalformedResponse(f"{what} is no hex quantity") from None


def decode_bytes(text: object, what: str) -> bytes:
    if not isinstance(text, str) or not text.startswith("0x"):
        raise MalformedResponse(f"{what} is no hex string")
    try:
        return bytes.fromhex(text[2:])
    except ValueError:
        raise MalformedResponse(f"{what} is no hex string") from None


def decode_address(text: object, what: str) -> Address:
    try:
        return address_from_hex(text if isinstance(text, str) else "")
    except ValueError:
        raise MalformedResponse(f"{what} is no address") from None


def decode_hash(text: object, what: str) -> Hash32:
    try:
        return hash_from_hex(text if isinstance(text, str) else "")
    except ValueError:
        raise MalformedResponse(f"{what} is no hash") from None


def decode_log(answer: object) -> Log:
    """One entry of a receipt, of `eth_getLogs`, or of a simulated call."""
    entry = decode_object(answer, "log")
    topics = decode_list(entry.get("topics"), "log topics")
    return Log(
        address=decode_address(entry.get("address"), "log address"),
        topics=tuple(decode_bytes(topic, "log topic") for topic in topics),
        data=decode_bytes(entry.get("data"), "log data"),
        block_number=decode_quantity(entry.get("blockNumber"), "log block number"),
        block_hash=decode_hash(entry.get("blockHash"), "log block hash"),
        transaction_hash=decode_hash(entry.get("transactionHash"), "log transaction hash"),
        log_index=decode_quantity(entry.get("logIndex"), "log index"),
    )


async def read_block(rpc: Rpc, block_hash: Hash32) -> BlockRef:
    """A header by its hash. Raises `BlockUnavailable` when the node does not know it (any more)."""
    answer = await rpc.request("eth_getBlockByHash", [to_hex(block_hash), False])
    if answer is None:
        raise BlockUnavailable(f"block {to_hex(block_hash)} is unknown to the node")
    return decode_block(answer)


def decode_block(answer: object) -> BlockRef:
    """A header as `eth_getBlockBy…` gives it."""
    header = decode_object(answer, "block")
    base_fee = header.get("baseFeePerGas")
    return BlockRef(
        number=decode_quantity(header.get("number"), "block number"),
        hash=decode_hash(header.get("hash"), "block hash"),
        parent_hash=decode_hash(header.get("parentHash"), "parent hash"),
        timestamp_s=decode_quantity(header.get("timestamp"), "block timestamp"),
        base_fee_wei=None if base_fee is None else decode_quantity(base_fee, "base fee"),
        gas_limit=decode_quantity(header.get("gasLimit"), "block gas limit"),
    )
