"""The one owner of a signer's nonces: signs, writes down, sends once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from keeper.core.block import BlockRef, Call
from keeper.core.errors import ChainError, Defect
from keeper.core.hexdata import decode_quantity
from keeper.core.intent import Intent, IntentStatus
from keeper.core.order import Answer, FeeQuote, SentTransaction
from keeper.core.units import Address, Hash32, to_hex
from keeper.execution.answers import judge_answer, says_nonce_used
from keeper.execution.following import Followed, Following
from keeper.execution.nonces import check_borrower, next_nonce
from keeper.execution.rpc import Rpc
from keeper.execution.signing.signer import Signer, TransactionFields
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


class Sender:
    """One per (chain, signer); everything that the signer sends goes through it. `start` comes first."""

    def __init__(self, rpc: Rpc, signer: Signer, intents: Intents, chain_id: int, *, patience_blocks: int = 3) -> None:
        self._rpc = rpc
        self._signer = signer
        self._chain_id = chain_id
        self._turn = asyncio.Lock()
        self._counted: tuple[Hash32, int] | None = None
        self._started = False
        self.following = Following(rpc, intents, signer.address, patience_blocks)

    @property
    def address(self) -> Address:
        return self._signer.address

    async def start(self, head: BlockRef) -> Sequence[Followed]:
        """Take up what an earlier run left open and look where it stands. Returns all of it."""
        await self.following.load(self._chain_id)
        self._started = True
        return await self.following.follow_open(head)

    async def send(self, sending: Sending, head: BlockRef) -> SentTransaction:
        """Sign, write down, send once; the answer says what is proven.

        Raises `Refused` and `ChainError` only before anything was signed. A `StoreError` may come after the bytes left:
        the nonce is then undecided, as after a crash."""
        if not self._started:
            raise Defect("a sender must look at what an earlier run left open before it takes a nonce")
        async with self._turn:
            nonce = await self._next_nonce(head)
            if sending.borrower is not None:
                check_borrower(nonce, sending.attempt, sending.borrower, self.following.open_intents)
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
            await self.following.record(intent)
            answer, detail = await self._broadcast(intent)
            if answer is Answer.REFUSED:
                self.following.forget(signed.hash)
                return SentTransaction(sending.call_index, None, None, answer, detail)
            return SentTransaction(sending.call_index, signed.hash, nonce, answer, detail)

    async def _next_nonce(self, head: BlockRef) -> int:
        """Counts once per head, after looking where everything open stands."""
        if self._counted is None or self._counted[0] != head.hash:
            await self.following.follow_open(head)
            answer = await self._rpc.request("eth_getTransactionCount", [to_hex(self.address), "pending"])
            self._counted = (head.hash, decode_quantity(answer, "the pending nonce"))
        return next_nonce(self._counted[1], self.following.open_intents)

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
        await self.following.mark(intent, status)
        if answer is not Answer.ACCEPTED:
            self._counted = None
        return answer, str(result) if isinstance(result, ChainError) else ""

    async def _look_up(self, intent: Intent, nonce_used: bool) -> Answer:
        try:
            [known] = await self.following.knows([intent.transaction_hash])
        except ChainError:
            return Answer.UNKNOWN
        if known:
            return Answer.ACCEPTED
        return Answer.REFUSED if nonce_used else Answer.UNKNOWN
