"""The fee for a rollup's parent chain: asked, read, and never less than what a transaction of that length costs."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from keeper.chain.jsonrpc import JsonRpc
from keeper.core.block import Call, CallResult
from keeper.core.errors import QuoteError
from keeper.core.units import to_hex
from keeper.devnet.anvil import install_anvil, running_anvil
from keeper.devnet.packages import install
from keeper.routes.data_fee import (
    GET_L1_FEE,
    OP_STACK_ORACLE,
    SCROLL_ORACLE,
    decode_data_fee,
    encode_data_fee,
    found_oracle,
    incompressible,
)

L1_BLOCK = "0x4200000000000000000000000000000000000015"
DEPOSITOR = "0xDeaDDEaDDeAdDeAdDEAdDEaddeAddEAdDEAd0001"
GWEI = 10**9


def word(number: int) -> CallResult:
    return CallResult(ok=True, returndata=number.to_bytes(32, "big"))


def test_the_call_is_what_the_abi_says() -> None:
    for size in (1, 31, 32, 700):
        call = encode_data_fee(OP_STACK_ORACLE, size)
        assert call.calldata == keccak(text="getL1Fee(bytes)")[:4] + encode(["bytes"], [incompressible(size)])


def test_its_bytes_cannot_be_shortened() -> None:
    content = incompressible(6_000)
    assert len(content) == 6_000 and 0 not in content
    assert len({content[at : at + 3] for at in range(len(content) - 2)}) == len(content) - 2
    assert incompressible(500) == content[:500]


def test_what_is_no_fee_is_refused() -> None:
    assert decode_data_fee(word(7)) == 7
    for result in (CallResult(ok=True, returndata=b""), CallResult(ok=False, returndata=bytes(32)), word(10**30)):
        with pytest.raises(QuoteError):
            decode_data_fee(result)


def test_the_oracle_is_the_one_that_answers() -> None:
    none = CallResult(ok=True, returndata=b"")
    assert found_oracle([word(5), none]) == OP_STACK_ORACLE
    assert found_oracle([none, word(5)]) == SCROLL_ORACLE
    assert found_oracle([none, none]) is None


def test_an_oracle_that_tells_no_fee_is_not_one_that_is_not_there() -> None:
    none, reverted = CallResult(ok=True, returndata=b""), CallResult(ok=False, returndata=b"")
    for answers in ([reverted, none], [none, reverted], [word(10**30), none]):
        with pytest.raises(QuoteError):
            found_oracle(answers)


def deployed_code(contract: str) -> str:
    folder = install("op_stack") / "@eth-optimism" / "contracts-bedrock" / "forge-artifacts"
    stored = json.loads(Path(folder / f"{contract}.sol" / f"{contract}.json").read_text())
    return str(stored["deployedBytecode"]["object"])


class OpStack:
    """The real oracle and the block values under it, on an anvil."""

    def __init__(self, rpc: JsonRpc) -> None:
        self._rpc = rpc

    async def place(self, address: str, contract: str) -> None:
        await self._rpc.request("anvil_setCode", [address, deployed_code(contract)])

    async def send(self, to: str, data: bytes) -> None:
        body = {"from": DEPOSITOR, "to": to, "data": to_hex(data), "gas": hex(10**6)}
        receipt = await self._rpc.request("eth_sendTransactionSync", [body])
        assert receipt["status"] == "0x1"

    async def fee_wei(self, call: Call) -> int:
        body = {"to": to_hex(call.target), "data": to_hex(call.calldata)}
        answer = await self._rpc.request("eth_call", [body, "latest"])
        return decode_data_fee(CallResult(ok=True, returndata=bytes.fromhex(answer[2:])))

    async def fee_of_wei(self, content: bytes) -> int:
        return await self.fee_wei(Call(OP_STACK_ORACLE, GET_L1_FEE + encode(["bytes"], [content])))


@pytest.fixture
async def op_stack() -> AsyncIterator[OpStack]:
    async with running_anvil(install_anvil()) as anvil:
        rpc = JsonRpc(anvil.url, timeout_s=20)
        stack = OpStack(rpc)
        await stack.place(L1_BLOCK, "L1Block")
        await stack.place(to_hex(OP_STACK_ORACLE), "GasPriceOracle")
        await rpc.request("anvil_autoImpersonateAccount", [True])
        await rpc.request("anvil_setBalance", [DEPOSITOR, hex(10**20)])
        yield stack
        await rpc.close()


async def bound_holds(stack: OpStack, rng: random.Random) -> None:
    for size in (600, 1_400, 4_000):
        bound_wei = await stack.fee_wei(encode_data_fee(OP_STACK_ORACLE, size))
        assert bound_wei
        for _ in range(6):
            length = rng.randint(size // 2, size)
            words = b"".join(bytes(12) + rng.randbytes(20) for _ in range(length // 32 + 1))[:length]
            for content in (rng.randbytes(length), bytes(length), words):
                assert await stack.fee_of_wei(content) <= bound_wei


@pytest.mark.long  # fetches the contracts, 14 MB
async def test_no_transaction_of_the_length_costs_more_by_any_of_the_chains_rules(op_stack: OpStack) -> None:
    rng = random.Random("data fee")
    types = ["uint64", "uint64", "uint256", "bytes32", "uint64", "bytes32", "uint256", "uint256"]
    first = keccak(text=f"setL1BlockValues({','.join(types)})")[:4]
    await op_stack.send(L1_BLOCK, first + encode(types, [1, 1, 30 * GWEI, bytes(32), 0, bytes(32), 188, 684_000]))
    await bound_holds(op_stack, rng)  # Bedrock: by zero and other bytes
    await op_stack.send(to_hex(OP_STACK_ORACLE), keccak(text="setEcotone()")[:4])
    packed = (1_368).to_bytes(4, "big") + (810_949).to_bytes(4, "big") + bytes(8) + b"\0\0\0\0\0\0\0\1" * 2
    fees = (30 * GWEI).to_bytes(32, "big") + GWEI.to_bytes(32, "big") + bytes(64)
    await op_stack.send(L1_BLOCK, keccak(text="setL1BlockValuesEcotone()")[:4] + packed + fees)
    await bound_holds(op_stack, rng)  # Ecotone: with blobs
    await op_stack.send(to_hex(OP_STACK_ORACLE), keccak(text="setFjord()")[:4])
    await bound_holds(op_stack, rng)  # Fjord: by what compression leaves
