"""The pipeline's ports over a toy world. Every one of their calls can be made to fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from keeper.core.block import BlockRef, Call, CallResult, Log, PendingTransaction
from keeper.core.decision import NOTHING_PROMISED, Promised, Unread
from keeper.core.errors import BlockUnavailable, MalformedResponse, Refused
from keeper.core.lending import LiquidationEvent, LogFilter
from keeper.core.order import (
    Answer,
    FeeQuote,
    MinedCall,
    Order,
    Outcome,
    SentTransaction,
    SimulatedCall,
    Simulation,
    Submission,
)
from keeper.core.outcome import Reason, Skip, Verdict
from keeper.core.standing import Funds
from keeper.core.units import Address, Hash32
from tests.toy_arithmetic import value_position
from tests.toy_market import ToyAdapter
from tests.toy_world import GAS_PER_CALL, Block, Draft, Receipt, Transaction, World, rich

DEPTH = 128
CHUNK_BLOCKS = 10


@dataclass
class Faults:
    """Counts the calls of all ports, and makes chosen ones fail."""

    calls: int = 0
    fail: Callable[[int, str], Exception | None] = lambda count, name: None
    seen: list[str] = field(default_factory=list)

    async def step(self, name: str) -> None:
        """One call into the world: gives way to other tasks, then may fail."""
        await asyncio.sleep(0)
        self.calls += 1
        self.seen.append(name)
        error = self.fail(self.calls, name)
        if error is not None:
            raise error


@dataclass
class ToyChain:
    """`keeper.ports.Chain`. Knows the headers it was extended by, like the real one."""

    world: World
    faults: Faults
    fee_quote: FeeQuote = field(default_factory=lambda: FeeQuote(10, 1, 16))
    script: Iterable[Callable[[], object]] = ()
    """What happens, one step each time that a head is asked for; then the heads end, or with `lingers` no more come."""
    lingers: bool = False
    state_depth: int | None = None
    """How many blocks back state can be read; None: as far as one likes."""
    headers: list[BlockRef] = field(default_factory=list)
    log_ranges: list[tuple[int, int]] = field(default_factory=list)

    async def heads(self) -> AsyncIterator[BlockRef]:
        last: Hash32 | None = None
        for step in self.script:
            step()
            await self.faults.step("heads")
            if self.world.tip.ref.hash != last:
                last = self.world.tip.ref.hash
                yield self.world.tip.ref
        if self.lingers:
            await asyncio.Event().wait()

    async def latest(self) -> BlockRef:
        await self.faults.step("latest")
        return self.world.tip.ref

    async def extend(self, head: BlockRef) -> int:
        await self.faults.step("extend")
        self.world.block(head)
        canonical = [block.ref for block in self.world.blocks[: head.number + 1]][-DEPTH:]
        known, self.headers = self.headers, canonical
        if not known:
            return head.number
        hashes = {ref.hash for ref in known}
        common = [block.ref.number for block in self.world.blocks[: head.number + 1] if block.ref.hash in hashes]
        return max(common, default=0)

    async def ancestor(self, number: int, of: BlockRef) -> BlockRef:
        await self.faults.step("ancestor")
        self.world.block(of)
        return self.world.blocks[number].ref

    async def logs(
        self, log_filter: LogFilter, from_block: int, to: BlockRef
    ) -> AsyncGenerator[tuple[int, Sequence[Log]], None]:
        self.log_ranges.append((from_block, to.number))
        first = from_block
        while first <= to.number:
            await self.faults.step("logs")
            self.world.block(to)
            last = min(first + CHUNK_BLOCKS - 1, to.number)
            yield (
                last,
                [
                    log
                    for block in self.world.blocks[first : last + 1]
                    for log in block.logs
                    if log.address in log_filter.addresses and log.topics[0] in log_filter.topics
                ],
            )
            first = last + 1

    async def read_after(
        self, calls: Sequence[Call], block: BlockRef, timestamp_s: int, first: Sequence[PendingTransaction] = ()
    ) -> Sequence[CallResult] | None:
        return None

    async def read(self, calls: Sequence[Call], block: BlockRef) -> Sequence[CallResult]:
        await self.faults.step("read")
        if self.state_depth is not None and block.number < self.world.tip.ref.number - self.state_depth:
            raise BlockUnavailable(f"the state of block {block.number} is pruned")
        return [self.world.read(call, block) for call in calls]

    async def fees(self) -> FeeQuote:
        await self.faults.step("fees")
        return self.fee_quote


@dataclass
class ToyFunding:
    """The owner's real balances; a rehearsal's are without bound."""

    world: World
    faults: Faults
    owner: Address
    dealt: bool

    async def spendable(
        self, debts: Sequence[tuple[Address, Address]], block: BlockRef
    ) -> Mapping[tuple[Address, Address], Funds]:
        await self.faults.step("spendable")
        if self.dealt:
            return {debt: Funds(None, None) for debt in debts}
        tokens = self.world.block(block).state.tokens
        return {
            (asset, spender): Funds(
                tokens.balances_raw.get((asset, self.owner), 0),
                tokens.allowances_raw.get((asset, self.owner, spender), 0),
            )
            for asset, spender in debts
        }

    async def gas_money_wei(self, block: BlockRef) -> int | None:
        await self.faults.step("gas_money")
        return None if self.dealt else self.world.block(block).state.tokens.native_wei.get(self.owner, 0)


@dataclass
class ToySimulator:
    """Runs the orders on a copy of the block, one after the other. `distort` lets a test make it disagree."""

    world: World
    faults: Faults
    owner: Address
    dealt: bool
    distort: Callable[[Order, Simulation], Simulation | Skip] = lambda order, simulation: simulation
    simulated: list[list[str]] = field(default_factory=list)
    gas_used: int = GAS_PER_CALL

    async def simulate(
        self, orders: Sequence[Order], block: BlockRef, timestamp_s: int, before: Sequence[Order] = ()
    ) -> Sequence[Simulation | Skip]:
        await self.faults.step("simulate")
        self.simulated.append([order.attempt for order in orders])
        draft = Draft(self.world.block(block), timestamp_s)
        if self.dealt:
            rich(self.owner)(draft)
        for order in before:
            self._run(order, draft)
        return [self._run(order, draft) for order in orders]

    def _run(self, order: Order, draft: Draft) -> Simulation | Skip:
        receipts = [draft.liquidate(self.owner, call) for call in order.calls]
        failed = next((receipt for receipt in receipts if not receipt.succeeded), None)
        if failed is not None:
            return Skip(Reason.SIMULATION_REVERTED, failed.error, order.plan.verdict)
        calls = tuple(
            SimulatedCall(self.gas_used, receipt.logs, tuple(liquidations(order, receipt))) for receipt in receipts
        )
        return self.distort(order, Simulation(calls, health_in(draft, order, draft.timestamp_s)))


@dataclass
class ToyLive:
    """A submitter whose transactions wait in the world's mempool. `earlier` are an earlier run's open borrowers; `most` may be
    on their way at a time."""

    world: World
    faults: Faults
    owner: Address
    refuse: str = ""
    earlier: set[Address] = field(default_factory=set)
    submitted: list[Submission] = field(default_factory=list)
    most: int | None = None
    rehearses: bool = False
    cancelled: list[int] = field(default_factory=list)
    """The heads at which everything was to be cancelled."""

    async def prepare(self, head: BlockRef) -> None:
        await self.faults.step("prepare")

    def open_borrowers(self) -> frozenset[Address]:
        waiting = {transaction.hash for transaction in self.world.mempool}
        return frozenset(self.earlier) | {
            submission.order.borrower
            for submission in self.submitted
            if any(sent.transaction_hash in waiting for sent in submission.transactions)
        }

    async def cancel_open(self, head: BlockRef) -> int:
        self.cancelled.append(head.number)
        return len(self.world.mempool)

    def reserved(self) -> Mapping[Address, Address]:
        return {}

    def room(self, signer: Address, head: BlockRef) -> int | None:
        return None if self.most is None else max(0, self.most - len(self.world.mempool))

    def promised(self, signer: Address) -> Promised:
        return NOTHING_PROMISED

    async def follow_up(self, head: BlockRef) -> Sequence[Outcome | Unread]:
        await self.faults.step("follow_up")
        return []

    async def submit(self, ready: Sequence[tuple[Order, Simulation]], head: BlockRef) -> Sequence[Submission | Refused]:
        await self.faults.step("submit")
        if self.refuse:
            return [Refused(self.refuse) for _ in ready]
        return [self._send(order, simulation, head) for order, simulation in ready]

    def _send(self, order: Order, simulation: Simulation, head: BlockRef) -> Submission:
        sent = self.world.send(self.owner, order.calls)
        transactions = tuple(
            SentTransaction(index, transaction.hash, index, Answer.ACCEPTED) for index, transaction in enumerate(sent)
        )
        submission = Submission(order, "live", head.number, transactions, simulation)
        self.submitted.append(submission)
        return submission

    async def settle(self, submission: Submission, head: BlockRef) -> Outcome | None:
        await self.faults.step("settle")
        waiting = {transaction.hash for transaction in self.world.mempool}
        found: dict[int, tuple[Block, Receipt]] = {}
        for sent in submission.transactions:
            assert sent.transaction_hash is not None
            mined = self.world.receipt(sent.transaction_hash)
            if sent.transaction_hash in waiting or (mined is not None and mined[0].ref.number > head.number):
                return None
            if mined is not None:
                found[sent.call_index] = mined
        return outcome_of(submission, found)


@dataclass
class ToyFork:
    """A rehearsal whose orders really execute, on a copy of the head that decided them."""

    world: World
    faults: Faults
    owner: Address
    submitted: list[Submission] = field(default_factory=list)
    rehearses: bool = True
    works: bool = True

    async def prepare(self, head: BlockRef) -> None:
        await self.faults.step("prepare")

    def open_borrowers(self) -> frozenset[Address]:
        return frozenset()

    async def cancel_open(self, head: BlockRef) -> int:
        return 0

    def reserved(self) -> Mapping[Address, Address]:
        return {}

    def room(self, signer: Address, head: BlockRef) -> None:
        return None

    def promised(self, signer: Address) -> Promised:
        return NOTHING_PROMISED

    async def follow_up(self, head: BlockRef) -> Sequence[Outcome | Unread]:
        await self.faults.step("follow_up")
        return []

    async def submit(self, ready: Sequence[tuple[Order, Simulation]], head: BlockRef) -> Sequence[Submission]:
        await self.faults.step("submit")
        return [self._send(order, simulation, head) for order, simulation in ready]

    def _send(self, order: Order, simulation: Simulation, head: BlockRef) -> Submission:
        sent = tuple(SentTransaction(i, fork_hash(i), i, Answer.ACCEPTED) for i in range(len(order.calls)))
        submission = Submission(order, "fork", head.number, sent, simulation)
        self.submitted.append(submission)
        return submission

    async def settle(self, submission: Submission, head: BlockRef) -> Outcome | None:
        await self.faults.step("settle")
        if not self.works:
            return outcome_of(submission, {})
        order = submission.order
        copied = World()
        copied.blocks = self.world.blocks[: order.plan.block.number + 1]
        copied.mempool = [Transaction(self.owner, call, fork_hash(i)) for i, call in enumerate(order.calls)]
        copied.mine(rich(self.owner))
        return outcome_of(
            submission, {i: (copied.tip, copied.tip.receipts[fork_hash(i)]) for i in range(len(order.calls))}
        )


def fork_hash(call_index: int) -> Hash32:
    return Hash32(bytes([call_index]) * 32)


def outcome_of(submission: Submission, found: Mapping[int, tuple[Block, Receipt]]) -> Outcome:
    """Read back in the block of the last mined call."""
    order, plan = submission.order, submission.order.plan
    mined = tuple(
        MinedCall(
            index,
            submission.transactions[index].transaction_hash or Hash32(b""),
            block.ref,
            receipt.succeeded,
            receipt.gas_used,
            11,
            receipt.logs,
            receipt.error or None,
        )
        for index, (block, receipt) in sorted(found.items())
    )
    after_wad = None
    if mined:
        block = found[mined[-1].call_index][0]
        draft = Draft(block, block.ref.timestamp_s)
        after_wad = health_in(draft, order, block.ref.timestamp_s)
    least_wad = plan.target_wad if plan.verdict is Verdict.REACHES_TARGET else plan.health_before.health_factor_wad + 1
    return Outcome(
        attempt=order.attempt,
        borrower=order.borrower,
        market=plan.market,
        mined=mined,
        liquidations=tuple(event for _, receipt in found.values() for event in liquidations(order, receipt)),
        health_before_wad=plan.health_before.health_factor_wad,
        health_planned_wad=plan.health_after.health_factor_wad,
        target_wad=plan.target_wad,
        health_after_wad=after_wad,
        model_error_wad=0 if mined else None,
        amounts_match=True if mined else None,
        disturbed=False,
        restored=after_wad is not None and after_wad >= least_wad,
        profit=order.offer.profit if mined else None,
    )


def liquidations(order: Order, receipt: Receipt) -> Sequence[LiquidationEvent]:
    market = ToyAdapter({})
    return market.decode_liquidation(None, receipt.logs, order.borrower)  # type: ignore[arg-type]  # it needs none


def health_in(draft: Draft, order: Order, timestamp_s: int) -> int:
    pool = draft.state.pools[order.spender]
    health = value_position(pool.state(), pool.row(order.borrower), timestamp_s)
    if isinstance(health, Skip):
        raise MalformedResponse("the health cannot be read")
    return health.health_factor_wad
