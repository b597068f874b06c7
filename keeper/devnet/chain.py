"""Drive a devnet: deploy, send as anyone, read. Raw JSON-RPC; every sender is impersonated, no key is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eth_utils.crypto import keccak

from keeper.chain.jsonrpc import JsonRpc
from keeper.core.errors import ChainError, RpcFailure, RpcTimeout
from keeper.core.units import Address, address_from_hex, to_hex
from keeper.devnet.artifacts import Artifact
from keeper.devnet.errors import DevnetError, Reverted

CREATE_GAS = 16_000_000
CALL_GAS = 4_000_000
_TIMEOUT_S = 120.0
RICH_WEI = 10**24

ON, OFF = True, False
"""Arguments of contract functions, which take them by position."""


@dataclass(frozen=True)
class Tx:
    """A transaction to send: from whom, to whom, what."""

    sender: Address
    to: Address
    calldata: bytes
    value_wei: int = 0
    gas: int = CALL_GAS


class DevChain:
    """A JSON-RPC connection to our own anvil. Close it when done."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.rpc = JsonRpc(url, timeout_s=_TIMEOUT_S)
        self.was_reverted = False
        """From then on anvil may misjudge the next free nonce, and never mine what it gave a later one."""

    async def close(self) -> None:
        await self.rpc.close()

    async def deploy(
        self,
        sender: Address,
        artifact: Artifact,
        args: Sequence[Any] = (),
        libraries: Mapping[str, Address] | None = None,
    ) -> Address:
        """Create a contract and return its address. Raises Reverted."""
        code = artifact.creation_code(args, libraries)
        body = {"from": to_hex(sender), "data": to_hex(code), "gas": hex(CREATE_GAS)}
        receipt = await self._send_and_wait(body, f"creating {artifact.name}")
        return address_from_hex(receipt["contractAddress"])

    async def call(self, to: Address, artifact: Artifact, function: str, *args: Any, block: str = "latest") -> Any:
        """A view function's decoded answer."""
        entry = artifact.function(function)
        output = await self.rpc.request("eth_call", [{"to": to_hex(to), "data": to_hex(entry.encode(args))}, block])
        return entry.decode(bytes.fromhex(output[2:]))

    async def send(
        self, sender: Address, to: Address, artifact: Artifact, function: str, *args: Any, value_wei: int = 0
    ) -> dict[str, Any]:
        """Send one call, wait for its receipt, and return that. Raises Reverted with the contract's answer."""
        tx = Tx(sender, to, artifact.function(function).encode(args), value_wei)
        return await self.transact(tx, f"{artifact.name}.{function}")

    async def transact(self, tx: Tx, what: str = "transaction") -> dict[str, Any]:
        """Send and wait for the receipt (the chain must be mining by itself). Raises Reverted."""
        return await self._send_and_wait(tx_body(tx), what)

    async def _send_and_wait(self, body: dict[str, Any], what: str) -> dict[str, Any]:
        if self.was_reverted:
            body |= {"nonce": await self._used_nonces(body)}
        try:
            receipt: dict[str, Any] = await self.rpc.request("eth_sendTransactionSync", [body])
        except RpcTimeout:
            # After going back anvil may leave one in its pool. It is dropped, and sent once more if it never was mined.
            if not self.was_reverted or await self._used_nonces(body) != body["nonce"]:
                raise
            await self.rpc.request("anvil_dropAllTransactions")
            receipt = await self.rpc.request("eth_sendTransactionSync", [body])
        if int(receipt["status"], 16) != 1:
            raise Reverted(f"{what} reverted", await self._revert_data(body, receipt))
        return receipt

    async def _used_nonces(self, body: dict[str, Any]) -> str:
        used: str = await self.rpc.request("eth_getTransactionCount", [body["from"], "latest"])
        return used

    async def _revert_data(self, body: dict[str, Any], receipt: dict[str, Any]) -> bytes:
        """What the same call answers on the state before the block."""
        try:
            await self.rpc.request("eth_call", [body, hex(int(receipt["blockNumber"], 16) - 1)])
        except RpcFailure as error:
            return error.data or b""
        except ChainError:
            return b""
        return b""

    async def batch(self, entries: Sequence[tuple[str, Sequence[Any]]], what: str) -> list[Any]:
        """All results of one batch. Raises DevnetError if any member failed."""
        results = await self.rpc.batch(entries)
        for result in results:
            if isinstance(result, ChainError):
                raise DevnetError(f"{what}: {result}")
        return results

    async def mine(self, blocks: int = 1, seconds: int | None = None) -> None:
        """Mine blocks; with `seconds`, each is that much later than the one before."""
        for _ in range(blocks):
            if seconds is not None:
                await self.rpc.request("evm_setNextBlockTimestamp", [await self.now_s() + seconds])
            await self.rpc.request("evm_mine")

    async def advance(self, seconds: int) -> None:
        """Let so much time pass, and mine a block at its end."""
        await self.rpc.request("evm_increaseTime", [seconds])
        await self.rpc.request("evm_mine")

    async def now_s(self) -> int:
        """The latest block's time."""
        block = await self.rpc.request("eth_getBlockByNumber", ["latest", False])
        return int(block["timestamp"], 16)

    async def block_number(self) -> int:
        return int(await self.rpc.request("eth_blockNumber"), 16)

    async def fund(self, accounts: Sequence[Address], balance_wei: int = RICH_WEI) -> None:
        """Set the native balance of each account."""
        await self.batch([("anvil_setBalance", [to_hex(each), hex(balance_wei)]) for each in accounts], "funding")


def tx_body(tx: Tx, nonce: int | None = None) -> dict[str, Any]:
    """The JSON-RPC transaction object."""
    body = {"from": to_hex(tx.sender), "to": to_hex(tx.to), "data": to_hex(tx.calldata), "gas": hex(tx.gas)}
    if tx.value_wei:
        body["value"] = hex(tx.value_wei)
    if nonce is not None:
        body["nonce"] = hex(nonce)
    return body


def salted_address(seed: str) -> Address:
    """A fresh account that nobody holds a key to, the same for the same text."""
    return Address(keccak(text=f"keeper devnet {seed}")[12:])
