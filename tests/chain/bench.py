"""A small anvil of the test's own, with a few hand-written contracts to read and to log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from keeper.chain.blocks import read_header
from keeper.chain.endpoints import Endpoints
from keeper.chain.jsonrpc import JsonRpc
from keeper.chain.line import Endpoint
from keeper.chain.multicall import MULTICALL3
from keeper.core.block import BlockRef, Call
from keeper.core.lending import LogFilter
from keeper.core.units import Address, address_from_hex, to_hex
from keeper.devnet.anvil import AnvilOptions, find_anvil, install_anvil, running_anvil
from keeper.devnet.compile import own_artifacts
from tests.faults import Manners

CHAIN_ID = 31337
SENDER = address_from_hex("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266")

TOPIC = b"\x22" * 32
LOGGER = Address(b"\x01" * 20)
OTHER_LOGGER = Address(b"\x02" * 20)
ECHO = Address(b"\x03" * 20)
REVERTER = Address(b"\x04" * 20)
NUMBER = Address(b"\x05" * 20)
HEAVY = Address(b"\x06" * 20)
INVALID = Address(b"\x07" * 20)
ENDLESS = Address(b"\x08" * 20)
NOBODY = Address(b"\x09" * 20)

_CODE = {
    # log1(topic = calldata[0:32], data = calldata[32:64])
    LOGGER: "60203560005260003560206000a100",
    OTHER_LOGGER: "60203560005260003560206000a100",
    # return calldata
    ECHO: "366000600037366000f3",
    # revert with calldata
    REVERTER: "366000600037366000fd",
    # return the block's number
    NUMBER: "4360005260206000f3",
    # hash 256 KiB (about 205,000 gas), then return one word
    HEAVY: "6204000060002060005260206000f3",
    INVALID: "fe",
    # loop until the gas is gone
    ENDLESS: "5b600056",
}

LOGS = LogFilter((LOGGER,), (TOPIC,))

SICK = [
    Manners(html=True),
    Manners(truncated=True),
    Manners(empty=True),
    Manners(wrong_id=True),
    Manners(dropped=True),
    Manners(hung_up=True),
    Manners(delay_s=5.0),
    Manners(status=401),
    Manners(status=429, retry_after="60"),
    Manners(status=500),
    Manners(status=503),
]
"""Every way in which an endpoint fails to answer."""


@dataclass
class Bench:
    """A node and a plain client on it, for what the test does to the chain."""

    url: str
    node: JsonRpc

    def endpoints(self, *urls: str, **changes: Any) -> Endpoints:
        """Endpoints on this node or, when given, on other URLs in order."""
        settings = {"timeout_s": 2.0} | changes
        return Endpoints([Endpoint(url, **settings) for url in urls or (self.url,)], CHAIN_ID)

    async def mine(self, blocks: int = 1) -> BlockRef:
        await self.node.request("anvil_mine", [hex(blocks), "0x7"])
        return await self.head()

    async def head(self) -> BlockRef:
        return await read_header(self.node, "latest")

    async def reorg(self, depth: int) -> BlockRef:
        """Replace the last `depth` blocks by empty ones."""
        await self.node.request("anvil_reorg", [depth, []])
        return await self.head()

    async def rollback(self, depth: int) -> BlockRef:
        await self.node.request("anvil_rollback", [depth])
        return await self.head()

    async def log(self, word: int, *, topic: bytes = TOPIC, logger: Address = LOGGER) -> None:
        """Emit one log in a block of its own."""
        body = {
            "from": to_hex(SENDER),
            "to": to_hex(logger),
            "data": to_hex(topic + word.to_bytes(32)),
            "gas": hex(100_000),
        }
        receipt = await self.node.request("eth_sendTransactionSync", [body])
        assert receipt["status"] == "0x1"
        assert len(receipt["logs"]) == 1

    async def log_in_one_block(self, words: Sequence[int]) -> BlockRef:
        await self.node.request("evm_setAutomine", [False])
        for word in words:
            data = to_hex(TOPIC + word.to_bytes(32))
            body = {"from": to_hex(SENDER), "to": to_hex(LOGGER), "data": data, "gas": hex(100_000)}
            await self.node.request("eth_sendTransaction", [body])
        await self.node.request("evm_mine")
        await self.node.request("evm_setAutomine", [True])
        return await self.head()


@asynccontextmanager
async def running_bench(*, multicall: bool = True) -> AsyncIterator[Bench]:
    binary = find_anvil() or install_anvil()
    async with running_anvil(binary, AnvilOptions()) as anvil, JsonRpc(anvil.url) as node:
        for address, code in _CODE.items():
            await node.request("anvil_setCode", [to_hex(address), "0x" + code])
        if multicall:
            runtime = own_artifacts()["Multicall"].runtime
            await node.request("anvil_setCode", [to_hex(MULTICALL3), "0x" + runtime])
        yield Bench(anvil.url, node)


def echo(words: int) -> Call:
    """A read that answers with `words` as one word."""
    return Call(ECHO, words.to_bytes(32))
