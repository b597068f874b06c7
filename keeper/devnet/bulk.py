"""Many transactions in few blocks: raw batches with explicit nonces, mining by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from keeper.core.units import Address, to_hex
from keeper.devnet.chain import DevChain, Tx, tx_body
from keeper.devnet.errors import DevnetError, Reverted

_PER_BATCH = 500
_WIDE_BLOCK_GAS = 10**11
_USUAL_BLOCK_GAS = 30_000_000
_USUAL_BASE_FEE_WEI = 10**9
_MOST_BLOCKS = 50
_PATIENCE_S = 60.0


@asynccontextmanager
async def wide_blocks(chain: DevChain) -> AsyncIterator[None]:
    """Blocks that hold anything and are mined by hand while it lasts; one transaction a block afterwards.

    The base fee is put back to 1 gwei at the end, since the wide blocks push it around.
    """
    await chain.rpc.request("evm_setAutomine", [False])
    await chain.rpc.request("evm_setBlockGasLimit", [hex(_WIDE_BLOCK_GAS)])
    try:
        yield
    finally:
        await chain.rpc.request("evm_setBlockGasLimit", [hex(_USUAL_BLOCK_GAS)])
        await chain.rpc.request("evm_setAutomine", [True])
        await chain.rpc.request("anvil_setNextBlockBaseFeePerGas", [hex(_USUAL_BASE_FEE_WEI)])
        await chain.rpc.request("evm_mine")


async def send_all(chain: DevChain, txs: Sequence[Tx], what: str) -> list[dict[str, Any]]:
    """Send and mine all (inside `wide_blocks`); their receipts in order.

    One sender's transactions run in the order given; different senders' in any order, so what depends on another
    sender's transaction belongs into a later call. Raises Reverted for the first that failed.
    """
    hashes = await _submit(chain, txs, what)
    receipts = await _mine_until_done(chain, hashes, what)
    _refuse_reverts(txs, receipts, what)
    return receipts


async def send_together(chain: DevChain, txs: Sequence[Tx], what: str) -> None:
    """Send all at once on a chain that mines by itself, and wait for them. Raises Reverted, DevnetError.

    They land in one block where blocks come at intervals, else in one or several.
    """
    hashes = await _submit(chain, txs, what)
    deadline = asyncio.get_running_loop().time() + _PATIENCE_S
    while asyncio.get_running_loop().time() < deadline:
        receipts = await chain.batch([("eth_getTransactionReceipt", [each]) for each in hashes], what)
        if all(receipts):
            _refuse_reverts(txs, receipts, what)
            return
        await asyncio.sleep(0.01)
    raise DevnetError(f"{what}: not mined within {_PATIENCE_S:g} s")


def _refuse_reverts(txs: Sequence[Tx], receipts: Sequence[dict[str, Any]], what: str) -> None:
    for tx, receipt in zip(txs, receipts, strict=True):
        if int(receipt["status"], 16) != 1:
            raise Reverted(f"{what}: a transaction of {to_hex(tx.sender)} reverted", b"")


async def _submit(chain: DevChain, txs: Sequence[Tx], what: str) -> list[str]:
    senders = list(dict.fromkeys(tx.sender for tx in txs))
    counts = await chain.batch([("eth_getTransactionCount", [to_hex(each), "latest"]) for each in senders], what)
    nonces: dict[Address, int] = {sender: int(count, 16) for sender, count in zip(senders, counts, strict=True)}
    bodies = []
    for tx in txs:
        bodies.append(tx_body(tx, nonces[tx.sender]))
        nonces[tx.sender] += 1
    hashes: list[str] = []
    for start in range(0, len(bodies), _PER_BATCH):
        part = bodies[start : start + _PER_BATCH]
        hashes += await chain.batch([("eth_sendTransaction", [body]) for body in part], what)
    return hashes


async def _mine_until_done(chain: DevChain, hashes: Sequence[str], what: str) -> list[dict[str, Any]]:
    for _ in range(_MOST_BLOCKS):
        await chain.rpc.request("evm_mine")
        receipts = await chain.batch([("eth_getTransactionReceipt", [each]) for each in hashes], what)
        if all(receipts):
            return receipts
    raise DevnetError(f"{what}: transactions are still pending after {_MOST_BLOCKS} blocks")
