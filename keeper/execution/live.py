"""The submitter that really sends: one signed transaction per call, through the one sender of the signer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from keeper.core.block import BlockRef, Call
from keeper.core.decision import NOTHING_PROMISED, Promised, Unread
from keeper.core.errors import ConfigError, Defect, Refused
from keeper.core.intent import IntentStatus
from keeper.core.order import Answer, Order, Outcome, SentTransaction, Simulation, Submission
from keeper.core.units import Address, Hash32
from keeper.execution.earlier import Earlier
from keeper.execution.following import Followed
from keeper.execution.receipts import Receipt
from keeper.execution.reconcile import Reconciler
from keeper.execution.replacing import Replacing
from keeper.execution.sender import Sender, Sending
from keeper.execution.strangers import Strangers

DEVNET_CHAIN_IDS = frozenset({1337, 31337})
"""Chain ids that no public network uses for money: what is signed for them is worth nothing elsewhere."""


@dataclass(frozen=True, slots=True)
class LivePermit:
    """Proof that `may_go_live` was asked; a live submitter cannot be made without it."""

    chain_id: int


def may_go_live(
    chain_id: int, *, is_testnet_preset: bool, node_is_anvil_devnet: bool, named_chain_id: int | None = None
) -> LivePermit:
    """Raises `ConfigError` unless the chain is a testnet of ours by preset, the local devnet, or the very chain that the
    operator named for real money.

    A loopback anvil that carries a real network's chain id is no devnet, and not that network: what is signed there is valid
    on it.
    """
    devnet_id = chain_id in DEVNET_CHAIN_IDS
    if is_testnet_preset or (node_is_anvil_devnet and devnet_id):
        return LivePermit(chain_id)
    if named_chain_id == chain_id and not node_is_anvil_devnet and not devnet_id:
        return LivePermit(chain_id)
    if node_is_anvil_devnet:
        why = "the node is a local anvil, and what is signed there is valid on the network of that chain id"
    elif devnet_id:
        why = "the chain id is a devnet's, and the node is no local anvil"
    else:
        why = (
            "it is none of the testnets of config/chains, so there is real money on it; if that is meant, write"
            f" live_chain_id = {chain_id} into its table"
        )
    raise ConfigError(
        f'mode: live is refused on chain {chain_id}: {why}; otherwise set mode = "dry", or run with --fork'
    )


Upkeep = Callable[[BlockRef], Awaitable[None]]
"""Off the hot path: what the signer needs now and then while nothing of it is open, such as fresh allowances."""

UPKEEP_EVERY_BLOCKS = 20

SMALL_CALL_GAS = 200_000
"""Less than any liquidation burns: so many of it fill a block for certain."""
MOST_IN_FLIGHT = 200
"""Some chains name a block gas limit without meaning it; and what waits longer than a block or two was planned for nothing."""


class LiveSubmitter:
    """`keeper.ports.Submitter` with real transactions, of one signer."""

    rehearses = False

    def __init__(
        self,
        permit: LivePermit,
        sender: Sender,
        reconciler: Reconciler,
        upkeep: Upkeep | None = None,
        most_in_flight: int | None = None,
        *,
        replacing: Replacing | None = None,
        earlier: Earlier | None = None,
        strangers: Strangers | None = None,
        on_head: Callable[[int, int], Sequence[Hash32]] | None = None,
        stand_behind: Callable[[Call, bytes | None], None] | None = None,
    ) -> None:
        self._permit = permit
        self._upkeep = upkeep
        self._most_in_flight = most_in_flight
        self._replacing = replacing
        self._earlier = earlier
        self._strangers = strangers
        self._on_head = on_head
        """Told each head's number, and how many nonces are used there: for transactions that are offered anew at each. Returns
        those that are offered no more."""
        self._stand_behind = stand_behind
        """Told of each call that must be mined right behind somebody else's transaction, before it is sent; and of none once it
        was, or was not."""
        self._kept_block = 0
        self._sender = sender
        self._reconciler = reconciler
        self._settling: Counter[Hash32] = Counter()
        """Sent by this run, and waited for in `settle`, by so many attempts."""

    async def start(self, head: BlockRef) -> Sequence[Followed]:
        """Reconcile what an earlier run left open; before the first `submit`. Returns where each of them stands."""
        self._kept_block = head.number
        found = await self._sender.start(head)
        if self._strangers is not None:
            await self._sender.prepare(head)
            await self._strangers.start(head)
        if self._earlier is not None:
            await self._earlier.load()
        return found

    def promised(self, signer: Address) -> Promised:
        """See `keeper.ports.Submitter`."""
        if self._earlier is None:
            return NOTHING_PROMISED
        return self._earlier.promised(self._sender.following.may_be_mined, self._settling)

    async def cancel_open(self, head: BlockRef) -> int:
        """Cancel all that may still be mined. Returns how many cancellations were accepted."""
        return await self._replacing.cancel_open(head) if self._replacing is not None else 0

    async def follow_up(self, head: BlockRef) -> Sequence[Outcome | Unread]:
        """See `keeper.ports.Submitter`. What nobody will settle is closed here."""
        for followed in await self._sender.following.follow_open(head):
            if not followed.open and followed.intent.transaction_hash not in self._settling:
                for part in followed.intent.parts:
                    if self._earlier is not None and followed.receipt is not None:
                        await self._earlier.expect(part)
                self._sender.following.forget(followed.intent.transaction_hash)
        if self._strangers is not None:
            await self._strangers.look(head)
        if self._replacing is not None:
            await self._replacing.tidy(head)
        await self._keep_up(head)
        return await self._earlier.outcomes(head) if self._earlier is not None else []

    async def _keep_up(self, head: BlockRef) -> None:
        due = head.number - self._kept_block >= UPKEEP_EVERY_BLOCKS
        # A lost one holds no nonce; waiting for it would be for ever, since its successor is what the upkeep sends.
        waiting = any(intent.status is not IntentStatus.LOST for intent in self._sender.following.open_intents)
        if self._upkeep is not None and due and not waiting:
            self._kept_block = head.number
            await self._upkeep(head)

    async def prepare(self, head: BlockRef) -> None:
        """Count the nonces."""
        await self._sender.prepare(head)
        if self._on_head is not None:
            following = self._sender.following
            await following.give_up(self._on_head(head.number, following.used_nonces))

    def open_borrowers(self) -> frozenset[Address]:
        """Borrowers with a transaction on a nonce that is held: see `reserved` for the others."""
        following = self._sender.following
        held = following.held_nonces
        return frozenset(
            borrower for intent in following.may_be_mined if intent.nonce in held for borrower in intent.borrowers
        )

    def reserved(self) -> Mapping[Address, Address]:
        """See `keeper.ports.Submitter`. The next order of such a borrower takes the lost nonce."""
        busy = self.open_borrowers()
        borrowers = {borrower for intent in self._sender.following.may_be_mined for borrower in intent.borrowers}
        return {borrower: self._sender.address for borrower in borrowers if borrower not in busy}

    def room(self, signer: Address, head: BlockRef) -> int:
        """As many as were agreed, else as many plain liquidations as one block holds; less what is on its way already."""
        most = self._most_in_flight or min(MOST_IN_FLIGHT, max(1, head.gas_limit // SMALL_CALL_GAS))
        return max(0, most - len(self._sender.following.held_nonces))

    async def submit(self, ready: Sequence[tuple[Order, Simulation]], head: BlockRef) -> Sequence[Submission | Refused]:
        """See `keeper.ports.Submitter`."""
        try:
            sent = await self._sender.send_all([self._sendings(order) for order, _ in ready], head)
        finally:
            for order, _ in ready:
                if order.behind is not None and self._stand_behind is not None:
                    self._stand_behind(order.calls[0], None)
        return [
            self._submission(order, simulation, head, transactions)
            for (order, simulation), transactions in zip(ready, sent, strict=True)
        ]

    def _sendings(self, order: Order) -> list[Sending]:
        if order.chain_id != self._permit.chain_id:
            raise Defect(f"an order for chain {order.chain_id} reached the submitter of {self._permit.chain_id}")
        if len(order.stakes) != len(order.calls):
            raise Defect("an order reached the submitter without saying what it may cost")
        if order.behind is not None:
            if self._stand_behind is None or len(order.calls) != 1:
                raise Defect("an order of one call can be put behind a transaction, and only through relays")
            self._stand_behind(order.calls[0], order.behind.raw)
        return [
            Sending(
                call,
                gas_limit,
                order.offer.fees,
                order.attempt,
                order.borrower,
                index,
                notional_wad=stake.notional_wad,
                loss_wad=stake.loss_wad,
                shares=order.shares,
                data_fee_wei=order.offer.worst_data_fee_wei,
            )
            for index, (call, gas_limit, stake) in enumerate(
                zip(order.calls, order.gas_limits, order.stakes, strict=True)
            )
        ]

    def _submission(
        self, order: Order, simulation: Simulation, head: BlockRef, sent: Sequence[SentTransaction] | Refused
    ) -> Submission | Refused:
        if isinstance(sent, Refused):
            return sent
        if sent[0].answer is Answer.NOT_SENT:
            return Refused("not sent, because the node did not accept one before it")
        if sent[0].answer is Answer.REFUSED:
            return Refused(sent[0].detail or "the node refused the transaction")
        hashes = [each.transaction_hash for each in sent if each.transaction_hash is not None]
        self._settling.update({each: len(order.parts) for each in hashes})
        return Submission(order, "live", head.number, tuple(sent), simulation)

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
                self._settled(sent.transaction_hash)
        return outcome

    def _settled(self, transaction_hash: Hash32) -> None:
        """By one of those who had it in common; the last one forgets it."""
        self._settling[transaction_hash] -= 1
        if self._settling[transaction_hash] <= 0:
            del self._settling[transaction_hash]
            self._sender.following.forget(transaction_hash)
