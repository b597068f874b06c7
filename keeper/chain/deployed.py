"""Where a contract's history begins."""

from __future__ import annotations

from keeper.chain.rpc import Rpc
from keeper.core.block import BlockRef
from keeper.core.errors import BlockUnavailable, KeeperError, MethodUnavailable, RpcFailure
from keeper.core.hexdata import decode_bytes, encode_quantity
from keeper.core.units import Address, to_hex


class NoSuchContract(KeeperError):
    """Nothing is deployed at an address."""


async def first_code_block(rpc: Rpc, contract: Address, head: BlockRef) -> int:
    """The first block at which `contract` has code, by bisection; 0 when the node keeps no old state to ask.

    From 0 on all logs are found too, it only takes longer. Raises `NoSuchContract` when there is no code at the head.
    """
    if not await _has_code(rpc, contract, head.number):
        raise NoSuchContract(f"{to_hex(contract)}: no contract at this address at block {head.number}")
    without, with_code = -1, head.number
    while with_code - without > 1:
        middle = (without + with_code) // 2
        try:
            there = await _has_code(rpc, contract, middle)
        except (BlockUnavailable, MethodUnavailable, RpcFailure):
            return 0
        if there:
            with_code = middle
        else:
            without = middle
    return with_code


async def _has_code(rpc: Rpc, contract: Address, block_number: int) -> bool:
    answer = await rpc.request("eth_getCode", [to_hex(contract), encode_quantity(block_number)])
    return bool(decode_bytes(answer, "answer to eth_getCode"))
