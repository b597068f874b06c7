"""Attempts that no submission of this run waits for: an earlier run's, and those given up that were mined after all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from keeper.core.block import BlockRef
from keeper.core.decision import Decision, Promised, Unread
from keeper.core.errors import ChainError
from keeper.core.intent import IN_A_BLOCK, OPEN_STATUSES, Intent, IntentStatus
from keeper.core.order import Outcome
from keeper.core.units import Address, Hash32, to_hex
from keeper.execution.readback import ReadBack
from keeper.execution.receipts import Receipt, decode_receipt
from keeper.execution.rpc import Rpc
from keeper.execution.signing.envelope import decode_signed
from keeper.execution.wire import all_answers
from keeper.ports import Decisions

MOST_AT_ONCE = 4
"""So many outcomes are read at one head: the next one has orders to make."""
MOST_TRIES = 20


@dataclass(slots=True)
class _Waiting:
    borrower: Address
    decision: Decision | None


class Earlier:
    """The attempts of one signer whose outcome is still to be told. What is told is in the journal, and is not told again."""

    def __init__(
        self, rpc: Rpc, decisions: Decisions, read_back: ReadBack, chain: str, chain_id: int, signer: Address
    ) -> None:
        self._rpc = rpc
        self._decisions = decisions
        self._read_back = read_back
        self._chain = chain
        self._chain_id = chain_id
        self._signer = signer
        self._waiting: dict[str, _Waiting] = {}
        """By attempt, in the order they were made."""
        self._tries: Counter[str] = Counter()

    async def load(self) -> None:
        """Whatever was never told, settled or not."""
        for intent in await self._decisions.untold_intents(self._chain, self._chain_id, self._signer):
            await self.expect(intent)

    async def expect(self, intent: Intent) -> None:
        """This one's attempt is to be told (again): it was mined, though nobody waits for it."""
        if intent.borrower is None or intent.attempt in self._waiting:
            return
        decision = await self._decisions.decision(self._chain, intent.attempt)
        self._waiting[intent.attempt] = _Waiting(intent.borrower, decision)

    def promised(self, may_be_mined: Sequence[Intent], awaited: Container[Hash32]) -> Promised:
        """What those of the open transactions that nobody awaits may still take. An attempt is promised whole; of those with
        one nonce and no other, at most one is mined."""
        others = [intent for intent in may_be_mined if intent.transaction_hash not in awaited]
        nonces: dict[str, set[int]] = {}
        for intent in others:
            nonces.setdefault(intent.attempt, set()).add(intent.nonce)
        rivals: dict[object, dict[tuple[Address, Address], int]] = {}
        for attempt, at in nonces.items():
            most_raw = rivals.setdefault(at.pop() if len(at) == 1 else attempt, {})
            for key, amount_raw in self._debts_raw(attempt).items():
                most_raw[key] = max(most_raw.get(key, 0), amount_raw)
        debts_raw: Counter[tuple[Address, Address]] = Counter()
        for most_raw in rivals.values():
            debts_raw.update(most_raw)
        by_nonce: dict[int, int] = {}
        for intent in others:
            by_nonce[intent.nonce] = max(by_nonce.get(intent.nonce, 0), _gas_wei(intent))
        return Promised(debts_raw, sum(by_nonce.values()))

    def _debts_raw(self, attempt: str) -> Mapping[tuple[Address, Address], int]:
        waiting = self._waiting.get(attempt)
        if waiting is None or waiting.decision is None or not self._read_back.follows(waiting.decision.market):
            return {}
        spender = self._read_back.spender(waiting.decision.market)
        return {(asset, spender): amount_raw for asset, amount_raw in waiting.decision.debts_raw.items()}

    async def outcomes(self, head: BlockRef) -> list[Outcome | Unread]:
        """Of those that are settled as of `head`, a few at a time."""
        found: list[Outcome | Unread] = []
        for attempt, waiting in list(self._waiting.items()):
            if len(found) == MOST_AT_ONCE:
                break
            told = await self._told(attempt, waiting, head)
            if told is not None:
                del self._waiting[attempt]
                self._tries.pop(attempt, None)
                found.append(told)
        return found

    async def _told(self, attempt: str, waiting: _Waiting, head: BlockRef) -> Outcome | Unread | None:
        """None while it is not settled, or could not be read this time."""
        sent = [
            intent
            for intent in await self._decisions.intents_of(self._chain_id, self._signer, attempt)
            if intent.status is not IntentStatus.REFUSED
        ]
        if any(intent.status in OPEN_STATUSES for intent in sent):
            return None
        decision = waiting.decision
        if decision is None or not self._read_back.follows(decision.market):
            why = "the journal does not hold its plan" if decision is None else "its market is not followed any more"
            return Unread(attempt, waiting.borrower, decision.market if decision is not None else None, why)
        try:
            receipts = await self._receipts([intent for intent in sent if intent.status in IN_A_BLOCK], head)
            if receipts is None:
                return None
            in_a_block = {intent.call_index for intent in sent if intent.transaction_hash in receipts}
            detail = "; ".join(
                f"call {intent.call_index + 1} {intent.status.value} at nonce {intent.nonce}"
                for intent in sent
                if intent.call_index not in in_a_block
            )
            return await self._read_back.outcome(decision, sent, receipts, detail)
        except ChainError as error:
            self._tries[attempt] += 1
            if self._tries[attempt] < MOST_TRIES:
                return None
            return Unread(attempt, waiting.borrower, decision.market, str(error))

    async def _receipts(self, mined: Sequence[Intent], head: BlockRef) -> Mapping[Hash32, Receipt] | None:
        """None while one of them is in no block up to `head`: a reorg took it back."""
        hashes = [intent.transaction_hash for intent in mined]
        asked = [("eth_getTransactionReceipt", [to_hex(each)]) for each in hashes]
        receipts: dict[Hash32, Receipt] = {}
        for transaction_hash, answer in zip(hashes, await all_answers(self._rpc, asked), strict=True):
            receipt = decode_receipt(answer) if answer is not None else None
            if receipt is None or receipt.block_number > head.number:
                return None
            receipts[transaction_hash] = receipt
        return receipts


def _gas_wei(intent: Intent) -> int:
    if intent.stake is not None:
        return intent.stake.gas_wei
    fields = decode_signed(intent.raw_transaction).fields
    return fields.gas_limit * fields.max_fee_wei
