"""The submitter that really sends: one signed transaction per call, through the one sender of the signer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from keeper.core.block import BlockRef
from keeper.core.errors import ChainError, ConfigError, Defect, Refused
from keeper.core.intent import IntentStatus
from keeper.core.order import Answer, Order, Outcome, SentTransaction, Simulation, Submission
from keeper.core.units import Address, Hash32
from keeper.execution.following import Followed
from keeper.execution.receipts import Receipt
from keeper.execution.reconcile import Reconciler
from keeper.execution.sender import Sender, Sending

DEVNET_CHAIN_IDS = frozenset({1337, 31337})
"""Chain ids that no public network uses for money: what is signed for them is worth nothing elsewhere."""


@dataclass(frozen=True, slots=True)
class LivePermit:
    """Proof that `may_go_live` was asked; a live submitter cannot be made without it."""

    chain_id: int


def may_go_live(chain_id: int, *, is_testnet_preset: bool, node_is_anvil_devnet: bool) -> LivePermit:
    """Raises `ConfigError` unless the chain is a testnet of ours by preset, or the local devnet.

    A loopback anvil that carries a real network's chain id is no devnet: what is signed there is valid on that network.
    """
    if is_testnet_preset or (node_is_anvil_devnet and chain_id in DEVNET_CHAIN_IDS):
        return LivePermit(chain_id)
    raise ConfigError(
        f"mode: live is refused on chain {chain_id}: for now it is only allowed on the testnets of config/chains and on"
        ' the devnet; set mode = "dry", or run with --fork'
    )


Upkeep = Callable[[BlockRef], Awaitable[None]]
"""Off the hot path: what the signer needs now and then while nothing of it is open, such as fresh allowances."""

UPKEEP_EVERY_BLOCKS = 20


class LiveSubmitter:
    """`keeper.ports.Submitter` with real transactions."""

    rehearses = False

    def __init__(
        self, permit: LivePermit, sender: Sender, reconciler: Reconciler, upkeep: Upkeep | None = None
    ) -> None:
        self._permit = permit
        self._upkeep = upkeep
        self._kept_block = 0
        self._sender = sender
        self._reconciler = reconciler
        self._settling: set[Hash32] = set()
        """Sent by this run, and waited for in `settle`."""

    async def start(self, head: BlockRef) -> Sequence[Followed]:
        """Reconcile what an earlier run left open; before the first `submit`. Returns where each of them stands."""
        self._kept_block = head.number
        return await self._sender.start(head)

    async def follow_up(self, head: BlockRef) -> None:
        """Look where everything open stands; what nobody will settle (an earlier run's) is closed here."""
        for followed in await self._sender.following.follow_open(head):
            if not followed.open and followed.intent.transaction_hash not in self._settling:
                self._sender.following.forget(followed.intent.transaction_hash)
        due = head.number - self._kept_block >= UPKEEP_EVERY_BLOCKS
        # A lost one holds no nonce; waiting for it would be for ever, since its successor is what the upkeep sends.
        waiting = any(intent.status is not IntentStatus.LOST for intent in self._sender.following.open_intents)
        if self._upkeep is not None and due and not waiting:
            self._kept_block = head.number
            await self._upkeep(head)

    def open_borrowers(self) -> frozenset[Address]:
        """Borrowers with a transaction that may still be mined: none of them may get another order."""
        return frozenset(
            intent.borrower
            for intent in self._sender.following.open_intents
            if intent.borrower is not None and intent.status is not IntentStatus.LOST
        )

    async def submit(self, order: Order, simulation: Simulation, head: BlockRef) -> Submission:
        """Raises `Refused` when nothing is on its way; see `keeper.ports.Submitter`."""
        if order.chain_id != self._permit.chain_id:
            raise Defect(f"an order for chain {order.chain_id} reached the submitter of {self._permit.chain_id}")
        sent: list[SentTransaction] = []
        for index, call in enumerate(order.calls):
            if sent and sent[-1].answer is not Answer.ACCEPTED:
                sent.append(SentTransaction(index, None, None, Answer.NOT_SENT))
                continue
            sending = Sending(
                call=call,
                gas_limit=order.gas_limits[index],
                fees=order.offer.fees,
                attempt=order.attempt,
                borrower=order.borrower,
                call_index=index,
            )
            sent.append(await self._send(sending, head, first=not sent))
        if sent[0].answer is Answer.REFUSED:
            raise Refused(sent[0].detail or "the node refused the transaction")
        self._settling.update(each.transaction_hash for each in sent if each.transaction_hash is not None)
        return Submission(order, "live", head.number, tuple(sent), simulation)

    async def _send(self, sending: Sending, head: BlockRef, *, first: bool) -> SentTransaction:
        """After the first call is out, what keeps the next one back is part of the submission instead of an exception."""
        try:
            return await self._sender.send(sending, head)
        except (Refused, ChainError) as error:
            if first:
                raise
            return SentTransaction(sending.call_index, None, None, Answer.NOT_SENT, str(error))

    async def settle(self, submission: Submission, head: BlockRef) -> Outcome | None:
        """None while one of its transactions may still be mined soon. A lost one is given up: the borrower is free for a
        new plan (on the same nonce, see `keeper.execution.nonces`)."""
        if head.number <= submission.submitted_block:
            return None  # sent on top of this very head: no block up to it can hold any of it
        receipts: dict[int, Receipt] = {}
        details: list[str] = []
        waiting = False
        for sent in submission.transactions:
            where = f"call {sent.call_index + 1}"
            if sent.transaction_hash is None:
                details.append(f"{where} {sent.answer.value.replace('_', ' ')}{sent.detail and ': ' + sent.detail}")
                continue
            followed = await self._sender.following.follow(sent.transaction_hash, head)
            if followed.receipt is not None:
                receipts[sent.call_index] = followed.receipt
            elif followed.intent.status in (IntentStatus.DROPPED, IntentStatus.LOST):
                details.append(f"{where} {followed.intent.status.value} at nonce {sent.nonce}")
            else:
                waiting = True
        if waiting:
            return None
        following = self._sender.following
        outcome = await self._reconciler.outcome(submission, receipts, "; ".join(details), following.borrowers_in)
        for sent in submission.transactions:
            if sent.transaction_hash is not None:
                self._settling.discard(sent.transaction_hash)
                self._sender.following.forget(sent.transaction_hash)
        return outcome
