"""A pending price update and our orders right behind it, in one bundle: whoever it brings below 1 is restored in its block."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_utils.crypto import keccak

from keeper.core.block import PendingTransaction
from keeper.core.errors import ChainError
from keeper.core.order import Outcome
from keeper.core.units import Address, Hash32, address_from_hex, to_hex
from keeper.devnet.market import Bed
from keeper.devnet.throwaway import write_throwaway
from keeper.pipeline.round import Round
from tests.devnet.chain_facts import below_one, nonce
from tests.devnet.updating import BLOCK_S, PATIENCE_S, Updating, updating
from tests.relays.local_relay import LocalRelay

GWEI = 10**9
FALLEN_PERCENT = 86
UPDATER = Account.from_key(b"\x44" * 32)


@dataclass
class Backrun:
    """A keeper with one relay, and a feed whose updates one key signs."""

    updating: Updating
    relay: LocalRelay
    last: Round = field(init=False)

    @property
    def bed(self) -> Bed:
        return self.updating.bed

    async def update(self, percent: int = FALLEN_PERCENT) -> tuple[bytes, PendingTransaction]:
        """Into the pool: its bytes, and what the node tells of it. It pays well for its place in the block."""
        answer = await self.bed.price_base("WETH") * percent // 100
        raw = await self._signed(self.bed.contracts["Aggregator"].function("transmit").encode((answer,)))
        targets = self.updating.desk.follower.reader.watch.feeds.updated_by
        async with aclosing(self.updating.ground.client.pending(targets)) as told:
            async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
                first = group.create_task(anext(told))
                while not first.done():
                    await self.bed.chain.rpc.request("anvil_dropAllTransactions")
                    await self.bed.chain.rpc.request("eth_sendRawTransaction", [to_hex(raw)])
                    await asyncio.sleep(0.3)
            return raw, first.result()

    async def _signed(self, calldata: bytes) -> bytes:
        transaction = {
            "type": 2,
            "chainId": self.bed.deployment.chain_id,
            "nonce": await nonce(self.bed, address_from_hex(UPDATER.address)),
            "to": bytes(self.updating.pushed.aggregator),
            "value": 0,
            "data": calldata,
            "gas": 300_000,
            "maxFeePerGas": 500 * GWEI,
            "maxPriorityFeePerGas": 100 * GWEI,
        }
        return bytes(UPDATER.sign_transaction(transaction).raw_transaction)

    async def built(self) -> tuple[Round, list[Hash32]]:
        """The builder's next block, and what the loop makes of it."""
        await self.bed.chain.rpc.request("evm_increaseTime", [BLOCK_S])
        mined = await self.relay.build(self.bed.chain.rpc)
        return await self.head(), mined

    async def settled(self) -> list[Outcome]:
        """A head waits for outcomes only so long: on a busy machine some are read when it is handled again."""
        outcomes = list(self.last.settled)
        while self.updating.loop.cut_short:
            outcomes += (await self.head()).settled
        return outcomes

    async def head(self) -> Round:
        self.last = await self.updating.head()
        return self.last

    @property
    def sent(self) -> set[Address]:
        """Whose attempts are open."""
        return {borrower for _, borrower in self.updating.loop.open}

    async def sick(self) -> set[Address]:
        return set(await below_one(self.bed, [opening.borrower for opening in self.bed.openings]))


@asynccontextmanager
async def backrunning(bed: Bed, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Backrun]:
    relay = LocalRelay()
    (folder / "known").mkdir()
    reputation = write_throwaway(folder / "known")
    async with relay.serving() as url:
        relays: dict[str, Any] = {
            "urls": url,
            "keystore": str(reputation.keystore),
            "password_file": str(reputation.password_file),
        }
        transmitter = address_from_hex(UPDATER.address)
        async with updating(bed, folder, monkeypatch, transmitter=transmitter, relays=relays) as scene:
            yield Backrun(scene, relay)


def hashes(transactions: list[str]) -> list[Hash32]:
    return [Hash32(keccak(bytes.fromhex(each[2:]))) for each in transactions]


async def test_whoever_the_update_brings_below_one_is_restored_in_its_very_block(
    bed36: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with backrunning(bed36, tmp_path, monkeypatch) as here:
        before = await here.sick()
        raw, pending = await here.update()
        assert await here.updating.prepare(pending) >= 4
        sent = here.sent
        assert len(sent) >= 4
        last = max((txs for _, txs in here.relay.bundles), key=len)
        assert last[0] == to_hex(raw)
        assert len(last) == len(sent) + 1

        head, mined = await here.built()
        outcomes = await here.settled()

        assert mined == hashes(last)
        assert {outcome.borrower for outcome in outcomes} == sent
        for outcome in outcomes:
            assert outcome.restored
            assert outcome.model_error_wad == 0
            assert outcome.amounts_match is not False
            assert outcome.mined[0].block == head.head
        assert not (await here.sick() - before) & sent
        assert here.updating.kept.events("alert", "trouble", "not_restored") == []


@pytest.mark.long
async def test_when_the_update_lands_without_us_nobody_is_left_behind_nor_served_twice(
    bed36: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The relay dropped the bundles, and somebody else mined the update. What was offered is given up at that head: its
    nonces are taken at once, and its borrowers have their next orders when those are used, if others took them."""
    async with backrunning(bed36, tmp_path, monkeypatch) as here:
        assert here.updating.kept.account is not None
        keeper = here.updating.kept.account.address
        used = await nonce(bed36, keeper)
        here.relay.does = "drops"
        _, pending = await here.update()
        await here.updating.prepare(pending)
        first = here.sent
        assert first
        here.relay.does = ""
        await bed36.chain.mine(1, seconds=BLOCK_S)
        await here.head()
        outcomes = await here.settled()
        mined: list[Hash32] = []
        for _ in range(4):
            _, built = await here.built()
            mined += built
            outcomes += await here.settled()
        assert {outcome.borrower for outcome in outcomes if outcome.restored} >= first
        assert await nonce(bed36, keeper) == used + len(mined), "no nonce was left out"
        liquidated = [outcome.borrower for outcome in outcomes for call in outcome.mined if call.succeeded]
        assert len(liquidated) == len(mined)
        assert all(liquidated.count(borrower) == 1 for borrower in first)


@pytest.mark.long
async def test_an_update_that_is_gone_leaves_nothing_on_its_way(
    bed36: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with backrunning(bed36, tmp_path, monkeypatch) as here:
        _, pending = await here.update()
        await bed36.chain.rpc.request("anvil_dropAllTransactions")
        assert await here.updating.prepare(pending) >= 4
        assert here.sent == set(), "its bytes are not to be had any more"
        assert here.relay.bundles == []


async def test_a_node_that_gives_other_bytes_is_not_believed(
    bed36: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with backrunning(bed36, tmp_path, monkeypatch) as here:
        raw, pending = await here.update()
        client = here.updating.ground.client
        assert await client.raw(pending.hash) == raw
        assert await client.raw(Hash32(b"\x01" * 32)) is None
        real = here.updating.ground.rpc.request

        async def lying(method: str, params: Any = (), *args: Any, **more: Any) -> Any:
            answer = await real(method, params, *args, **more)
            return to_hex(raw + b"\0") if method == "eth_getRawTransactionByHash" else answer

        monkeypatch.setattr(here.updating.ground.rpc, "request", lying)
        with pytest.raises(ChainError, match="not those of its hash"):
            await client.raw(pending.hash)


async def test_a_head_waits_with_its_orders_for_those_behind_an_update(
    bed36: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both count on what is left to spend, and on who has no order yet."""
    async with backrunning(bed36, tmp_path, monkeypatch) as here:
        loop, order = here.updating.loop, list[str]()
        begun, may_end = asyncio.Event(), asyncio.Event()
        act, act_behind = loop._actor.act, loop._actor.act_behind

        async def acted(*args: Any) -> None:
            order.append("head")
            await act(*args)

        async def acted_behind(*args: Any) -> None:
            begun.set()
            await may_end.wait()
            await act_behind(*args)
            order.append("behind")

        monkeypatch.setattr(loop._actor, "act", acted)
        monkeypatch.setattr(loop._actor, "act_behind", acted_behind)
        _, pending = await here.update()
        before = loop.head
        async with asyncio.TaskGroup() as group:
            group.create_task(here.updating.prepare(pending))
            await begun.wait()
            head = group.create_task(here.updating.next_head())
            while loop.head == before or loop.desks[0].follower.applied != loop.head:  # noqa: ASYNC110  # what is looked at has no event
                await asyncio.sleep(0.05)
            assert order == []
            may_end.set()
        assert order == ["behind", "head"]
        ordered = [submission.order.borrower for submission in head.result().submitted]
        assert ordered
        assert len(ordered) == len(set(ordered)), "nobody has two orders"
