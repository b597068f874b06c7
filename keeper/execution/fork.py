"""The submitter that really executes, but on a local fork: of exactly the head that decided, with money dealt.

Orders of one head wait in the fork's mempool and are mined together at the first `settle`, one block time into their
window. Nothing is ever sent upstream: the fork only reads from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol

from keeper.core.block import BlockRef
from keeper.core.decision import NOTHING_PROMISED, Promised, Unread
from keeper.core.errors import BlockUnavailable, ChainError, ConfigError, MalformedResponse, Refused, RpcFailure
from keeper.core.hexdata import decode_hash, decode_quantity
from keeper.core.order import Answer, Order, Outcome, SentTransaction, Simulation, Submission
from keeper.core.units import Address, Hash32, to_hex
from keeper.core.wire import decode_block
from keeper.execution.funding import DealtFunding, needs_of
from keeper.execution.loopback import is_loopback_anvil
from keeper.execution.markets import Markets
from keeper.execution.masking import MaskedRpc, Shown
from keeper.execution.pinned import PinnedReads
from keeper.execution.receipts import Receipt, read_receipt
from keeper.execution.reconcile import Reconciler, not_mined
from keeper.execution.rpc import Rpc

GAS_MONEY_WEI = 2**80
MOST_BLOCKS = 20
"""Mined at most for the orders of one head."""


class RunningAnvil(Protocol):
    @property
    def url(self) -> str: ...


Launch = Callable[[BlockRef], AbstractAsyncContextManager[RunningAnvil]]
"""Starts an anvil forked from the upstream node at this block; ends it on the way out."""

Connect = Callable[[str], AbstractAsyncContextManager[Rpc]]
"""A client for the fork's URL."""


@dataclass
class _Fork:
    """One anvil at one head."""

    rpc: Rpc
    head: BlockRef
    waiting: dict[str, Submission] = field(default_factory=dict)
    """By attempt: sent to the fork and not told about yet."""
    unmined: dict[Hash32, Order] = field(default_factory=dict)


class ForkSubmitter:
    """`keeper.ports.Submitter` on a fork. An async context manager: the anvil lives inside it."""

    rehearses = True

    def __init__(self, launch: Launch, connect: Connect, shown: Shown, dealt: DealtFunding, markets: Markets) -> None:
        self._launch = launch
        self._connect = connect
        self._shown = shown
        self._dealt = dealt
        self._markets = markets
        self._stack = AsyncExitStack()
        self._fork: _Fork | None = None
        self._outcomes: dict[str, Outcome] = {}

    async def __aenter__(self) -> ForkSubmitter:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def prepare(self, head: BlockRef) -> None:
        """Nothing of ours is signed."""

    def promised(self, signer: Address) -> Promised:
        return NOTHING_PROMISED

    async def follow_up(self, head: BlockRef) -> Sequence[Outcome | Unread]:
        """Nothing is ever on its way."""
        return []

    def open_borrowers(self) -> frozenset[Address]:
        """None: nothing of a rehearsal outlives it."""
        return frozenset()

    def reserved(self) -> Mapping[Address, Address]:
        return {}

    def room(self, signer: Address, head: BlockRef) -> None:
        """Without bound: the fork mines as many blocks as it needs."""

    async def submit(self, ready: Sequence[tuple[Order, Simulation]], head: BlockRef) -> Sequence[Submission | Refused]:
        """`Refused` for an order of which the fork takes nothing. Raises `ConfigError` when what was launched is no local
        anvil."""
        answers: list[Submission | Refused] = []
        for order, simulation in ready:
            try:
                answers.append(await self._submit(order, simulation, head))
            except Refused as refused:
                answers.append(refused)
        return answers

    async def _submit(self, order: Order, simulation: Simulation, head: BlockRef) -> Submission:
        fork = await self._fork_at(head)
        await self._deal(fork, order)
        sent: list[SentTransaction] = []
        for index in range(len(order.calls)):
            if sent and sent[-1].answer is not Answer.ACCEPTED:
                sent.append(SentTransaction(index, None, None, Answer.NOT_SENT))
                continue
            sent.append(await self._send(fork, order, index))
        if sent[0].answer is Answer.REFUSED:
            raise Refused(sent[0].detail)
        submission = Submission(order, "fork", head.number, tuple(sent), simulation)
        fork.waiting |= {part.order.attempt: part for part in submission.parts}
        return submission

    async def cancel_open(self, head: BlockRef) -> int:
        """Nothing is ever on its way."""
        return 0

    async def settle(self, submission: Submission, head: BlockRef) -> Outcome | None:
        """Mines what waits; the outcome is that of the fork, read back there."""
        attempt = submission.order.attempt
        if attempt not in self._outcomes and self._fork is not None and attempt in self._fork.waiting:
            await self._tell(self._fork)
        return self._outcomes.pop(attempt, None) or not_mined(submission.order, "its fork is gone")

    # -- the fork ------------------------------------------------------------------------------------------------

    async def _fork_at(self, head: BlockRef) -> _Fork:
        if self._fork is not None and self._fork.head.hash == head.hash:
            return self._fork
        try:
            rpc = await self._reset(self._fork, head) if self._fork is not None else await self._start(head)
            self._fork = _Fork(rpc, head)
            latest = decode_block(await rpc.request("eth_getBlockByNumber", ["latest", False]), "latest block")
            if latest.hash != head.hash:
                raise BlockUnavailable(f"the fork stands at block {latest.number}, not at {head.number} of our chain")
            await rpc.request("evm_setAutomine", [False])
            await rpc.request("anvil_impersonateAccount", [to_hex(self._dealt.owner)])
            await rpc.request("anvil_setBalance", [to_hex(self._dealt.owner), hex(GAS_MONEY_WEI)])
        except BaseException:
            await self._end()
            raise
        return self._fork

    async def _start(self, head: BlockRef) -> Rpc:
        anvil = await self._stack.enter_async_context(self._launch(head))
        rpc = MaskedRpc(await self._stack.enter_async_context(self._connect(anvil.url)), self._shown)
        if not await is_loopback_anvil(anvil.url, rpc):
            raise ConfigError("--fork: the node to rehearse on is no anvil on this machine; nothing was sent to it")
        return rpc

    async def _reset(self, fork: _Fork, head: BlockRef) -> Rpc:
        """The same anvil at another block, once everything on it is told."""
        await self._tell(fork)
        await fork.rpc.request("anvil_reset", [{"forking": {"blockNumber": head.number}}])
        return fork.rpc

    async def _end(self) -> None:
        self._fork = None
        stack, self._stack = self._stack, AsyncExitStack()
        await stack.aclose()

    # -- orders on it --------------------------------------------------------------------------------------------

    async def _deal(self, fork: _Fork, order: Order) -> None:
        """Write the money of this order and of those that still wait in the mempool."""
        waiting = {other.attempt: other for other in fork.unmined.values()}
        dealt = await self._dealt.deal(needs_of([*waiting.values(), order]), fork.head)
        if dealt.undealable:
            raise Refused("no storage slot was found to deal what the order needs")
        for slot, word in dealt.writes:
            await fork.rpc.request(
                "anvil_setStorageAt", [to_hex(slot.contract), to_hex(slot.key), to_hex(word.to_bytes(32, "big"))]
            )

    async def _send(self, fork: _Fork, order: Order, index: int) -> SentTransaction:
        owner, call, fees = to_hex(self._dealt.owner), order.calls[index], order.offer.fees
        nonce = decode_quantity(await fork.rpc.request("eth_getTransactionCount", [owner, "pending"]), "the nonce")
        transaction = {
            "from": owner,
            "to": to_hex(call.target),
            "input": to_hex(call.calldata),
            "nonce": hex(nonce),
            "gas": hex(order.gas_limits[index]),
            "maxFeePerGas": hex(fees.max_fee_wei),
            "maxPriorityFeePerGas": hex(fees.priority_fee_wei),
        }
        try:
            answer = await fork.rpc.request("eth_sendTransaction", [transaction])
        except RpcFailure as failure:
            return SentTransaction(index, None, None, Answer.REFUSED, str(failure))
        transaction_hash = decode_hash(answer, "the hash of a transaction")
        fork.unmined[transaction_hash] = order
        return SentTransaction(index, transaction_hash, nonce, Answer.ACCEPTED)

    async def _tell(self, fork: _Fork) -> None:
        """Mine what waits and keep every outcome until it is asked for."""
        if not fork.waiting:
            return
        try:
            await self._mine(fork)
            reconciler = Reconciler(fork.rpc, PinnedReads(fork.rpc), self._markets)
            for attempt, submission in list(fork.waiting.items()):
                receipts = await _receipts(fork.rpc, submission)
                self._outcomes[attempt] = await reconciler.outcome(submission, receipts, "executed on a fork")
                del fork.waiting[attempt]
        except ChainError:
            await self._end()
            raise

    async def _mine(self, fork: _Fork) -> None:
        """All of it in one block where its gas allows, all at one time, which lies in every window."""
        windows = [order.plan.window for order in fork.unmined.values()]
        for _ in range(MOST_BLOCKS):
            if not fork.unmined:
                return
            at_s = min((window.earliest_s + window.latest_s + 1) // 2 for window in windows)
            await fork.rpc.request("evm_setNextBlockTimestamp", [at_s])
            await fork.rpc.request("evm_mine", [])
            for transaction_hash in list(fork.unmined):
                if await read_receipt(fork.rpc, transaction_hash) is not None:
                    del fork.unmined[transaction_hash]
        raise MalformedResponse("the fork does not mine what it accepted")


async def _receipts(rpc: Rpc, submission: Submission) -> dict[int, Receipt]:
    found: dict[int, Receipt] = {}
    for sent in submission.transactions:
        receipt = None if sent.transaction_hash is None else await read_receipt(rpc, sent.transaction_hash)
        if receipt is not None:
            found[sent.call_index] = receipt
    return found
