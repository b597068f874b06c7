"""The one owner of a signer's nonces: signs, writes down, sends once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from keeper.concurrency import Group
from keeper.core.block import BlockRef, Call
from keeper.core.errors import ChainError, Defect, Refused
from keeper.core.intent import Intent, IntentStatus, Mark
from keeper.core.ledger import Purpose, Stake
from keeper.core.order import Answer, FeeQuote, SentTransaction
from keeper.core.shares import Share
from keeper.core.units import Address, Hash32, to_hex
from keeper.execution.answers import TurnedAway, judge_answer, says_nonce_used
from keeper.execution.following import Followed, Following
from keeper.execution.nonces import check_borrower, free_nonces
from keeper.execution.rpc import Rpc
from keeper.execution.signing.signer import Signer, TransactionFields
from keeper.ports import Intents

SEND_WINDOW = 8
"""So many transactions may be unanswered at a time: no more than these can stand above one that does not arrive."""
STATUS_OF = {
    Answer.ACCEPTED: IntentStatus.SENT,
    Answer.REFUSED: IntentStatus.REFUSED,
    Answer.UNKNOWN: IntentStatus.UNKNOWN,
    Answer.NOT_SENT: IntentStatus.REFUSED,
}
"""What was written down and then not sent is as good as refused: its nonce is free."""


@dataclass(frozen=True, slots=True)
class _Heard:
    """What is told of one transaction, and where it stands."""

    sent: SentTransaction
    status: IntentStatus


@dataclass(frozen=True, slots=True)
class Sending:
    """One transaction to be made."""

    call: Call
    gas_limit: int
    fees: FeeQuote
    attempt: str
    borrower: Address | None
    call_index: int
    purpose: Purpose = Purpose.LIQUIDATION
    notional_wad: int = 0
    """Debt that it may repay, at most."""
    loss_wad: int = 0
    """What it may lose at worst."""
    data_fee_wei: int = 0
    """What a rollup may ask on top of gas at worst."""
    shares: tuple[Share, ...] = ()
    """Of one that several attempts have in common: all of them."""

    @property
    def whom(self) -> tuple[tuple[str, Address], ...]:
        """Attempt and borrower, for each borrower that it is about."""
        alone = () if self.borrower is None else ((self.attempt, self.borrower),)
        return tuple((share.attempt, share.borrower) for share in self.shares) or alone

    @property
    def stake(self) -> Stake:
        gas_wei = self.gas_limit * self.fees.max_fee_wei + self.data_fee_wei
        return Stake(gas_wei, self.notional_wad, self.loss_wad)


@dataclass(frozen=True, slots=True)
class _Signed:
    """What was signed of one order: all of it, or its first calls, and why the next one was not."""

    intents: tuple[Intent, ...]
    kept_back: Refused | None

    def told(self, order: Sequence[Sending], answers: Mapping[Hash32, _Heard]) -> Sequence[SentTransaction] | Refused:
        if not self.intents and self.kept_back is not None:
            return self.kept_back
        sent = [answers[intent.transaction_hash].sent for intent in self.intents]
        for sending in order[len(sent) :]:
            why = str(self.kept_back) if len(sent) == len(self.intents) else ""
            sent.append(SentTransaction(sending.call_index, None, None, Answer.NOT_SENT, why))
        return sent


class _Beside:
    """What else may be mined, by borrower."""

    def __init__(self, may_be_mined: Sequence[Intent]) -> None:
        self._of: dict[Address, dict[Hash32, Intent]] = {}
        for intent in may_be_mined:
            self.add(intent)

    def add(self, intent: Intent) -> None:
        for borrower in intent.borrowers:  # the same bytes as a lost one's are that one
            self._of.setdefault(borrower, {})[intent.transaction_hash] = intent

    def why_not(self, sending: Sending, nonce: int) -> Refused | None:
        """Why it may not take this nonce."""
        try:
            for attempt, borrower in sending.whom:
                check_borrower(nonce, attempt, borrower, self._of.get(borrower, {}).values())
        except Refused as refused:
            return refused
        return None


class Sender:
    """One per (chain, signer); everything that the signer sends goes through it. `start` comes first."""

    def __init__(
        self,
        rpc: Rpc,
        signer: Signer,
        intents: Intents,
        chain_id: int,
        *,
        patience_blocks: int = 3,
        accounts: Collection[Address] = (),
    ) -> None:
        """`accounts`: whose tokens are ours, too."""
        self._rpc = rpc
        self._signer = signer
        self._chain_id = chain_id
        self._turn = asyncio.Lock()
        self._counted: tuple[Hash32, int] | None = None
        self._started = False
        self.following = Following(rpc, intents, signer.address, patience_blocks, accounts)

    @property
    def address(self) -> Address:
        return self._signer.address

    async def start(self, head: BlockRef) -> Sequence[Followed]:
        """Take up what an earlier run left open and look where it stands. Returns all of it."""
        await self.following.load(self._chain_id)
        self._started = True
        return await self.following.follow_open(head)

    async def prepare(self, head: BlockRef) -> None:
        """Look at the nonces as of `head`; what is sent on it then needs no further reading."""
        self._counted = head.hash, await self.following.prepare(head)

    async def send(self, sending: Sending, head: BlockRef) -> SentTransaction:
        """One transaction; see `send_all`. Raises `Refused` when it is not even signed."""
        [answer] = await self.send_all([[sending]], head)
        if isinstance(answer, Refused):
            raise answer
        return answer[0]

    async def send_all(
        self, orders: Sequence[Sequence[Sending]], head: BlockRef
    ) -> list[Sequence[SentTransaction] | Refused]:
        """Sign, write down together, send each once; the answers say what is proven. `Refused` for an order of which nothing
        was signed. Of one order, a transaction is not sent unless the one before it was accepted.

        Raises `ChainError` only before anything was signed. A `StoreError` may come after bytes left: their nonces are then
        undecided, as after a crash."""
        self._check_started()
        async with self._turn:
            await self.pending_count(head)
            signed = await self._sign_all(orders, head)
            intents = sorted((intent for each in signed for intent in each.intents), key=lambda intent: intent.nonce)
            answers: Mapping[Hash32, _Heard] = {}
            if intents:
                try:
                    answers = await self._let_out(intents)
                except Refused as refused:
                    return [refused for _ in orders]
            return [each.told(order, answers) for order, each in zip(orders, signed, strict=True)]

    async def replace(self, nonce: int, sending: Sending, head: BlockRef, beside: Sequence[Intent]) -> SentTransaction:
        """One transaction on a nonce that is taken, or that others wait above. Raises `Refused` when it is not even signed,
        and when the nonce is another's meanwhile. `beside`: what is open at the nonce, as its sender knew it: at most one of
        them all can be mined."""
        self._check_started()
        async with self._turn:
            if tuple(self.following.open_at(nonce)) != tuple(beside):
                raise Refused(f"nonce {nonce} was taken up meanwhile")
            intent = await self._sign(sending, nonce, head)
            return (await self._let_out([intent]))[intent.transaction_hash].sent

    async def resend(self, intent: Intent) -> SentTransaction:
        """The bytes of a lost one once more. When they are refused it stays lost: they may be elsewhere. Raises `Refused` when
        they may not be sent."""
        self._check_started()
        async with self._turn:
            again = replace(intent, status=IntentStatus.INTENDED)
            return (await self._let_out([again]))[intent.transaction_hash].sent

    async def pending_count(self, head: BlockRef) -> int:
        """How many nonces the node knows as used, its mempool included; as of this head at the earliest."""
        if self._counted is None or self._counted[0] != head.hash:
            await self.prepare(head)
        assert self._counted is not None, "the nonces were counted"
        return self._counted[1]

    def _check_started(self) -> None:
        if not self._started:
            raise Defect("a sender must look at what an earlier run left open before it takes a nonce")

    async def _sign_all(self, orders: Sequence[Sequence[Sending]], head: BlockRef) -> list[_Signed]:
        """In the order of their nonces; what may not be signed takes none. An order whose borrower has a lost transaction at a
        later free nonce comes once that is the next. Once there is no signature to be had, no later one is asked for."""
        assert self._counted is not None, "the nonces were counted"
        may_be_mined = self.following.may_be_mined
        try:
            nonces = free_nonces(self._counted[1], may_be_mined)
        except Refused as refused:
            return [_Signed((), refused) for _ in orders]
        beside = _Beside(may_be_mined)
        nonce = next(nonces)
        signed: dict[int, _Signed] = {}
        unsigned: Refused | None = None
        while len(signed) < len(orders):
            waiting = [place for place in range(len(orders)) if place not in signed]
            place = next((each for each in waiting if beside.why_not(orders[each][0], nonce) is None), waiting[0])
            intents: list[Intent] = []
            kept_back = unsigned
            for sending in orders[place] if unsigned is None else ():
                kept_back = beside.why_not(sending, nonce)
                if kept_back is not None:
                    break
                try:
                    intent = await self._sign(sending, nonce, head)
                except Refused as refused:
                    kept_back = unsigned = refused
                    break
                beside.add(intent)
                intents.append(intent)
                nonce = next(nonces)
                await asyncio.sleep(0)  # a signature takes milliseconds: let the others have their turn
            signed[place] = _Signed(tuple(intents), kept_back)
        return [signed[place] for place in range(len(orders))]

    async def _sign(self, sending: Sending, nonce: int, head: BlockRef) -> Intent:
        signed = await self._signer.sign_transaction(
            TransactionFields(
                chain_id=self._chain_id,
                nonce=nonce,
                call=sending.call,
                gas_limit=sending.gas_limit,
                max_fee_wei=sending.fees.max_fee_wei,
                priority_fee_wei=sending.fees.priority_fee_wei,
            )
        )
        return Intent(
            chain_id=self._chain_id,
            signer=self.address,
            nonce=nonce,
            transaction_hash=signed.hash,
            raw_transaction=signed.raw,
            attempt=sending.attempt,
            borrower=sending.borrower,
            call_index=sending.call_index,
            submitted_block=head.number,
            purpose=sending.purpose,
            stake=sending.stake,
            shares=sending.shares,
        )

    async def _let_out(self, intents: Sequence[Intent]) -> dict[Hash32, _Heard]:
        """Written down together, then sent. Raises `Refused` when nothing may be. Bytes that had left before may still be
        mined, whatever is said to them now."""
        left_before = {intent.transaction_hash for intent in self.following.may_be_mined}
        await self.following.record(intents)
        answers = await self._broadcast_all(intents)
        if any(heard.status is not IntentStatus.SENT for heard in answers.values()):
            self._counted = None
        for transaction_hash, heard in answers.items():
            if heard.status is IntentStatus.REFUSED and transaction_hash in left_before:
                answers[transaction_hash] = replace(heard, status=IntentStatus.LOST)
        await self.following.mark([Mark(each, heard.status) for each, heard in answers.items()])
        for transaction_hash in answers:
            self.following.forget(transaction_hash)  # but for what may still be mined
        return answers

    async def _broadcast_all(self, intents: Sequence[Intent]) -> dict[Hash32, _Heard]:
        """By nonce, at most `SEND_WINDOW` unanswered at a time. The first goes alone, and so does a further call of an order:
        what the account as such is refused for shows before anything stands above it. After one that was not accepted nothing
        more leaves."""
        answers: dict[Hash32, _Heard] = {}
        unanswered: deque[asyncio.Task[None]] = deque()

        async def send(intent: Intent) -> None:
            answers[intent.transaction_hash] = await self._broadcast(intent)

        async with Group() as group:
            for place, intent in enumerate(intents):
                alone = place == 1 or (place > 0 and intent.attempt == intents[place - 1].attempt)
                while len(unanswered) >= (1 if alone else SEND_WINDOW):
                    await unanswered.popleft()
                if any(heard.status is not IntentStatus.SENT for heard in answers.values()):
                    break
                unanswered.append(group.create_task(send(intent)))
        for intent in intents:
            if intent.transaction_hash not in answers:
                answers[intent.transaction_hash] = _heard(intent, Answer.NOT_SENT)
        return answers

    async def _broadcast(self, intent: Intent) -> _Heard:
        """Exactly one send. Whatever is not proven by its answer is looked up once; what is turned away counts as lost."""
        result: object
        try:
            result = await self._rpc.request("eth_sendRawTransaction", [to_hex(intent.raw_transaction)])
        except TurnedAway as error:
            return replace(_heard(intent, Answer.REFUSED, str(error)), status=IntentStatus.LOST)
        except ChainError as error:
            result = error
        answer = judge_answer(result, intent.transaction_hash)
        if answer is Answer.UNKNOWN:
            answer = await self._look_up(intent, says_nonce_used(result))
        detail = str(result) if isinstance(result, ChainError) else ""
        return _heard(intent, answer, detail)

    async def _look_up(self, intent: Intent, nonce_used: bool) -> Answer:
        try:
            [known] = await self.following.knows([intent.transaction_hash])
        except ChainError:
            return Answer.UNKNOWN
        if known:
            return Answer.ACCEPTED
        return Answer.REFUSED if nonce_used else Answer.UNKNOWN


def _heard(intent: Intent, answer: Answer, detail: str = "") -> _Heard:
    if answer in (Answer.REFUSED, Answer.NOT_SENT):
        return _Heard(SentTransaction(intent.call_index, None, None, answer, detail), STATUS_OF[answer])
    return _Heard(
        SentTransaction(intent.call_index, intent.transaction_hash, intent.nonce, answer, detail), STATUS_OF[answer]
    )
