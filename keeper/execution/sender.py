"""The one owner of a signer's nonces: signs, writes down, sends once, and follows up what it sent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from keeper.core.block import BlockRef, Call
from keeper.core.errors import ChainError
from keeper.core.intent import OPEN_STATUSES, Intent, IntentStatus
from keeper.core.order import Answer, FeeQuote, SentTransaction
from keeper.core.units import Address, Hash32, to_hex
from keeper.execution.answers import judge_answer, says_nonce_used
from keeper.execution.nonces import UNDECIDED, check_borrower, next_nonce
from keeper.execution.receipts import Receipt, read_receipt
from keeper.execution.rpc import Rpc
from keeper.execution.signing.signer import Signer, TransactionFields
from keeper.execution.wire import decode_quantity, pinned
from keeper.ports import Intents


@dataclass(frozen=True, slots=True)
class Sending:
    """One transaction to be made."""

    call: Call
    gas_limit: int
    fees: FeeQuote
    attempt: str
    borrower: Address | None
    call_index: int


@dataclass(frozen=True, slots=True)
class Followed:
    """Where a sent transaction stands at one head."""

    intent: Intent
    receipt: Receipt | None

    @property
    def open(self) -> bool:
        return self.intent.status in OPEN_STATUSES


class Sender:
    """One per (chain, signer); everything that the signer sends goes through it. `start` comes first.

    `patience_blocks`: how long a transaction must be missing before it counts as lost, or its nonce as used by another.
    """

    def __init__(self, rpc: Rpc, signer: Signer, intents: Intents, chain_id: int, *, patience_blocks: int = 3) -> None:
        self._rpc = rpc
        self._signer = signer
        self._store = intents
        self._chain_id = chain_id
        self._patience_blocks = patience_blocks
        self._turn = asyncio.Lock()
        self._tracked: dict[Hash32, Intent] = {}
        self._missing_since: dict[Hash32, int] = {}
        self._counted: tuple[Hash32, int] | None = None

    @property
    def address(self) -> Address:
        return self._signer.address

    @property
    def open_intents(self) -> Sequence[Intent]:
        """What may still be mined, by nonce."""
        return sorted(
            (intent for intent in self._tracked.values() if intent.status in OPEN_STATUSES),
            key=lambda intent: intent.nonce,
        )

    async def start(self, head: BlockRef) -> Sequence[Followed]:
        """Take up what an earlier run left open and look where it stands. Returns all of it."""
        for intent in await self._store.open_intents(self._chain_id, self.address):
            self._tracked[intent.transaction_hash] = intent
            self._missing_since[intent.transaction_hash] = intent.submitted_block
        return [await self.follow(intent.transaction_hash, head) for intent in self.open_intents]

    async def send(self, sending: Sending, head: BlockRef) -> SentTransaction:
        """Sign, write down, send once. The answer says what is proven; raises `Refused` only when nothing was signed, and
        `ChainError` or `StoreError` only before anything left."""
        async with self._turn:
            nonce = await self._next_nonce(head)
            if sending.borrower is not None:
                check_borrower(nonce, sending.attempt, sending.borrower, self.open_intents)
            signed = self._signer.sign_transaction(
                TransactionFields(
                    chain_id=self._chain_id,
                    nonce=nonce,
                    call=sending.call,
                    gas_limit=sending.gas_limit,
                    max_fee_wei=sending.fees.max_fee_wei,
                    priority_fee_wei=sending.fees.priority_fee_wei,
                )
            )
            intent = Intent(
                chain_id=self._chain_id,
                signer=self.address,
                nonce=nonce,
                transaction_hash=signed.hash,
                raw_transaction=signed.raw,
                attempt=sending.attempt,
                borrower=sending.borrower,
                call_index=sending.call_index,
                submitted_block=head.number,
            )
            await self._store.record_intent(intent)
            self._tracked[signed.hash] = intent
            answer, detail = await self._broadcast(intent)
            if answer is Answer.REFUSED:
                self.forget(signed.hash)
                return SentTransaction(sending.call_index, None, None, answer, detail)
            return SentTransaction(sending.call_index, signed.hash, nonce, answer, detail)

    async def follow(self, transaction_hash: Hash32, head: BlockRef) -> Followed:
        """Where it stands as of `head`; a change is written to the store."""
        intent = self._tracked[transaction_hash]
        used = await self._count_at(head) > intent.nonce
        receipt = await read_receipt(self._rpc, transaction_hash)
        if receipt is not None and receipt.block_number > head.number:
            # In a block that `head` does not see yet: settled once the caller gets there.
            return Followed(await self._mark(intent, IntentStatus.SENT), None)
        if receipt is not None:
            status = IntentStatus.MINED if receipt.succeeded else IntentStatus.REVERTED
            return Followed(await self._mark(intent, status, receipt.block_number), receipt)
        if not used and await self._knows(transaction_hash):
            self._missing_since.pop(transaction_hash, None)
            return Followed(await self._mark(intent, IntentStatus.SENT), None)
        since = self._missing_since.setdefault(transaction_hash, head.number)
        if head.number < since + self._patience_blocks:
            return Followed(intent, None)
        return Followed(await self._mark(intent, IntentStatus.DROPPED if used else IntentStatus.LOST), None)

    def forget(self, transaction_hash: Hash32) -> None:
        """Nobody will ask about this transaction again; it stays tracked while it is open."""
        intent = self._tracked.get(transaction_hash)
        if intent is not None and intent.status not in OPEN_STATUSES:
            del self._tracked[transaction_hash]
            self._missing_since.pop(transaction_hash, None)

    async def _next_nonce(self, head: BlockRef) -> int:
        """Counts once per head, after looking up whatever was not settled by an answer."""
        if self._counted is None or self._counted[0] != head.hash:
            for intent in self.open_intents:
                if intent.status in UNDECIDED or intent.status is IntentStatus.LOST:
                    await self.follow(intent.transaction_hash, head)
            answer = await self._rpc.request("eth_getTransactionCount", [to_hex(self.address), "pending"])
            self._counted = (head.hash, decode_quantity(answer, "the pending nonce"))
        return next_nonce(self._counted[1], self.open_intents)

    async def _broadcast(self, intent: Intent) -> tuple[Answer, str]:
        """Exactly one send. Whatever is not proven by its answer is looked up once."""
        result: object
        try:
            result = await self._rpc.request("eth_sendRawTransaction", [to_hex(intent.raw_transaction)])
        except ChainError as error:
            result = error
        answer = judge_answer(result, intent.transaction_hash)
        if answer is Answer.UNKNOWN:
            answer = await self._look_up(intent, says_nonce_used(result))
        status = {
            Answer.ACCEPTED: IntentStatus.SENT,
            Answer.REFUSED: IntentStatus.REFUSED,
            Answer.UNKNOWN: IntentStatus.UNKNOWN,
        }[answer]
        await self._mark(intent, status)
        if answer is not Answer.ACCEPTED:
            self._counted = None
        return answer, str(result) if isinstance(result, ChainError) else ""

    async def _look_up(self, intent: Intent, nonce_used: bool) -> Answer:
        try:
            if await self._knows(intent.transaction_hash):
                return Answer.ACCEPTED
        except ChainError:
            return Answer.UNKNOWN
        return Answer.REFUSED if nonce_used else Answer.UNKNOWN

    async def _knows(self, transaction_hash: Hash32) -> bool:
        return await self._rpc.request("eth_getTransactionByHash", [to_hex(transaction_hash)]) is not None

    async def _count_at(self, head: BlockRef) -> int:
        answer = await self._rpc.request("eth_getTransactionCount", [to_hex(self.address), pinned(head)])
        return decode_quantity(answer, "the nonce")

    async def _mark(self, intent: Intent, status: IntentStatus, block_number: int | None = None) -> Intent:
        if intent.status is status:
            return intent
        changed = replace(intent, status=status)
        await self._store.mark_intent(intent.transaction_hash, status, block_number)
        self._tracked[intent.transaction_hash] = changed
        return changed
