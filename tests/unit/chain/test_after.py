"""Reads in a block to come: what is asked, and what becomes of the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from keeper.chain.after import ASK_AGAIN_BLOCKS, ReadsAfter
from keeper.chain.rpc import Entry
from keeper.core.block import BlockRef, Call, CallResult, PendingTransaction
from keeper.core.errors import ChainError, MalformedResponse, MethodUnavailable, RpcFailure, RpcTimeout
from keeper.core.units import Address, Hash32

BLOCK = BlockRef(7, Hash32(b"\x07" * 32), Hash32(b"\x06" * 32), 1_000, 1, 30_000_000)
READ = Call(Address(b"\x01" * 20), b"\x02\x03")
PENDING = PendingTransaction(
    Hash32(bytes(32)), Address(b"\x0a" * 20), Address(b"\x0b" * 20), b"\x05", 3, 50_000, 9, 1, 4
)
OK, FAILED = {"status": "0x1", "returnData": "0x2a"}, {"status": "0x0", "returnData": "0x", "error": {"code": 3}}


class Node:
    """Answers every request alike and remembers them."""

    clock: Any = "0x" + "00" * 30 + "03f2"
    calls: tuple[Any, ...] = ("0x2a",)

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[tuple[str, Any]] = []

    async def request(self, method: str, params: Sequence[Any] = ()) -> Any:
        self.asked.append((method, params))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def batch(self, entries: Sequence[Entry]) -> list[Any | ChainError]:
        self.asked += entries
        return [self.clock, *self.calls[: len(entries) - 1]]


def simulated(*calls: dict[str, Any], timestamp: str = "0x3f2") -> list[dict[str, Any]]:
    return [{"timestamp": timestamp, "calls": list(calls)}]


async def test_the_transactions_come_first_and_their_results_are_left_out() -> None:
    node = Node(simulated(FAILED, OK))
    answers = await ReadsAfter(node).read([READ], BLOCK, 1_010, [PENDING])
    assert answers == [CallResult(ok=True, returndata=b"\x2a")]
    [(method, (request, at))] = node.asked
    [block] = request["blockStateCalls"]
    assert method == "eth_simulateV1"
    assert at == {"blockHash": "0x" + "07" * 32, "requireCanonical": True}
    assert block["blockOverrides"] == {"number": "0x8", "time": "0x3f2"}
    first, second = block["calls"]
    assert first == {
        "from": "0x" + "0a" * 20, "to": "0x" + "0b" * 20, "input": "0x05", "value": "0x3", "gas": "0xc350"
    }  # fmt: skip
    assert second == {"to": "0x" + "01" * 20, "input": "0x0203"}


async def test_a_call_that_reverts_is_a_result() -> None:
    node = Node(simulated(FAILED))
    assert await ReadsAfter(node).read([READ], BLOCK, 1_010) == [CallResult(ok=False, returndata=b"")]


async def test_a_node_without_the_method_is_asked_once_and_then_by_calls_at_that_time() -> None:
    node = Node(MethodUnavailable("no"))
    after = ReadsAfter(node)
    found = CallResult(ok=True, returndata=b"\x2a")
    assert [await after.read([READ], BLOCK, 1_010) for _ in range(2)] == [[found], [found]]
    assert [method for method, _ in node.asked] == ["eth_simulateV1", *["eth_call"] * 4]
    assert node.asked[-1][1][3] == {"time": "0x3f2"}
    assert await after.read([READ], BLOCK, 1_010, [PENDING]) is None
    much_later = replace(BLOCK, number=BLOCK.number + ASK_AGAIN_BLOCKS)
    await after.read([READ], much_later, 1_010)
    assert [method for method, _ in node.asked].count("eth_simulateV1") == 2


@pytest.mark.parametrize("clock", ["0x", "0x" + "00" * 30 + "03e8", RpcFailure(-32_602, "too many arguments")])
async def test_a_node_that_overrides_nothing_cannot_tell(clock: Any) -> None:
    node = Node(MethodUnavailable("no"))
    node.clock = clock
    assert await ReadsAfter(node).read([READ], BLOCK, 1_010) is None


async def test_reverts_are_told_from_trouble_in_single_calls_too() -> None:
    node = Node(MethodUnavailable("no"))
    node.calls = (RpcFailure(3, "execution reverted", b"\x01"),)
    assert await ReadsAfter(node).read([READ], BLOCK, 1_010) == [CallResult(ok=False, returndata=b"\x01")]
    node.calls = (RpcTimeout("slow"),)
    assert await ReadsAfter(node).read([READ], BLOCK, 1_010) is None


async def test_a_refused_request_says_nothing_of_the_next() -> None:
    node = Node(RpcFailure(-32_000, "too much gas"))
    after = ReadsAfter(node)
    assert [await after.read([READ], BLOCK, 1_010) for _ in range(2)] == [None, None]
    assert len(node.asked) == 2


async def test_no_later_second_is_no_question() -> None:
    node = Node(simulated(OK))
    assert await ReadsAfter(node).read([READ], BLOCK, 1_000) is None
    assert node.asked == []


@pytest.mark.parametrize(
    "answer",
    [simulated(OK, OK), simulated(), [], {}, [{"calls": [OK]}], simulated({})],
)
async def test_odd_answers_raise(answer: Any) -> None:
    with pytest.raises(MalformedResponse):
        await ReadsAfter(Node(answer)).read([READ], BLOCK, 1_010)


async def test_a_node_that_goes_by_a_time_of_its_own_cannot_tell() -> None:
    assert await ReadsAfter(Node(simulated(OK, timestamp="0x3e8"))).read([READ], BLOCK, 1_010) is None


async def test_other_trouble_comes_through() -> None:
    with pytest.raises(RpcTimeout):
        await ReadsAfter(Node(RpcTimeout("slow"))).read([READ], BLOCK, 1_010)
