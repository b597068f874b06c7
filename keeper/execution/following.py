"""What became of the transactions that left us: followed until proven mined, refused or gone."""

from __future__ import annotations

from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass, replace

from keeper.core.block import BlockRef
from keeper.core.hexdata import decode_quantity
from keeper.core.intent import IN_A_BLOCK, OPEN_STATUSES, Intent, IntentStatus, Mark
from keeper.core.units import Address, Hash32, to_hex
from keeper.execution.entries import Entries, mined_status
from keeper.execution.nonces import HELD
from keeper.execution.receipts import Receipt, decode_receipt
from keeper.execution.rpc import Rpc
from keeper.execution.wire import all_answers, pinned
from keeper.ports import Intents

REORG_BLOCKS = 64
"""So long a mined transaction is watched after everybody has forgotten it: a reorg may put it back into the mempool."""


@dataclass(frozen=True, slots=True)
class Followed:
    """Where a sent transaction stands at one head."""

    intent: Intent
    receipt: Receipt | None

    @property
    def open(self) -> bool:
        return self.intent.status in OPEN_STATUSES


class Following:
    """The intents of one signer. Every change of status is written to the store first.

    `patience_blocks`: how long a transaction must be missing before it counts as lost, or its nonce as used by another;
    nodes behind a balancer do not all know everything at once.
    """

    def __init__(
        self, rpc: Rpc, store: Intents, signer: Address, patience_blocks: int, accounts: Collection[Address] = ()
    ) -> None:
        self._rpc = rpc
        self._store = store
        self._signer = signer
        self._patience_blocks = patience_blocks
        self._tracked: dict[Hash32, Intent] = {}
        self._missing_since: dict[Hash32, int] = {}
        self._seen: dict[Hash32, Followed] = {}
        """As of `_seen_at`: within one head nothing is asked twice."""
        self._seen_at: Hash32 | None = None
        self._used: tuple[Hash32, int] | None = None
        """How many nonces are used at a head."""
        self._mined: dict[Hash32, tuple[Intent, int]] = {}
        """What was mined lately, forgotten or not, and in which block."""
        self._rivals: dict[Hash32, Intent] = {}
        """Dropped: their nonces went to these instead."""
        self.nonces_in_blocks: set[int] = set()
        """Used by transactions of ours; those that nobody will ask for again are left out (`settle_below`)."""
        self._entries = Entries(rpc, {signer, *accounts})

    @property
    def open_intents(self) -> Sequence[Intent]:
        """What may still be mined, by nonce."""
        return sorted(
            (intent for intent in self._tracked.values() if intent.status in OPEN_STATUSES),
            key=lambda intent: intent.nonce,
        )

    @property
    def may_be_mined(self) -> Sequence[Intent]:
        """Of the open ones those whose nonce was not used yet at the head looked at last, by nonce: whatever used a nonce is in
        a block, and no other transaction of that nonce can be mined any more."""
        return [intent for intent in self.open_intents if intent.nonce >= self.used_nonces]

    @property
    def held_nonces(self) -> frozenset[int]:
        """Those of them that a transaction still holds: asked for each order, so nothing is sorted."""
        used = self.used_nonces
        return frozenset(each.nonce for each in self._tracked.values() if each.nonce >= used and each.status in HELD)

    @property
    def used_nonces(self) -> int:
        """How many are used at the head looked at last."""
        return self._used[1] if self._used is not None else 0

    def open_at(self, nonce: int) -> Sequence[Intent]:
        """What may still be mined with this nonce, in the order it was recorded."""
        return [intent for intent in self.may_be_mined if intent.nonce == nonce]

    async def prepare(self, head: BlockRef) -> int:
        """How many nonces are used at `head`, and how many with those that the node has in its mempool, by one exchange.
        Returns the latter."""
        account = to_hex(self._signer)
        used, pending = await all_answers(
            self._rpc,
            [
                ("eth_getTransactionCount", [account, pinned(head)]),
                ("eth_getTransactionCount", [account, "pending"]),
            ],
        )
        self._used = head.hash, decode_quantity(used, "the nonce")
        await self._reopen(head)
        return decode_quantity(pending, "the pending nonce")

    async def load(self, chain_id: int) -> None:
        """Take up what an earlier run left open."""
        for intent in await self._store.open_intents(chain_id, self._signer):
            self._tracked[intent.transaction_hash] = intent
            self._missing_since[intent.transaction_hash] = intent.submitted_block
        for intent, block_number, block_hash in await self._store.mined_intents(chain_id, self._signer, REORG_BLOCKS):
            self._mined[intent.transaction_hash] = intent, block_number
            self.nonces_in_blocks.add(intent.nonce)
            self._entries.note_earlier(intent.transaction_hash, block_hash)
        for intent in await self._store.dropped_intents(chain_id, self._signer, REORG_BLOCKS):
            self._rivals[intent.transaction_hash] = intent

    async def record(self, intents: Sequence[Intent]) -> None:
        """All of them written down when it returns."""
        await self._store.record_intents(intents)
        for intent in intents:
            self._tracked[intent.transaction_hash] = intent
            self._seen.pop(intent.transaction_hash, None)

    async def mark(self, marks: Sequence[Mark]) -> None:
        """Where these stand now: written down together, then remembered. What has no news costs nothing."""
        news = [mark for mark in marks if self._of(mark).status is not mark.status or self._entries.moves(mark)]
        if not news:
            return
        news += self._back_in_the_running(news)
        await self._store.mark_intents(news)
        self._entries.noted(news)
        for mark in news:
            if self._of(mark).status in IN_A_BLOCK:
                self.nonces_in_blocks.discard(self._of(mark).nonce)
            changed = replace(self._of(mark), status=mark.status)
            self._tracked[mark.transaction_hash] = changed
            self._seen.pop(mark.transaction_hash, None)
            self._mined.pop(mark.transaction_hash, None)
            self._rivals.pop(mark.transaction_hash, None)
            if mark.status is IntentStatus.DROPPED:
                self._rivals[mark.transaction_hash] = changed
            if mark.block_number is not None:
                self._mined[mark.transaction_hash] = changed, mark.block_number
                self.nonces_in_blocks.add(changed.nonce)

    def settle_below(self, nonce: int) -> None:
        """Who used the nonces below this one is known."""
        self.nonces_in_blocks = {each for each in self.nonces_in_blocks if each >= nonce}

    def _back_in_the_running(self, news: Sequence[Mark]) -> list[Mark]:
        """Whatever had lost its nonce to one that a reorg takes back: it may be mined instead."""
        gone = [mark for mark in news if mark.block_number is None and self._of(mark).status in IN_A_BLOCK]
        nonces, told = {self._of(mark).nonce for mark in gone}, {mark.transaction_hash for mark in news}
        back = [each for each, intent in self._rivals.items() if intent.nonce in nonces and each not in told]
        for transaction_hash in back:
            self._missing_since.pop(transaction_hash, None)
        return [Mark(transaction_hash, IntentStatus.UNKNOWN) for transaction_hash in back]

    def _of(self, mark: Mark) -> Intent:
        """Of what was settled and forgotten, too: a reorg may bring it back."""
        known = self._tracked.get(mark.transaction_hash) or self._rivals.get(mark.transaction_hash)
        return known if known is not None else self._mined[mark.transaction_hash][0]

    async def follow(self, transaction_hash: Hash32, head: BlockRef) -> Followed:
        """Where one stands as of `head`."""
        await self._look([transaction_hash], head)
        return self._seen[transaction_hash]

    async def follow_open(self, head: BlockRef) -> Sequence[Followed]:
        """Where everything that is open stands as of `head`, in two exchanges at most. What a node has just accepted on top
        of this very head is not asked for: no block up to it can hold it."""
        await self._reopen(head)
        await self._follow_moves(head)
        hashes = [
            intent.transaction_hash
            for intent in self.open_intents
            if intent.status is not IntentStatus.SENT or intent.submitted_block != head.number
        ]
        await self._look(hashes, head)
        return [self._seen[transaction_hash] for transaction_hash in hashes]

    def borrowers_in(self, block_hash: Hash32) -> Sequence[Address]:
        """Whose transactions were found in a block at the head looked at last, and are not forgotten."""
        inside = [each for each in self._seen.values() if each.receipt and each.receipt.block_hash == block_hash]
        return [borrower for each in inside for borrower in each.intent.borrowers]

    def forget(self, transaction_hash: Hash32) -> None:
        """Nobody will ask about this transaction again; it stays tracked while it is open."""
        intent = self._tracked.get(transaction_hash)
        if intent is not None and intent.status not in OPEN_STATUSES:
            del self._tracked[transaction_hash]
            self._missing_since.pop(transaction_hash, None)
            self._seen.pop(transaction_hash, None)

    async def give_up(self, transaction_hashes: Sequence[Hash32]) -> None:
        """What is offered to nobody any more was never a node's to know: as of now it is lost, if nothing else became of it."""
        tracked = (self._tracked.get(each) for each in transaction_hashes)
        await self.mark(
            [Mark(each.transaction_hash, IntentStatus.LOST) for each in tracked if each and each.status in HELD]
        )

    async def knows(self, transaction_hashes: Sequence[Hash32]) -> list[bool]:
        """Whether the node has each of them, in its mempool or in a block."""
        answers = await all_answers(
            self._rpc, [("eth_getTransactionByHash", [to_hex(each)]) for each in transaction_hashes]
        )
        return [answer is not None for answer in answers]

    async def _look(self, hashes: Sequence[Hash32], head: BlockRef) -> None:
        if self._seen_at != head.hash:
            self._seen, self._seen_at = {}, head.hash
        asked = [each for each in hashes if each not in self._seen]
        if not asked:
            return
        # The count first: whatever used a nonce by then has a receipt by now, and whatever did not has none that counts.
        mined_count = await self._used_nonces(head)
        mined = [each for each in asked if self._tracked[each].nonce < mined_count]
        open_ = [each for each in asked if self._tracked[each].nonce >= mined_count]
        answers = await all_answers(
            self._rpc,
            [
                *(("eth_getTransactionReceipt", [to_hex(each)]) for each in mined),
                *(("eth_getTransactionByHash", [to_hex(each)]) for each in open_),
            ],
        )
        receipts = {
            each: decode_receipt(answer) for each, answer in zip(mined, answers, strict=False) if answer is not None
        }
        known = {each for each, answer in zip(open_, answers[len(mined) :], strict=True) if answer is not None}
        ours = {self._tracked[each].nonce for each, receipt in receipts.items() if receipt.block_number <= head.number}
        # What is asked for proves nothing by what it was before: a reorg may be under way.
        others = [intent for each, (intent, _) in self._mined.items() if each not in asked]
        ours |= {intent.nonce for intent in others if intent.nonce < mined_count}
        marks = [
            self._judge(each, receipts.get(each), each in known, self._tracked[each].nonce < mined_count, head, ours)
            for each in asked
        ]
        await self.mark(
            await self._entries.enter([mark for mark in marks if mark is not None], self._tracked, receipts)
        )
        for each, mark in zip(asked, marks, strict=True):
            mined_now = mark is not None and mark.block_number is not None
            self._seen[each] = Followed(self._tracked[each], receipts.get(each) if mined_now else None)

    async def _used_nonces(self, head: BlockRef) -> int:
        if self._used is None or self._used[0] != head.hash:
            [used] = await all_answers(self._rpc, [("eth_getTransactionCount", [to_hex(self._signer), pinned(head)])])
            self._used = head.hash, decode_quantity(used, "the nonce")
        return self._used[1]

    async def _reopen(self, head: BlockRef) -> None:
        """What a reorg took back may be mined again: until that is decided its borrower gets no other order."""
        self._mined = {each: mined for each, mined in self._mined.items() if mined[1] > head.number - REORG_BLOCKS}
        contested = {intent.nonce for intent, _ in self._mined.values()}
        self._rivals = {each: intent for each, intent in self._rivals.items() if intent.nonce in contested}
        forgotten = [intent for each, (intent, _) in self._mined.items() if each not in self._tracked]
        if not forgotten:
            return
        used_nonces = await self._used_nonces(head)
        back = [intent for intent in forgotten if intent.nonce >= used_nonces]
        await self.mark([Mark(intent.transaction_hash, IntentStatus.UNKNOWN) for intent in back])

    async def _follow_moves(self, head: BlockRef) -> None:
        """What a reorg put into another block: the ledger names the block, and it may have cost something else there."""
        recent = {each: intent for each, (intent, _) in self._mined.items()}
        marks = await self._entries.moved(recent, head)
        untracked = [mark.transaction_hash for mark in marks if mark.transaction_hash not in self._tracked]
        await self.mark(marks)
        for transaction_hash in untracked:
            self.forget(transaction_hash)

    def _judge(
        self,
        transaction_hash: Hash32,
        receipt: Receipt | None,
        known: bool,
        nonce_used: bool,
        head: BlockRef,
        ours: Set[int],
    ) -> Mark | None:
        """Where one stands; None while it has only been missing for a while. `ours`: nonces that others of ours are known to
        have used: whatever took the place of this one is in a block."""
        if receipt is not None and receipt.block_number <= head.number:
            return Mark(transaction_hash, mined_status(receipt), receipt.block_number)
        if receipt is not None or known:
            # One that lies in a block which `head` does not see yet is settled once the caller gets there.
            self._missing_since.pop(transaction_hash, None)
            return Mark(transaction_hash, IntentStatus.SENT)
        if nonce_used and self._tracked[transaction_hash].nonce in ours:
            return Mark(transaction_hash, IntentStatus.DROPPED)
        since = self._missing_since.setdefault(transaction_hash, head.number)
        if head.number < since + self._patience_blocks:
            return None
        return Mark(transaction_hash, IntentStatus.DROPPED if nonce_used else IntentStatus.LOST)
