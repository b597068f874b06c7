"""Receipts, and what they say of our calls: why one reverted, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keeper.core.block import BlockRef, Call, Log
from keeper.core.errors import MalformedResponse, MethodUnavailable, RpcFailure
from keeper.core.hexdata import decode_address, decode_bytes, decode_hash, decode_list, decode_object, decode_quantity
from keeper.core.order import MinedCall
from keeper.core.units import Address, Hash32, to_hex
from keeper.core.wire import decode_log
from keeper.execution.markets import MarketHandle, lost_race, revert_in_words
from keeper.execution.past import PastBlocks
from keeper.execution.rpc import Rpc
from keeper.execution.wire import pinned


@dataclass(frozen=True, slots=True)
class Receipt:
    transaction_hash: Hash32
    sender: Address
    block_hash: Hash32
    block_number: int
    succeeded: bool
    gas_used: int
    effective_gas_price_wei: int
    l1_fee_wei: int
    """Charged on top of gas where a rollup says so in the receipt."""
    logs: tuple[Log, ...]

    @property
    def cost_wei(self) -> int:
        return self.gas_used * self.effective_gas_price_wei + self.l1_fee_wei


def decode_receipt(answer: object) -> Receipt:
    entry = decode_object(answer, "receipt")
    return Receipt(
        transaction_hash=decode_hash(entry.get("transactionHash"), "receipt's transaction hash"),
        sender=decode_address(entry.get("from"), "receipt's sender"),
        block_hash=decode_hash(entry.get("blockHash"), "receipt's block hash"),
        block_number=decode_quantity(entry.get("blockNumber"), "receipt's block number"),
        succeeded=decode_quantity(entry.get("status"), "receipt's status") == 1,
        gas_used=decode_quantity(entry.get("gasUsed"), "receipt's gas"),
        effective_gas_price_wei=decode_quantity(entry.get("effectiveGasPrice"), "receipt's gas price"),
        l1_fee_wei=_optional_quantity(entry.get("l1Fee"), "receipt's L1 fee"),
        logs=tuple(decode_log(log) for log in decode_list(entry.get("logs"), "receipt's logs")),
    )


def _optional_quantity(text: object, what: str) -> int:
    return 0 if text is None else decode_quantity(text, what)


async def read_receipt(rpc: Rpc, transaction_hash: Hash32) -> Receipt | None:
    """None while the transaction is not in a block."""
    answer = await rpc.request("eth_getTransactionReceipt", [to_hex(transaction_hash)])
    return None if answer is None else decode_receipt(answer)


async def mined_call(
    rpc: Rpc, past: PastBlocks, handle: MarketHandle[Any, Any], index: int, call: Call, gas_limit: int, receipt: Receipt
) -> MinedCall:
    """What became of the order's call of this index, not valued yet. Raises `ChainError` while its block cannot be read."""
    block, revert, late = await past.header(rpc, receipt.block_hash), None, False
    if not receipt.succeeded:
        parent = await past.header(rpc, block.parent_hash)
        found = await read_revert(rpc, call, receipt, gas_limit, parent, block)
        revert = revert_in_words(handle, found.revert_data) if found.revert_data else found.note
        late = lost_race(handle, found.revert_data) if found.revert_data else False
    return MinedCall(
        call_index=index,
        transaction_hash=receipt.transaction_hash,
        block=block,
        succeeded=receipt.succeeded,
        gas_used=receipt.gas_used,
        effective_gas_price_wei=receipt.effective_gas_price_wei,
        logs=receipt.logs,
        revert=revert,
        lost_race=late,
    )


@dataclass(frozen=True, slots=True)
class Revert:
    """Why a mined call reverted: its revert bytes, or a remark where they cannot be had."""

    revert_data: bytes | None
    note: str


async def read_revert(
    rpc: Rpc, call: Call, receipt: Receipt, gas_limit: int, parent: BlockRef, block: BlockRef
) -> Revert:
    """From the node's trace of the transaction; where it offers none, by running the call again on the block before, and where
    it succeeds there on what its own block left: what was first in it is there."""
    if receipt.gas_used >= gas_limit:
        return Revert(None, "it ran out of gas")
    return await _traced(rpc, receipt) or await _rerun(rpc, call, receipt, parent, block)


async def _traced(rpc: Rpc, receipt: Receipt) -> Revert | None:
    try:
        trace = await rpc.request(
            "debug_traceTransaction",
            [to_hex(receipt.transaction_hash), {"tracer": "callTracer", "tracerConfig": {"onlyTopCall": True}}],
        )
    except (MethodUnavailable, RpcFailure, MalformedResponse):
        return None
    if not isinstance(trace, dict) or not isinstance(trace.get("output"), str):
        return None
    return Revert(decode_bytes(trace["output"], "traced output"), str(trace.get("error", "reverted without data")))


async def _rerun(rpc: Rpc, call: Call, receipt: Receipt, parent: BlockRef, block: BlockRef) -> Revert:
    """Best effort: neither state is the very one in the middle of the block."""
    request = {
        "from": to_hex(receipt.sender),
        "to": to_hex(call.target),
        "input": to_hex(call.calldata),
    }
    overrides = {"number": hex(block.number), "time": hex(block.timestamp_s)}
    for state in (parent, block):
        params: list[Any] = [request, pinned(state), {}, overrides]
        try:
            await rpc.request("eth_call", params)
        except MethodUnavailable:
            return Revert(None, "the node cannot run it again")
        except RpcFailure as failure:
            return Revert(failure.data, str(failure))
    return Revert(None, "it succeeds on the block before: something earlier in its block made it revert")
