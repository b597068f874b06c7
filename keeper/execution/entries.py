"""From receipts to the ledger: what each mined transaction cost and moved, and in which block."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from keeper.core.block import BlockRef
from keeper.core.intent import Intent, IntentStatus, Mark
from keeper.core.ledger import Entry, movements_of
from keeper.core.units import Address, Hash32, to_hex
from keeper.execution.receipts import Receipt, decode_receipt
from keeper.execution.rpc import Rpc
from keeper.execution.wire import all_answers, read_blocks

HEADERS_KEPT = 256


class Entries:
    """The inclusion blocks of one signer's transactions. `accounts`: whose tokens are ours."""

    def __init__(self, rpc: Rpc, accounts: Collection[Address]) -> None:
        self._rpc = rpc
        self._accounts = frozenset(accounts)
        self._times_s: dict[Hash32, int] = {}
        """Of blocks, by their hash."""
        self._mined_in: dict[Hash32, Hash32] = {}
        """The block that the ledger names, by transaction."""
        self._head: BlockRef | None = None
        """Where the chain was looked at for moves."""

    async def enter(
        self, marks: Sequence[Mark], intents: Mapping[Hash32, Intent], receipts: Mapping[Hash32, Receipt]
    ) -> list[Mark]:
        """The marks, those of mined transactions with their entries. Raises `ChainError` while a block cannot be read."""
        mined = [mark.transaction_hash for mark in marks if mark.block_number is not None]
        await self._read_times({receipts[each].block_hash for each in mined})
        return [
            replace(mark, entry=self._entry(intents[mark.transaction_hash], receipts[mark.transaction_hash]))
            if mark.block_number is not None
            else mark
            for mark in marks
        ]

    def noted(self, marks: Sequence[Mark]) -> None:
        """These are written down."""
        for mark in marks:
            if mark.entry is None:
                self._mined_in.pop(mark.transaction_hash, None)
            else:
                self._mined_in[mark.transaction_hash] = mark.entry.block_hash

    def moves(self, mark: Mark) -> bool:
        """Whether the ledger names another block for it."""
        return mark.entry is not None and self._mined_in.get(mark.transaction_hash) != mark.entry.block_hash

    def note_earlier(self, transaction_hash: Hash32, block_hash: Hash32) -> None:
        """An earlier run wrote that it was mined there."""
        self._mined_in[transaction_hash] = block_hash

    async def moved(self, recent: Mapping[Hash32, Intent], head: BlockRef) -> list[Mark]:
        """Of what was mined lately: what lies in another block now without having been open in between, and what lies in none.
        Asked only where a reorg may have been: where the head is not the child of the one before."""
        self._mined_in = {each: where for each, where in self._mined_in.items() if each in recent}
        before, extends = self._head, False
        if before is not None:
            extends = before.hash in (head.hash, head.parent_hash)
        if extends or not self._mined_in:
            self._head = head
            return []
        asked = list(self._mined_in)
        answers = await all_answers(self._rpc, [("eth_getTransactionReceipt", [to_hex(each)]) for each in asked])
        receipts: dict[Hash32, Receipt] = {}
        marks = []
        for transaction_hash, answer in zip(asked, answers, strict=True):
            if answer is None:
                marks.append(Mark(transaction_hash, IntentStatus.UNKNOWN))
                continue
            receipt = decode_receipt(answer)
            if receipt.block_hash != self._mined_in[transaction_hash] and receipt.block_number <= head.number:
                receipts[transaction_hash] = receipt
                marks.append(Mark(transaction_hash, mined_status(receipt), receipt.block_number))
        entered = await self.enter(marks, recent, receipts)
        self._head = head
        return entered

    def _entry(self, intent: Intent, receipt: Receipt) -> Entry:
        return Entry(
            chain_id=intent.chain_id,
            signer=intent.signer,
            transaction_hash=receipt.transaction_hash,
            nonce=intent.nonce,
            attempt=intent.attempt,
            purpose=intent.purpose,
            borrower=intent.borrower,
            call_index=intent.call_index,
            block_number=receipt.block_number,
            block_hash=receipt.block_hash,
            timestamp_s=self._times_s[receipt.block_hash],
            succeeded=receipt.succeeded,
            gas_used=receipt.gas_used,
            gas_price_wei=receipt.effective_gas_price_wei,
            l1_fee_wei=receipt.l1_fee_wei,
            movements=movements_of(receipt.logs, self._accounts),
        )

    async def _read_times(self, block_hashes: Collection[Hash32]) -> None:
        unread = sorted(each for each in block_hashes if each not in self._times_s)
        for block_hash, block in zip(unread, await read_blocks(self._rpc, unread), strict=True):
            self._times_s[block_hash] = block.timestamp_s
        while len(self._times_s) > HEADERS_KEPT:
            del self._times_s[next(iter(self._times_s))]


def mined_status(receipt: Receipt) -> IntentStatus:
    return IntentStatus.MINED if receipt.succeeded else IntentStatus.REVERTED
