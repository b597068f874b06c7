from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.chain.bench import Bench, running_bench
from tests.faults import FaultProxy
from tests.socket_faults import SocketProxy


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with running_bench() as each:
        yield each


@pytest.fixture
async def proxy(bench: Bench) -> AsyncIterator[FaultProxy]:
    """In front of the bench's node."""
    async with FaultProxy(bench.url) as each:
        yield each


@pytest.fixture
async def second(bench: Bench) -> AsyncIterator[FaultProxy]:
    """Another way to the same node."""
    async with FaultProxy(bench.url) as each:
        yield each


@pytest.fixture
async def sockets(bench: Bench) -> AsyncIterator[SocketProxy]:
    """Where the bench's node announces."""
    async with SocketProxy(bench.url) as each:
        yield each
