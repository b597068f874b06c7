"""What is remembered of a block is asked for once, what is asked for together is told apart, and errors are not kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest

from keeper.core.block import BlockRef, Call, CallResult, Log
from keeper.core.errors import MalformedResponse, RpcTimeout
from keeper.core.lending import LogFilter
from keeper.core.units import Address
from keeper.execution.past import MOST_KEPT, PastBlocks
from keeper.protocols.aave_v3.adapter import AaveV3
from tests.unit.execution.fakes import head
from tests.unit.protocols.aave_v3.builders import make_market, make_reserve

FILTER = LogFilter((Address(b"\x01" * 20),), ())


class CountingWorld:
    """Every call answers with its own calldata; `reads` holds how many calls each reading had."""

    def __init__(self) -> None:
        self.reads: list[int] = []
        self.log_reads = 0
        self.ill = False

    async def read(self, calls: Sequence[Call], block: BlockRef) -> Sequence[CallResult]:
        if self.ill:
            raise RpcTimeout("no answer")
        self.reads.append(len(calls))
        return [CallResult(ok=True, returndata=block.hash + call.calldata) for call in calls]

    async def logs(
        self, log_filter: LogFilter, from_block: int, to: BlockRef
    ) -> AsyncIterator[tuple[int, Sequence[Log]]]:
        self.log_reads += 1
        yield to.number, []


def group(name: int, length: int = 2) -> tuple[Call, ...]:
    return tuple(Call(Address(b"\x01" * 20), bytes([name, place])) for place in range(length))


def data(results: Sequence[CallResult]) -> list[bytes]:
    return [result.returndata for result in results]


async def test_what_is_read_beside_is_not_read_again() -> None:
    world, past = CountingWorld(), PastBlocks()
    others = [group(1), group(2, 3), group(3), group(2, 3)]
    assert data(await past.results(world, group(1), head(5), others)) == [
        head(5).hash + b"\1\0",
        head(5).hash + b"\1\1",
    ]
    found = await past.results(world, group(2, 3), head(5), others)
    assert data(found) == [head(5).hash + bytes([2, place]) for place in range(3)]
    await past.results(world, group(3), head(5))
    assert world.reads == [7]
    await past.results(world, group(1), head(6))
    assert world.reads == [7, 2]


async def test_an_error_is_not_remembered() -> None:
    world, past = CountingWorld(), PastBlocks()
    world.ill = True
    with pytest.raises(RpcTimeout):
        await past.results(world, group(1), head(5), [group(2)])
    world.ill = False
    await past.results(world, group(2), head(5))
    assert world.reads == [2]


async def test_no_more_is_kept_than_was_said() -> None:
    world, past = CountingWorld(), PastBlocks()
    await past.logs(world, FILTER, head(5))
    await past.logs(world, FILTER, head(5))
    assert world.log_reads == 1
    for number in range(MOST_KEPT):
        await past.results(world, group(1), head(100 + number))
    await past.logs(world, FILTER, head(5))
    assert world.log_reads == 2


async def test_what_cannot_be_the_blocks_state_is_asked_for_again() -> None:
    world, past = CountingWorld(), PastBlocks()
    market = make_market("3.6", [make_reserve(0)])
    for times in (1, 2):
        with pytest.raises(MalformedResponse):
            await past.state(world, AaveV3(), market, head(5))
        assert len(world.reads) == times
