"""A node that serves a synthetic market over JSON-RPC, in a process of its own: logs, headers, pinned multicalls.

`async with synthetic_node(size) as url:` starts one. It knows `eth_chainId`, `eth_blockNumber`, `eth_getBlockBy…`,
`eth_getCode`, `eth_getLogs` (ranges and hashes), `eth_call` (alone and in Multicall3, at any block and time), batches, and
`synthetic_mine [count]`, which appends empty blocks. It keeps all state, refuses nothing, and has no `eth_simulateV1`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from aiohttp import web

from keeper.chain.multicall import AGGREGATE3_SELECTOR, CURRENT_BLOCK_TIMESTAMP_SELECTOR, MULTICALL3
from keeper.core.block import BlockRef, Call, CallResult, Log
from keeper.core.units import Address, to_hex
from tests.bench.synthetic_aave import CHAIN_ID, Size, SyntheticMarket, header

WORD = 32


class Node:
    """Answers from memory; the logs are kept as JSON text, so that serving them costs little."""

    def __init__(self, size: Size) -> None:
        self.market = SyntheticMarket(size)
        self.height = size.blocks
        self._blocks: list[int] = []
        self._entries: list[tuple[str, str, str]] = []
        for log in self.market.logs():
            self._blocks.append(log.block_number)
            self._entries.append((to_hex(log.address), to_hex(log.topics[0]), _log_text(log)))

    def answer_text(self, body: Any) -> str:
        if isinstance(body, list):
            return f"[{','.join(map(self._one, body))}]"
        return self._one(body)

    def _one(self, entry: dict[str, Any]) -> str:
        method, params = entry["method"], entry["params"]
        result = self._logs(params[0]) if method == "eth_getLogs" else json.dumps(self._result(method, params))
        if result == '"?"':
            error = json.dumps({"code": -32601, "message": f"the method {method} does not exist"})
            return f'{{"jsonrpc":"2.0","id":{json.dumps(entry["id"])},"error":{error}}}'
        return f'{{"jsonrpc":"2.0","id":{json.dumps(entry["id"])},"result":{result}}}'

    def _result(self, method: str, params: list[Any]) -> Any:
        if method == "eth_chainId":
            return hex(CHAIN_ID)
        if method == "eth_blockNumber":
            return hex(self.height)
        if method in ("eth_getBlockByNumber", "eth_getBlockByHash"):
            block = self._block(params[0])
            return None if block is None else _header_json(block)
        if method == "eth_getCode":
            return "0x01"
        if method == "eth_call":
            return self._eth_call(*params)
        if method == "synthetic_mine":
            self.height += params[0]
            return hex(self.height)
        return "?"

    def _eth_call(self, body: dict[str, str], named: Any, _state: Any = None, changed: Any = None) -> str | None:
        block = self._block(named)
        if block is None:
            return None
        if changed is not None and "time" in changed:
            block = replace(block, timestamp_s=int(changed["time"], 16))
        call = Call(_address(body["to"]), bytes.fromhex((body.get("data") or body["input"])[2:]))
        return to_hex(self._call(call, block).returndata)

    def _block(self, named: Any) -> BlockRef | None:
        """By number, tag, hash, or an object that holds a hash."""
        text = named["blockHash"] if isinstance(named, dict) else named
        if text in ("latest", "pending", "safe", "finalized"):
            number = self.height
        elif len(text) == 2 + 2 * WORD:
            number = int(text[4:], 16) - 1
        else:
            number = int(text, 16)
        return header(number) if 0 <= number <= self.height else None

    def _logs(self, criteria: dict[str, Any]) -> str:
        if "blockHash" in criteria:
            block = self._block(criteria["blockHash"])
            first = last = -1 if block is None else block.number
        else:
            first, last = int(criteria["fromBlock"], 16), int(criteria["toBlock"], 16)
        addresses = frozenset(criteria["address"])
        topics = frozenset(criteria["topics"][0]) if criteria.get("topics") else None
        entries = self._entries[bisect_left(self._blocks, first) : bisect_right(self._blocks, last)]
        found = [
            text for address, topic, text in entries if address in addresses and (topics is None or topic in topics)
        ]
        return f"[{','.join(found)}]"

    def _call(self, call: Call, block: BlockRef) -> CallResult:
        if call.target != MULTICALL3:
            return self.market.answer(call, block)
        if call.calldata[:4] == CURRENT_BLOCK_TIMESTAMP_SELECTOR:
            return CallResult(ok=True, returndata=block.timestamp_s.to_bytes(WORD))
        assert call.calldata[:4] == AGGREGATE3_SELECTOR
        return CallResult(
            ok=True, returndata=_encode_results([self._call(each, block) for each in _decode_calls(call.calldata)])
        )


def _decode_calls(calldata: bytes) -> list[Call]:
    def word(at: int) -> int:
        return int.from_bytes(calldata[at : at + WORD])

    table = 4 + 2 * WORD
    calls = []
    for index in range(word(4 + WORD)):
        start = table + word(table + WORD * index)
        length = word(start + 3 * WORD)
        calls.append(
            Call(Address(calldata[start + 12 : start + WORD]), calldata[start + 4 * WORD : start + 4 * WORD + length])
        )
    return calls


def _encode_results(results: list[CallResult]) -> bytes:
    offsets: list[bytes] = []
    bodies: list[bytes] = []
    offset = len(results) * WORD
    for result in results:
        offsets.append(offset.to_bytes(WORD))
        length = len(result.returndata)
        padding = -length % WORD
        bodies += (
            int(result.ok).to_bytes(WORD),
            (2 * WORD).to_bytes(WORD),
            length.to_bytes(WORD),
            result.returndata,
            bytes(padding),
        )
        offset += 3 * WORD + length + padding
    return b"".join((WORD.to_bytes(WORD), len(results).to_bytes(WORD), *offsets, *bodies))


def _address(text: str) -> Address:
    return Address(bytes.fromhex(text[2:]))


def _header_json(block: BlockRef) -> dict[str, str]:
    return {
        "number": hex(block.number),
        "hash": to_hex(block.hash),
        "parentHash": to_hex(block.parent_hash),
        "timestamp": hex(block.timestamp_s),
        "baseFeePerGas": hex(block.base_fee_wei or 0),
        "gasLimit": hex(block.gas_limit),
    }


def _log_text(log: Log) -> str:
    return json.dumps(
        {
            "address": to_hex(log.address),
            "topics": [to_hex(topic) for topic in log.topics],
            "data": to_hex(log.data),
            "blockNumber": hex(log.block_number),
            "blockHash": to_hex(log.block_hash),
            "blockTimestamp": hex(header(log.block_number).timestamp_s),
            "transactionHash": to_hex(log.transaction_hash),
            "transactionIndex": "0x0",
            "logIndex": hex(log.log_index),
            "removed": False,
        },
        separators=(",", ":"),
    )


@asynccontextmanager
async def synthetic_node(size: Size) -> AsyncIterator[str]:
    """Its URL, once it answers; it ends with the block."""
    arguments = [str(number) for number in (size.borrowers, size.reserves, size.blocks, size.seed)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.synthetic_node", *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        yield (await process.stdout.readline()).decode().strip()
    finally:
        process.kill()
        await process.wait()


async def serve(size: Size) -> None:
    node = Node(size)

    async def handle(request: web.Request) -> web.Response:
        return web.Response(text=node.answer_text(await request.json()), content_type="application/json")

    application = web.Application(client_max_size=2**30)
    application.router.add_post("/", handle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    sys.stdout.write(f"http://{host}:{port}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Size(*map(int, sys.argv[1:]))))
