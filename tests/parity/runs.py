"""The same head judged twice, dry and live, and what the two journals say up to submission."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from keeper.app import build
from keeper.app.plan import RunPlan
from keeper.app.run import run_keeper
from keeper.core.events import Event, Kind, exact_field
from keeper.core.standing import Standing
from keeper.core.units import Address, to_hex
from keeper.devnet.market import Bed
from keeper.devnet.state import Recipe, fresh_snapshot, revert_to, started_bed
from tests.devnet.keeping import Keeping, keeping
from tests.devnet_fixtures import BASE_POSITIONS
from tests.parity.scenario import drawn

WITHIN_S = 120.0
INCLUSION_BLOCKS = 50
"""Of a second each. Long, so that a machine under load does not let the window pass while the head is judged."""

MUST_DIFFER: Mapping[tuple[Kind, str], str] = {
    (Kind.STARTED, "mode"): "it names the mode",
    (Kind.SENT, "mode"): "it names the mode",
    (Kind.SENT, "calls.answer"): "a dry run hands nothing to a node that could answer",
    (Kind.SENT, "calls.transaction_hash"): "a dry run signs nothing",
    (Kind.SENT, "calls.nonce"): "a dry run has no signer whose nonces it could count",
}
"""All that may differ, with why."""
AFTER_SUBMISSION = {Kind.MINED, Kind.REVERTED, Kind.RESTORED, Kind.NOT_RESTORED, Kind.STOPPED}
"""What a dry run tells of its orders is what was simulated; a live one waits for blocks."""


@dataclass
class OneHead:
    """Hears the journal until the first head was judged."""

    events: list[Event] = field(default_factory=list)
    judged: asyncio.Event = field(default_factory=asyncio.Event)

    async def record(self, events: Sequence[Event]) -> None:
        if not self.judged.is_set():
            self.events += [event for event in events if event.kind not in AFTER_SUBMISSION]

    async def record_standing(
        self, chain: str, market: Address, block_number: int, standing: Mapping[Address, Standing]
    ) -> None:
        self.judged.set()


@dataclass(frozen=True)
class Compared:
    """One scenario. `differences` is empty when the journals are the same."""

    seed: int
    differences: tuple[str, ...]
    orders: int
    reasons: tuple[str, ...]
    """Of those who got no order."""


@dataclass
class Stage:
    """A market to come back to, and a keeper with money and allowances for more than all of it."""

    bed: Bed
    live: Keeping
    snapshot: str

    async def compare(self, seed: int, folder: Path) -> Compared:
        """Play one seed. The folder takes both stores."""
        await revert_to(self.bed, self.snapshot)
        self.snapshot = await fresh_snapshot(self.bed)
        for each in ("dry", "live"):
            await asyncio.to_thread((folder / each).mkdir, parents=True)
        tables = await drawn(self.bed, random.Random(f"parity {seed}"))
        now_s = await self.bed.chain.now_s() + 1
        await self.bed.chain.rpc.request("evm_setAutomine", [False])
        try:
            dry = await self._journal(folder / "dry", tables, now_s, live=False)
            live = await self._journal(folder / "live", tables, now_s, live=True)
        finally:
            await self.bed.chain.rpc.request("evm_setAutomine", [True])
        orders = sum(event.kind is Kind.SENT for event in live)
        reasons = sorted({str(event.fields["reason"]) for event in live if event.kind is Kind.REFUSED})
        return Compared(seed, tuple(differences(dry, live)), orders, tuple(reasons))

    async def _journal(
        self, folder: Path, tables: Mapping[str, dict[str, Any]], now_s: int, *, live: bool
    ) -> list[Event]:
        """All that is told from the start until the first head was judged and acted on."""
        assert self.live.account is not None
        kept = Keeping(
            folder, self.bed.url, self.live.provider, self.live.chain_id, self.live.account if live else None
        )
        kept.chain |= {"inclusion_blocks": INCLUSION_BLOCKS, "keeper_address": to_hex(self.live.account.address)}
        kept.tables |= tables
        kept.unlimited = [rail for rail in kept.unlimited if f"rails.{rail}" not in tables]
        settings, witness = kept.settings(mode="live" if live else "dry"), OneHead()
        with patch.object(build, "time", SimpleNamespace(time=lambda: float(now_s))):
            async with asyncio.timeout(WITHIN_S), asyncio.TaskGroup() as group:
                running = group.create_task(run_keeper(settings, RunPlan(True, live, False), observer=witness))
                await witness.judged.wait()
                running.cancel()
        return witness.events


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    """A live run on the quiet market sets the allowances, so that neither run has anything to sign before it judges."""
    async with started_bed(Recipe("3.6", BASE_POSITIONS)) as bed:
        kept = await keeping(bed, folder, funded=True)
        ended = await kept.run_once("--live")
        assert ended.code == 0, ended.err
        yield Stage(bed, kept, await fresh_snapshot(bed))


def differences(dry: Sequence[Event], live: Sequence[Event]) -> list[str]:
    """In words, event by event and field by field; what must differ left out."""
    told = [
        f"event {number}: dry {one}, live {other}"
        for number, (one, other) in enumerate(zip(map(plain, dry), map(plain, live), strict=False))
        if one != other
    ]
    if len(dry) != len(live):
        told.append(f"dry tells {len(dry)} events, live {len(live)}: {_kinds(dry)} against {_kinds(live)}")
    return told


def plain(event: Event) -> dict[str, Any]:
    """As the journal has it, but for what must differ."""
    fields = {name: _without(event.kind, name, exact_field(name, item)) for name, item in event.fields.items()}
    return {
        "kind": event.kind.value,
        "chain": event.chain,
        "block_number": event.block_number,
        "market": event.market,
        "borrower": event.borrower,
        "attempt": event.attempt,
        "severity": event.severity.value,
        "fields": {name: item for name, item in fields.items() if (event.kind, name) not in MUST_DIFFER},
    }


def _without(kind: Kind, name: str, item: Any) -> Any:
    if not isinstance(item, list):
        return item
    return [
        {key: part for key, part in each.items() if (kind, f"{name}.{key}") not in MUST_DIFFER}
        if isinstance(each, dict)
        else each
        for each in item
    ]


def _kinds(events: Sequence[Event]) -> list[str]:
    return [event.kind.value for event in events]
