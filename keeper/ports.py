"""What the pipeline needs from the world. Implementations are named in `app` alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

from keeper.core.block import BlockRef, Call, CallResult, Log
from keeper.core.events import Event
from keeper.core.lending import LogFilter
from keeper.core.order import FeeQuote, Order, Outcome, Simulation, Submission
from keeper.core.outcome import Skip
from keeper.core.standing import Funds, Standing
from keeper.core.units import Address, Hash32


class Chain(Protocol):
    """Pinned reads of one chain. Raises `ChainError`s."""

    def heads(self) -> AsyncIterator[BlockRef]: ...

    async def latest(self) -> BlockRef: ...

    async def header(self, block_hash: Hash32) -> BlockRef: ...

    def logs(self, log_filter: LogFilter, from_block: int, to: BlockRef) -> AsyncIterator[tuple[int, Sequence[Log]]]:
        """Chunks in order: (last block covered, its logs), up to and including `to`."""
        ...

    async def read(self, calls: Sequence[Call], block: BlockRef) -> Sequence[CallResult]: ...

    async def fees(self) -> FeeQuote: ...


class Funding(Protocol):
    """What the liquidator can spend."""

    async def spendable(
        self, debts: Sequence[tuple[Address, Address]], block: BlockRef
    ) -> Mapping[tuple[Address, Address], Funds]:
        """Per (debt asset, spender), pinned. A dry run deals itself what it needs."""
        ...


class Simulator(Protocol):
    async def simulate(self, orders: Sequence[Order], block: BlockRef, timestamp_s: int) -> Sequence[Simulation | Skip]:
        """The exact calls of one head, cumulatively, on top of `block`, at `timestamp_s`. An order that fails leaves
        nothing behind for the ones after it."""
        ...


class Submitter(Protocol):
    """Dry, fork or live: the pipeline cannot tell which."""

    async def submit(self, order: Order, head: BlockRef) -> Submission: ...

    async def settle(self, submission: Submission, head: BlockRef) -> Outcome | None:
        """The outcome once every transaction is settled; None while one is still pending."""
        ...


class Journal(Protocol):
    async def record(self, events: Sequence[Event]) -> None: ...

    async def record_standing(
        self, chain: str, market: Address, block_number: int, standing: Mapping[Address, Standing]
    ) -> None:
        """Every borrower below 1 at this head with its order or reason; stored as changes."""
        ...


class Checkpoints(Protocol):
    async def save(self, chain: str, market: Address, block: BlockRef, rows: bytes) -> None: ...

    async def load(self, chain: str, market: Address) -> tuple[BlockRef, bytes] | None: ...
