"""What the pipeline needs from the world. Implementations are named in `app` alone."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from typing import Protocol

from keeper.core.block import BlockRef, Call, CallResult, Log, PendingTransaction
from keeper.core.checkpoint import Checkpoint
from keeper.core.decision import Decision, Promised, Unread
from keeper.core.errors import Refused
from keeper.core.events import Event
from keeper.core.intent import Intent, Mark
from keeper.core.ledger import Valuation
from keeper.core.lending import LogFilter, Reads
from keeper.core.order import FeeQuote, Order, Outcome, Simulation, Submission
from keeper.core.outcome import Skip
from keeper.core.pauses import Pause, StandingPause
from keeper.core.selling.exchange import Exchange
from keeper.core.spending import Spending
from keeper.core.standing import Funds, Standing
from keeper.core.swap import Route, Wish
from keeper.core.units import Address, Hash32


class Chain(Protocol):
    """Pinned reads of one chain. Raises `ChainError`s."""

    def heads(self) -> AsyncIterator[BlockRef]: ...

    async def latest(self) -> BlockRef: ...

    async def extend(self, head: BlockRef) -> int:
        """Take `head` as the new end of the checked header chain. Returns the number of the last block that the chain
        before and the chain now have in common: lower than the old end after a reorg."""
        ...

    async def ancestor(self, number: int, of: BlockRef) -> BlockRef:
        """The block of that number on the chain that ends in `of`. Raises `BlockUnavailable` when that chain is no more."""
        ...

    def logs(
        self, log_filter: LogFilter, from_block: int, to: BlockRef
    ) -> AsyncGenerator[tuple[int, Sequence[Log]], None]:
        """Chunks in order: (last block covered, its logs), up to and including `to`."""
        ...

    async def read(self, calls: Sequence[Call], block: BlockRef) -> Sequence[CallResult]: ...

    async def read_after(
        self, calls: Sequence[Call], block: BlockRef, timestamp_s: int, first: Sequence[PendingTransaction] = ()
    ) -> Sequence[CallResult] | None:
        """The calls in a block after `block`, at a later second, once the transactions `first` were executed in it; None
        when the node cannot tell."""
        ...

    async def fees(self) -> FeeQuote: ...


class Pending(Protocol):
    """What is about to happen, as far as a node tells."""

    def pending(self, to: Collection[Address]) -> AsyncGenerator[PendingTransaction, None]:
        """Transactions to one of the addresses as the node hears of them, each once. Nothing is promised: they may never be
        mined, and some are never told. Goes on through trouble with the node, for as long as it is asked; ends at once where
        no node tells. Close it (`aclose`) to stop."""
        ...


class Funding(Protocol):
    """What one signer can spend."""

    async def spendable(
        self, debts: Sequence[tuple[Address, Address]], block: BlockRef
    ) -> Mapping[tuple[Address, Address], Funds]:
        """Per (debt asset, spender), pinned. A dry run deals itself what it needs."""
        ...

    async def gas_money_wei(self, block: BlockRef) -> int | None:
        """The native balance that pays for gas; None is without bound."""
        ...


class Simulator(Protocol):
    async def simulate(
        self, orders: Sequence[Order], block: BlockRef, timestamp_s: int, before: Sequence[Order] = ()
    ) -> Sequence[Simulation | Skip]:
        """The exact calls of one head, cumulatively, on top of `block` and of the orders `before` that are on their way, at
        `timestamp_s`. An order that fails leaves nothing behind for the ones after it."""
        ...


class Submitter(Protocol):
    """Dry, fork or live: the pipeline cannot tell which."""

    @property
    def rehearses(self) -> bool:
        """True when nothing it does changes the chain that the book follows."""
        ...

    async def prepare(self, head: BlockRef) -> None:
        """Ask, beside the head's other reads, for what deciding and signing on it need: which nonces are used."""
        ...

    def open_borrowers(self) -> frozenset[Address]:
        """Borrowers with a transaction that may still be mined on top of the head prepared for, this run's or an earlier
        one's: none of them may get another order."""
        ...

    def reserved(self) -> Mapping[Address, Address]:
        """Borrowers of whom a lost transaction's signature is still good, with its signer: only from that signer may they get
        another order, since of two transactions with one nonce at most one is mined."""
        ...

    def room(self, signer: Address, head: BlockRef) -> int | None:
        """How many more transactions a signer may put on their way at this head; None is without bound."""
        ...

    async def submit(self, ready: Sequence[tuple[Order, Simulation]], head: BlockRef) -> Sequence[Submission | Refused]:
        """Send the orders of one wave, those of each signer in this order, the calls of each in sequence; a call is not sent
        unless the one before it was accepted. One answer for each order.

        `Refused` when nothing of it was accepted (the borrower is free for another order). When an answer proves nothing,
        the submission says so and `settle` decides."""
        ...

    def promised(self, signer: Address) -> Promised:
        """What may still be taken of a signer's by transactions that belong to no submission of this run: an earlier one's."""
        ...

    async def follow_up(self, head: BlockRef) -> Sequence[Outcome | Unread]:
        """Look where everything on its way stands, and replace what waits too long; once per head, after acting on it.
        Returns what came of attempts that belong to no submission of this run, or whose submission was given up."""
        ...

    async def cancel_open(self, head: BlockRef) -> int:
        """Cancel all that may still be mined, as far as that can be done. Returns how many cancellations were accepted."""
        ...

    async def settle(self, submission: Submission, head: BlockRef) -> Outcome | None:
        """The outcome once every transaction is settled; None while one is still pending."""
        ...


class Venue(Protocol):
    """Where collateral becomes debt asset, for whoever asks."""

    @property
    def name(self) -> str: ...

    async def quote(self, wish: Wish) -> Route:
        """A route with the steps for the executor. Raises `QuoteError`, and then leaves nothing behind: the next venue may
        serve."""
        ...

    async def close(self) -> None:
        """Leave no connection open; it may be asked again."""
        ...


class Pools(Protocol):
    """Venues whose state is read, so that any amount can be quoted without asking."""

    @property
    def exchange(self) -> Exchange:
        """As the last batch showed it."""
        ...

    def encode_quotes(self, wanted: Collection[tuple[Address, Address]]) -> Sequence[Call]:
        """The reads for routes from the first token to the second of each."""
        ...

    def decode_quotes(self, results: Sequence[CallResult]) -> None:
        """Their results, in order. What answers nonsense is left out of the quotes until the next head."""
        ...

    def discover(self, ends: Collection[Address]) -> Reads[None]:
        """Find the pools between any two of `ends`. Raises `QuoteError`; what was known before is then kept."""
        ...


class Intents(Protocol):
    """The transactions of each signer, durable, keyed by hash. One process writes (the store is locked)."""

    async def open_intents(self, chain_id: int, signer: Address) -> Sequence[Intent]:
        """Those whose status is one of `OPEN_STATUSES`, by nonce, then in the order they were recorded."""
        ...

    async def mined_intents(
        self, chain_id: int, signer: Address, last_blocks: int
    ) -> Sequence[tuple[Intent, int, Hash32]]:
        """Those in the ledger's last blocks, with number and hash of the block: a reorg may still move them."""
        ...

    async def dropped_intents(self, chain_id: int, signer: Address, last_blocks: int) -> Sequence[Intent]:
        """Those whose nonce was used by one of them: a reorg may have them mined instead."""
        ...

    async def record_intents(self, intents: Sequence[Intent]) -> None:
        """All of them durable (synced to disk) when it returns, by one commit: only then may their bytes leave. Raises
        `Paused`, and nothing is written, while a pause stands for one that is more than a cancel."""
        ...

    async def mark_intents(self, marks: Sequence[Mark]) -> None:
        """All of the new statuses durable when it returns, by one commit, and with them what the ledger learns: the entry of
        what was mined or reverted; without one an earlier entry is taken back."""
        ...


class Decisions(Protocol):
    """What an earlier run left to be told."""

    async def untold_intents(self, chain: str, chain_id: int, signer: Address) -> Sequence[Intent]:
        """Transactions for borrowers that were not refused, of attempts whose outcome is not in the journal, one for each of
        these; in the order they were recorded, from the latest thousand."""
        ...

    async def intents_of(self, chain_id: int, signer: Address, attempt: str) -> Sequence[Intent]:
        """All of an attempt, in the order they were recorded."""
        ...

    async def decision(self, chain: str, attempt: str) -> Decision | None:
        """What was decided in an attempt; None when the journal does not tell."""
        ...

    async def last_mined_nonce(self, chain_id: int, signer: Address) -> int | None:
        """The highest nonce that a transaction of ours is known to have used; None when there was none."""
        ...


class Ledger(Protocol):
    """What our transactions cost; see `Intents.mark_intents` for how they get there."""

    @property
    def spending_changes(self) -> int:
        """Another number than before: `spending` may answer otherwise."""
        ...

    async def value(self, valuations: Sequence[Valuation]) -> None:
        """What entries were worth in their blocks; durable when it returns. One whose entry was taken back is left out."""
        ...

    async def spending(self, since_s: int) -> Spending:
        """Everything mined in blocks after `since_s`, and everything that may still be, of all signers."""
        ...


class Pauses(Protocol):
    """While one stands nothing is sent by whom it covers; it outlasts the process, and others may set and lift it."""

    async def standing_pauses(self) -> Sequence[StandingPause]: ...

    async def pause(self, pause: Pause) -> None:
        """Durable when it returns. One of the same scope and reason that stands already is not repeated."""
        ...

    async def was_lifted(self, pause: Pause) -> bool:
        """Whether a person has lifted one of these very words."""
        ...

    async def lift(self, chain_id: int | None, by: str) -> None:
        """All pauses, or those of one chain; durable when it returns."""
        ...


class Transactions(Intents, Decisions, Pauses, Protocol):
    """All that a live run keeps of what it sends, and what keeps it from sending."""


class Kept(Transactions, Ledger, Protocol):
    """What the store keeps of all that is sent, spent and stopped."""


class Journal(Protocol):
    async def record(self, events: Sequence[Event]) -> None: ...

    async def record_standing(
        self, chain: str, market: Address, block_number: int, standing: Mapping[Address, Standing]
    ) -> None:
        """Every borrower below 1 at this head with its order or reason; stored as changes."""
        ...


class Checkpoints(Protocol):
    """Saved books and the marks of back-fills under way."""

    async def save(self, checkpoint: Checkpoint) -> bool:
        """Durable when it returns True. False when the disk takes nothing now: what was saved before still stands. Of each
        stage the newest is kept and one behind it that outlasts a reorg; a saved book ends the market's back-fill."""
        ...

    async def load(self, chain: str, market: Address) -> Sequence[Checkpoint]:
        """Those in use, newest first; damaged ones are set aside."""
        ...

    async def set_aside(self, checkpoint: Checkpoint, cause: str) -> None:
        """Never use it again, but keep it, with the date and the cause; journaled."""
        ...
