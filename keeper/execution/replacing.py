"""What takes the place of transactions that wait too long, and fills the nonces that others wait above."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from keeper.core.bidding import replacement_bid
from keeper.core.block import BlockRef, Call
from keeper.core.errors import Refused
from keeper.core.intent import Intent, IntentStatus
from keeper.core.ledger import Purpose
from keeper.core.order import Answer, FeeQuote, SentTransaction
from keeper.core.units import Address
from keeper.execution.nonces import Overdue, Remedy, check_borrower, overdue
from keeper.execution.sender import Sender, Sending
from keeper.execution.signing.envelope import decode_signed
from keeper.execution.signing.policy import CANCEL_GAS

CANCEL = "cancel"
"""The attempt under which cancellations are journaled."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """One remedy that was tried."""

    case: Overdue
    fees: FeeQuote | None
    """None for the same bytes once more."""
    sent: SentTransaction | Refused


Told = Callable[[Replaced, BlockRef], Awaitable[None]]
MayRepeat = Callable[[bytes], bool]
"""Whether these very bytes may be sent again, once they were lost."""


class Replacing:
    """One per sender. Nothing that was planned for an old price is left to be mined much later, and no nonce is left out.

    `quote`: what a new transaction would bid now. A remedy that cannot be had (no money for gas, no signature, a fee above the
    cap) is tried again at every head, and told once."""

    def __init__(
        self,
        sender: Sender,
        quote: Callable[[], Awaitable[FeeQuote]],
        told: Told,
        *,
        cap_wei: int,
        expiry_blocks: int,
        may_repeat: MayRepeat | None = None,
    ) -> None:
        self._sender = sender
        self._quote = quote
        self._told = told
        self._cap_wei = cap_wei
        self._expiry_blocks = expiry_blocks
        self._may_repeat = may_repeat
        self._holes: dict[int, int] = {}
        """Nonces at which nothing of ours is, with the head that showed it first: the next order takes one, if there is one."""
        self._failed: dict[int, str] = {}

    async def tidy(self, head: BlockRef) -> None:
        """Whatever is overdue as of `head`; once per head, after acting on it."""
        pending_count = await self._sender.pending_count(head)
        cases = overdue(pending_count, self._sender.following.may_be_mined, head.number, self._expiry_blocks)
        self._holes = {case.nonce: self._holes.get(case.nonce, head.number) for case in cases if not case.there}
        due = [case for case in cases if self._holes.get(case.nonce, -1) < head.number]
        self._failed = {nonce: why for nonce, why in self._failed.items() if nonce in {case.nonce for case in due}}
        if due:
            await self._remedy_all(due, head)

    async def cancel_open(self, head: BlockRef) -> int:
        """Cancel all that may still be mined, cancellations aside. Returns how many were accepted."""
        open_nonces = sorted({intent.nonce for intent in self._sender.following.may_be_mined})
        cases = [
            Overdue(nonce, Remedy.CANCEL, there, "asked to")
            for nonce in open_nonces
            if (there := tuple(self._sender.following.open_at(nonce)))[-1].attempt != CANCEL
        ]
        return await self._remedy_all(cases, head) if cases else 0

    async def replace(self, nonce: int, remedy: Remedy, head: BlockRef) -> Replaced:
        """What a person asks for. Raises `Refused` when nothing is open at this nonce."""
        there = tuple(self._sender.following.open_at(nonce))
        if not there:
            raise Refused(f"nothing of this keeper is open at nonce {nonce}")
        replaced = await self._remedied(Overdue(nonce, remedy, there, "asked to"), await self._quote(), head)
        await self._told(replaced, head)
        return replaced

    async def _remedy_all(self, cases: Sequence[Overdue], head: BlockRef) -> int:
        """By nonce; nothing more after an answer that does not tell: it would stand above a possible hole."""
        asked = await self._quote()
        accepted = 0
        for case in cases:
            if case.remedy is Remedy.SPEED_UP and case.why != "asked to" and not _underbids(case.there, asked):
                continue
            replaced = await self._remedied(case, asked, head)
            sent = replaced.sent
            accepted += not isinstance(sent, Refused) and sent.answer is Answer.ACCEPTED
            await self._tell(replaced, head)
            if not isinstance(sent, Refused) and sent.answer is Answer.UNKNOWN:
                break
        return accepted

    async def _remedied(self, case: Overdue, asked: FeeQuote, head: BlockRef) -> Replaced:
        if case.remedy is Remedy.RESEND:
            try:
                self._check_alone(case.there[-1])
                return Replaced(case, None, await self._sender.resend(case.there[-1]))
            except Refused:
                case = replace(case, remedy=Remedy.CANCEL)
        fees = self._bid(case.there, asked)
        lost = [each for each in case.there if each.status is IntentStatus.LOST and each.purpose is Purpose.CANCEL]
        if fees is None and lost and case.remedy is Remedy.CANCEL:
            return await self._resent(replace(case, remedy=Remedy.RESEND), lost[-1])
        if fees is None:
            return Replaced(case, None, Refused(f"a higher fee is above the cap of {self._cap_wei} wei per gas"))
        sending = self._sending(case, fees)
        try:
            return Replaced(case, fees, await self._sender.replace(case.nonce, sending, head, case.there))
        except Refused as refused:
            return Replaced(case, fees, refused)

    async def _resent(self, case: Overdue, cancellation: Intent) -> Replaced:
        """A lost cancellation above which no bid is left. It is as right as on the first day, and without it what waits above
        its nonce waits for ever."""
        try:
            return Replaced(case, None, await self._sender.resend(cancellation))
        except Refused as refused:
            return Replaced(case, None, refused)

    def _check_alone(self, lost: Intent) -> None:
        """Raises `Refused` when it was good only where it was sent, or its borrower has another attempt that may be mined
        besides."""
        if self._may_repeat is not None and not self._may_repeat(lost.raw_transaction):
            raise Refused(f"what is lost at nonce {lost.nonce} was good only where it was sent")
        for each in lost.parts:
            if each.borrower is not None:
                check_borrower(lost.nonce, each.attempt, each.borrower, self._sender.following.may_be_mined)

    def _bid(self, there: Iterable[Intent], asked: FeeQuote) -> FeeQuote | None:
        """Above everything that any node may still hold at this nonce."""
        fees: FeeQuote | None = asked
        for intent in there:
            old = decode_signed(intent.raw_transaction).fields
            fees = fees and replacement_bid(old.max_fee_wei, old.priority_fee_wei, fees, self._cap_wei)
        return fees

    def _sending(self, case: Overdue, fees: FeeQuote) -> Sending:
        if case.remedy is Remedy.CANCEL:
            return cancellation(self._sender.address, fees)
        old = case.there[-1]
        fields = decode_signed(old.raw_transaction).fields
        sending = Sending(
            fields.call,
            fields.gas_limit,
            fees,
            old.attempt,
            old.borrower,
            old.call_index,
            old.purpose,
            shares=old.shares,
        )
        if old.stake is None:
            return sending
        return replace(sending, notional_wad=old.stake.notional_wad, loss_wad=old.stake.loss_wad)

    async def _tell(self, replaced: Replaced, head: BlockRef) -> None:
        """What failed for the same reason at the head before is known."""
        nonce, sent = replaced.case.nonce, replaced.sent
        failure = str(sent) if isinstance(sent, Refused) else sent.detail if sent.answer is Answer.REFUSED else None
        if failure is not None and self._failed.get(nonce) == failure:
            return
        if failure is None:
            self._failed.pop(nonce, None)
        else:
            self._failed[nonce] = failure
        await self._told(replaced, head)


def cancellation(own: Address, fees: FeeQuote) -> Sending:
    """Nothing sent to ourselves: what uses up a nonce for the least gas."""
    return Sending(Call(own, b""), CANCEL_GAS, fees, CANCEL, None, 0, Purpose.CANCEL)


def _underbids(there: Sequence[Intent], asked: FeeQuote) -> bool:
    """Whether the last of them offers less than what the next block asks."""
    old = decode_signed(there[-1].raw_transaction).fields
    return old.max_fee_wei < asked.base_fee_wei + asked.priority_fee_wei
