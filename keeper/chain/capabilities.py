"""What each endpoint can do, found out once at the start, and the slower way taken where it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keeper.chain.endpoints import Endpoints, raised
from keeper.chain.failover import OPEN
from keeper.chain.line import UNWELL, Line, monotonic_s
from keeper.concurrency import Group
from keeper.core.block import BlockRef
from keeper.core.errors import ChainError, RpcFailure
from keeper.core.hexdata import encode_quantity

DEPTHS_BLOCKS = (100_000, 10_000, 1_000, 128)
"""Looked for in this order where the endpoint is no archive."""
SHORT_CHAIN_BLOCKS = 20_000
"""A chain shorter than this is kept whole by an archive; the first blocks of an older one may be of another software."""
_NOBODY = "0x" + "00" * 20
_SIMULATION = [{"blockStateCalls": [{"calls": [{"to": _NOBODY}]}], "validation": False}, "latest"]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What was found of one endpoint. `trouble` says why nothing could be; then the rest is what is hoped for."""

    label: str
    archive: bool = True
    """State of old blocks can be read."""
    state_depth_blocks: int | None = None
    """Else of blocks at most so far below its head; None where not even that of the least depth was found."""
    batches: bool = True
    simulates: bool = True
    trouble: ChainError | None = None


async def probe(pool: Endpoints, head: BlockRef) -> list[Capabilities]:
    """Every endpoint at once, in configured order. None of their troubles is raised."""
    async with Group() as group:
        probing = [group.create_task(_probe(pool, line, head)) for line in pool.lines]
    return [each.result() for each in probing]


def slower_ways(found: Capabilities, everybody: Sequence[Capabilities]) -> list[str]:
    """In words, what is done otherwise for what this endpoint lacks."""
    if found.trouble is not None:
        return [f"it was not reached ({found.trouble}): it is asked again when the others are in trouble"]
    ways = []
    if not found.batches:
        ways.append("no JSON-RPC batches: calls are sent one by one")
    if not found.archive:
        reach = (
            f"of fewer than {DEPTHS_BLOCKS[-1]} blocks"
            if found.state_depth_blocks is None
            else f"down to {found.state_depth_blocks} blocks"
        )
        ways.append(
            f"no archive: it has state {reach}; what is older is asked of others, or checked at the head instead"
        )
    if not found.simulates:
        able = [other.label for other in everybody if other.simulates and other.trouble is None]
        ways.append(
            f"no eth_simulateV1: simulations go to {', '.join(able)}"
            if able
            else "no eth_simulateV1: each order is tried by itself in an eth_call with state overrides"
        )
    return ways


async def _probe(pool: Endpoints, line: Line, head: BlockRef) -> Capabilities:
    begun_s = monotonic_s()
    try:
        await pool.know_chain(line)
        simulates = await _answers(line, "eth_simulateV1", _SIMULATION)
        archive, depth_blocks = await _state_depth(line, head)
        await _ask(line, ("eth_chainId", ()), ("eth_chainId", ()))
        return Capabilities(line.label, archive, depth_blocks, line.batches, simulates)
    except ChainError as error:
        if isinstance(error, UNWELL):
            line.health.failed(error, begun_s)
        return Capabilities(line.label, trouble=error)


async def _state_depth(line: Line, head: BlockRef) -> tuple[bool, int | None]:
    """Whether old state can be read, and else how far down."""
    oldest = 1 if head.number <= SHORT_CHAIN_BLOCKS else head.number // 2
    if await _has_state(line, min(oldest, head.number)):
        return True, None
    for depth_blocks in DEPTHS_BLOCKS:
        if head.number - depth_blocks > oldest and await _has_state(line, head.number - depth_blocks):
            return False, depth_blocks
    return False, None


async def _has_state(line: Line, block_number: int) -> bool:
    return await _answers(line, "eth_getBalance", [_NOBODY, encode_quantity(block_number)])


async def _answers(line: Line, method: str, params: Sequence[Any]) -> bool:
    """Whether there is a result. Raises what says nothing about that."""
    try:
        await _ask(line, (method, params))
    except UNWELL:
        raise
    except (*OPEN, RpcFailure):
        return False
    return True


async def _ask(line: Line, *entries: tuple[str, Sequence[Any]]) -> None:
    answers: list[Any | ChainError] = []
    await line.answer(entries, answers)
    for answer in answers:
        raised(answer)
