"""Bounded standing allowances, set off the hot path: the pools may pull no more than what was agreed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from keeper.core.block import BlockRef
from keeper.core.errors import Refused, RpcFailure
from keeper.core.hexdata import decode_quantity
from keeper.core.intent import IntentStatus
from keeper.core.ledger import Purpose
from keeper.core.order import Answer, FeeQuote
from keeper.core.standing import Funds
from keeper.core.units import Address, to_hex
from keeper.execution.funding import LiveFunding, Spending
from keeper.execution.rpc import Rpc
from keeper.execution.sender import Sender, Sending
from keeper.execution.tokens import approve
from keeper.execution.wire import pinned

ATTEMPT = "allowance"
"""The name under which these transactions are journaled."""

TRIES = 3
LONGEST_WAIT_S = 180.0
"""For approvals at the start: one that stays pending must not keep the keeper from looking on."""


Told = Callable[[Refused], Awaitable[None]]
"""Hears of each asset whose allowance cannot be set: a paused token must not keep the others from theirs."""


Tidy = Callable[[BlockRef], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class AllowanceSet:
    """One allowance that was raised."""

    asset: Address
    spender: Address
    bound_raw: int


def bounds_to_set(
    funds: Mapping[Spending, Funds], configured_raw: Mapping[Address, int]
) -> Mapping[Spending, tuple[int, int]]:
    """(current, wanted) for each allowance that is below its bound: the configured one, else the whole balance. Assets
    without a balance need none."""
    wanted: dict[Spending, tuple[int, int]] = {}
    for (asset, spender), fund in funds.items():
        if not fund.balance_raw or fund.allowance_raw is None:
            continue
        bound_raw = configured_raw.get(asset, fund.balance_raw)
        if fund.allowance_raw < bound_raw:
            wanted[asset, spender] = (fund.allowance_raw, bound_raw)
    return wanted


@dataclass(frozen=True, slots=True)
class Allowances:
    """Raises allowances through the same sender as everything else. At start, before the first order."""

    rpc: Rpc
    sender: Sender
    funding: LiveFunding
    told: Told
    tidy: Tidy | None = None
    """Replaces what waits too long and fills holes, while `ensure` waits for what is open."""

    async def ensure(
        self,
        debts: Sequence[Spending],
        configured_raw: Mapping[Address, int],
        fees: FeeQuote,
        heads: AsyncIterator[BlockRef],
        head: BlockRef,
    ) -> Sequence[AllowanceSet]:
        """Sends all approvals at once and returns when every allowance stands at the head, or after `LONGEST_WAIT_S`. `heads`
        gives the heads to wait on. An approval that a reorg took back, or that failed, is sent again, `TRIES` times in all.
        What the node or a token refuses is told, and what has to wait."""
        wanted = bounds_to_set(await self.funding.spendable(debts, head), configured_raw)
        first = dict(wanted)
        tries: Counter[Spending] = Counter()
        given_up: set[Spending] = set()
        try:
            async with asyncio.timeout(LONGEST_WAIT_S):
                while missing := {key: bounds for key, bounds in wanted.items() if key not in given_up}:
                    if not self._waiting():
                        given_up |= await self._send_again(missing, tries, fees, head)
                    head = await anext(heads)
                    await self._close(head)
                    wanted = bounds_to_set(await self.funding.spendable(debts, head), configured_raw)
        except TimeoutError:
            left = len(wanted.keys() - given_up)
            await self.told(
                Refused(
                    f"{len(first) - left} of {len(first)} allowances are set after {LONGEST_WAIT_S:g} s: {left} must wait"
                )
            )
        return [AllowanceSet(*key, bound_raw) for key, (_, bound_raw) in first.items() if key not in wanted]

    def _waiting(self) -> bool:
        """Whether something of the signer may still be mined as things are. Nothing is above a lost one: the next one takes its
        nonce."""
        may_be_mined = self.sender.following.may_be_mined
        lowest = min((intent.nonce for intent in may_be_mined), default=None)
        return any(intent.nonce == lowest and intent.status is not IntentStatus.LOST for intent in may_be_mined)

    async def _close(self, head: BlockRef) -> None:
        for followed in await self.sender.following.follow_open(head):
            if not followed.open:
                self.sender.following.forget(followed.intent.transaction_hash)
        if self.tidy is not None:
            await self.tidy(head)

    async def _send_again(
        self, missing: Mapping[Spending, tuple[int, int]], tries: Counter[Spending], fees: FeeQuote, head: BlockRef
    ) -> set[Spending]:
        """Returns those that are given up."""
        given_up: set[Spending] = set()
        for key, (current_raw, bound_raw) in missing.items():
            tries[key] += 1
            try:
                if tries[key] > TRIES:
                    raise Refused(f"allowance of {to_hex(key[0])}: {TRIES} approvals came to nothing")
                if not await self._raise_to(key, current_raw, bound_raw, fees, head):
                    break  # nothing is sent above a nonce that is undecided
            except Refused as refused:
                given_up.add(key)
                await self.told(refused)
        return given_up

    async def _raise_to(self, key: Spending, current_raw: int, bound_raw: int, fees: FeeQuote, head: BlockRef) -> bool:
        """Whether the node took it; raises `Refused` when it or the token does not. Some tokens refuse to change an allowance
        that is not 0."""
        if current_raw and not await self._accepts(*key, bound_raw, head) and not await self._send(*key, 0, fees, head):
            return False
        return await self._send(*key, bound_raw, fees, head)

    async def replenish(
        self,
        debts: Sequence[Spending],
        configured_raw: Mapping[Address, int],
        fees: FeeQuote,
        head: BlockRef,
    ) -> Sequence[AllowanceSet]:
        """Send approvals for allowances that fell below half of their bound, without waiting for them. To be called while
        nothing of the signer is open. What the node or a token refuses is told."""
        wanted = bounds_to_set(await self.funding.spendable(debts, head), configured_raw)
        sent = []
        for (asset, spender), (current_raw, bound_raw) in wanted.items():
            if current_raw * 2 >= bound_raw:
                continue
            try:
                await self._raise_to((asset, spender), current_raw, bound_raw, fees, head)
            except Refused as refused:
                await self.told(refused)
                continue
            sent.append(AllowanceSet(asset, spender, bound_raw))
        return sent

    async def _accepts(self, asset: Address, spender: Address, bound_raw: int, head: BlockRef) -> bool:
        try:
            await self.rpc.request("eth_call", [self._request(asset, spender, bound_raw), pinned(head)])
        except RpcFailure:
            return False
        return True

    async def _send(self, asset: Address, spender: Address, amount_raw: int, fees: FeeQuote, head: BlockRef) -> bool:
        """Whether the node took it; False when its answer does not tell. Raises `Refused` when it or the token does not."""
        try:
            estimate = await self.rpc.request("eth_estimateGas", [self._request(asset, spender, amount_raw)])
        except RpcFailure as failure:
            raise Refused(f"allowance of {to_hex(asset)}: {failure}") from None
        gas = decode_quantity(estimate, "the gas of an approval")
        call = approve(asset, spender, amount_raw)
        sent = await self.sender.send(Sending(call, gas + gas // 4, fees, ATTEMPT, None, 0, Purpose.ALLOWANCE), head)
        if sent.answer is Answer.REFUSED or sent.transaction_hash is None:
            raise Refused(f"allowance of {to_hex(asset)}: {sent.detail}")
        return sent.answer is Answer.ACCEPTED

    def _request(self, asset: Address, spender: Address, amount_raw: int) -> dict[str, str]:
        call = approve(asset, spender, amount_raw)
        return {"from": to_hex(self.sender.address), "to": to_hex(asset), "input": to_hex(call.calldata)}
