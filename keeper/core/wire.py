"""Logs and block headers as JSON-RPC sends them. Whatever is not exactly as promised raises `MalformedResponse`."""

from __future__ import annotations

from keeper.core.block import BlockRef, Log
from keeper.core.errors import MalformedResponse
from keeper.core.hexdata import (
    decode_address,
    decode_bytes,
    decode_hash,
    decode_list,
    decode_object,
    decode_quantity,
)

MOST_TOPICS = 4


def decode_log(entry: object) -> Log:
    """One log of `eth_getLogs`, of a receipt, or of a simulated call. One that says that it was removed is refused."""
    fields = decode_object(entry, "log")
    if fields.get("removed", False) is not False:
        raise MalformedResponse("a log says that it was removed")
    topics = decode_list(fields.get("topics"), "topics of a log")
    if len(topics) > MOST_TOPICS:
        raise MalformedResponse(f"a log has {len(topics)} topics")
    return Log(
        address=decode_address(fields.get("address"), "address of a log"),
        topics=tuple(decode_bytes(topic, "topic of a log", 32) for topic in topics),
        data=decode_bytes(fields.get("data"), "data of a log"),
        block_number=decode_quantity(fields.get("blockNumber"), "blockNumber of a log"),
        block_hash=decode_hash(fields.get("blockHash"), "blockHash of a log"),
        transaction_hash=decode_hash(fields.get("transactionHash"), "transactionHash of a log"),
        log_index=decode_quantity(fields.get("logIndex"), "logIndex of a log"),
    )


def decode_block(answer: object, name: str) -> BlockRef:
    """A header as `eth_getBlockBy…` gives it; `name` is the block's in messages."""
    fields = decode_object(answer, name)
    base_fee = fields.get("baseFeePerGas")
    return BlockRef(
        number=decode_quantity(fields.get("number"), f"number of {name}"),
        hash=decode_hash(fields.get("hash"), f"hash of {name}"),
        parent_hash=decode_hash(fields.get("parentHash"), f"parentHash of {name}"),
        timestamp_s=decode_quantity(fields.get("timestamp"), f"timestamp of {name}"),
        base_fee_wei=None if base_fee is None else decode_quantity(base_fee, f"baseFeePerGas of {name}"),
        gas_limit=decode_quantity(fields.get("gasLimit"), f"gasLimit of {name}"),
    )
