"""Heads may be missed, doubled, late, wrong or cut off: logs never. And a reorg is unwound, or built again when it is deep."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import cast

import pytest

from keeper.chain.announced import Announcements
from keeper.chain.blocks import read_header
from keeper.chain.sockets import IpcAddress, WebSocketAddress
from keeper.chain.subscription import Patience
from keeper.core.block import BlockRef
from keeper.core.errors import BlockUnavailable
from keeper.devnet import actions
from keeper.devnet.market import Bed
from tests.protocols.following import Following
from tests.protocols.onchain import cases
from tests.socket_faults import SocketManners, SocketProxy

FAULTS = (
    SocketManners(),
    SocketManners(times=3),
    SocketManners(drop_every=2),
    SocketManners(backwards=True),
    SocketManners(removed=True),
    SocketManners(half_headers=True),
    SocketManners(garbage=True),
    SocketManners(late_blocks=3),
    SocketManners(silent=True),
    SocketManners(refuses=True),
    SocketManners(half_open=True),
    SocketManners(cut_off=True),
)


@pytest.mark.parametrize("seed", range(cases(2, 40)))
async def test_the_book_equals_the_chain_through_every_fault_of_a_subscription(bed36: Bed, seed: int) -> None:
    """The daemon's way: the next head, whatever it is; the logs since the last one; again."""
    rng = random.Random(f"heads {seed}")
    actors = actions.new_accounts(8, seed=seed)
    await actions.equip(bed36, actors)
    await bed36.chain.mine(8)  # so that no rollback takes their money
    accounts = [*actors, *(opening.borrower for opening in bed36.openings[:10])]
    async with AsyncExitStack() as stack:
        sockets = await stack.enter_async_context(SocketProxy(bed36.url))
        announced = Announcements(
            [WebSocketAddress(sockets.url), IpcAddress(sockets.ipc_path)],
            bed36.deployment.chain_id,
            patience=Patience(answer_s=0.2, probe_after_s=0.5),
            first_pause_s=0.02,
        )
        await stack.enter_async_context(announced.followed())
        following = Following(bed36, announced=announced)
        await following.start()
        heads = cast(AsyncGenerator[BlockRef, None], following.client.heads())
        stack.push_async_callback(heads.aclose)

        async def caught_up() -> None:
            """Heads are taken until the newest was."""
            async with asyncio.timeout(20.0):
                # Asked each time: what a rollback put back into the mempool may be mined a moment later.
                while following.follower.applied != await read_header(bed36.chain.rpc, "latest"):
                    try:
                        await following.take(await anext(heads))
                    except BlockUnavailable:
                        continue  # it moved meanwhile

        await following.take(await anext(heads))
        for step in range(20):
            sockets.manners = rng.choice(FAULTS)
            if step % 4 == 3:
                await bed36.chain.rpc.request("anvil_rollback", [rng.randint(1, 6)])
            for _ in range(rng.randint(1, 4)):
                await actions.random_action(rng, bed36, accounts)
            if rng.random() < 0.4:
                await bed36.chain.rpc.request("anvil_rollback", [rng.randint(1, 3)])
            await actions.random_action(rng, bed36, accounts)
            await caught_up()
            if rng.random() < 0.2:
                await sockets.hang_up()
        assert await following.chain_rows() == following.book_rows()
        assert following.rewound
    assert sockets.connections >= 3


async def test_a_reorg_is_unwound_up_to_the_configured_depth_and_else_built_again(bed36: Bed) -> None:
    rng = random.Random("depths")
    accounts = [opening.borrower for opening in bed36.openings[:10]]
    following = Following(bed36, reorg_depth=4)
    await following.start()
    for depth in (1, 4, 5, 3, 9, 4):
        for _ in range(10):
            await actions.random_action(rng, bed36, accounts)
            await following.advance()
        await bed36.chain.rpc.request("anvil_rollback", [depth])
        await actions.random_action(rng, bed36, accounts)
        head = await following.newest()
        common = await following.client.extend(head)
        assert common == (head.number - 1 if depth <= 4 else 0)
        assert following.follower.rewind(common)
        assert following.follower.built == (depth <= 4), "unwound, not read anew"
        await following.follower.advance(head)
        assert await following.chain_rows() == following.book_rows(), f"after a reorg of {depth}"
