"""Between a head and its first signature lie two trips to the node: reading, and the simulation. On the real contracts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from keeper.app.ground import Ground
from keeper.chain.jsonrpc import JsonRpc
from keeper.devnet.market import Bed
from keeper.execution.signing.policy import GuardedSigner
from keeper.pipeline.loop import ChainLoop
from tests.bench.crash_bed import crash, crash_bed, live_keeper

QUIET_TURNS = 25
TURN_S = 0.002
FALLS = 3


class Lockstep:
    """Up to the first signature lets exchanges through trip by trip: those that are waiting leave together once nothing more is
    asked. So what must be known before it can be asked takes a trip more, and how fast the machine is does not matter."""

    def __init__(self) -> None:
        self.trips: list[list[str]] = []
        """What each trip asked for."""
        self.signed_after: int | None = None
        """How many trips had come back when the first order was signed."""
        self._waiting: list[tuple[str, asyncio.Event]] = []

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[Lockstep]:
        post, sign = JsonRpc._post, GuardedSigner.sign_transaction

        async def held(client: JsonRpc, body: Any, what: str, *more: Any) -> Any:
            if self.signed_after is not None:
                return await post(client, body, what, *more)
            gate = asyncio.Event()
            self._waiting.append((what, gate))
            await gate.wait()
            return await post(client, body, what, *more)

        async def noted(signer: GuardedSigner, fields: Any) -> Any:
            if self.signed_after is None:
                self.signed_after = len(self.trips)
            return await sign(signer, fields)

        with patch.object(JsonRpc, "_post", held), patch.object(GuardedSigner, "sign_transaction", noted):
            opening = asyncio.get_running_loop().create_task(self._open())  # awaited below
            try:
                yield self
            finally:
                opening.cancel()
                await asyncio.wait([opening])

    async def _open(self) -> None:
        while True:
            asked = await self._quiet()
            if asked:
                self._waiting = []
                self.trips.append([what for what, _ in asked])
                for _, gate in asked:
                    gate.set()

    async def _quiet(self) -> Sequence[tuple[str, asyncio.Event]]:
        """Who waits, once nobody else came for a while."""
        waiting = len(self._waiting)
        for _ in range(QUIET_TURNS):
            await asyncio.sleep(TURN_S)
            if len(self._waiting) != waiting:
                return ()
        return list(self._waiting)


async def fallen(bed: Bed, ground: Ground, loop: ChainLoop) -> Lockstep:
    """The head that shows a fall, and what was asked for until its first order was signed."""
    await crash(bed)
    head = await ground.client.latest()
    async with Lockstep().watched() as steps:
        await loop.on_head(head)
    return steps


async def settled(bed: Bed, ground: Ground, loop: ChainLoop) -> None:
    """Nothing is under way, and the newest block was seen: what is sent is mined at once, in blocks of its own."""
    while loop.open or loop.head != await ground.client.latest():
        if loop.open:
            await bed.chain.rpc.request("evm_mine")
        await loop.on_head(await ground.client.latest())


async def test_two_trips_lie_between_a_head_and_its_first_signature(tmp_path: Path) -> None:
    async with crash_bed(3, 3) as bed, live_keeper(bed, tmp_path) as (ground, loop, _):
        for _ in range(FALLS):
            await settled(bed, ground, loop)
            steps = await fallen(bed, ground, loop)
            assert steps.signed_after == 2, steps.trips[: steps.signed_after]
            assert steps.trips[1] == ["eth_simulateV1"]
