"""Bounded standing allowances, set off the hot path: the pools may pull no more than what was agreed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from keeper.core.block import BlockRef
from keeper.core.errors import OutcomeUnknown, Refused, RpcFailure
from keeper.core.hexdata import decode_quantity
from keeper.core.intent import IntentStatus
from keeper.core.order import Answer, FeeQuote
from keeper.core.standing import Funds
from keeper.core.units import Address, Hash32, to_hex
from keeper.execution.funding import LiveFunding, Spending
from keeper.execution.rpc import Rpc
from keeper.execution.sender import Sender, Sending
from keeper.execution.tokens import approve
from keeper.execution.wire import pinned

ATTEMPT = "allowance"
"""The name under which these transactions are journaled."""

LONGEST_WAIT_S = 180.0
"""For approvals at the start: one that stays pending must not keep the keeper from looking on."""


Told = Callable[[Refused], Awaitable[None]]
"""Hears of each asset whose allowance cannot be set: a paused token must not keep the others from theirs."""


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

    async def ensure(
        self,
        debts: Sequence[Spending],
        configured_raw: Mapping[Address, int],
        fees: FeeQuote,
        heads: AsyncIterator[BlockRef],
        head: BlockRef,
    ) -> Sequence[AllowanceSet]:
        """Returns when every approval is mined, or after `LONGEST_WAIT_S`. `heads` gives the heads to wait on. What the node or
        a token refuses is told, and what stays pending.

        Raises `OutcomeUnknown` when one is lost or dropped."""
        wanted = bounds_to_set(await self.funding.spendable(debts, head), configured_raw)
        done: list[AllowanceSet] = []
        try:
            async with asyncio.timeout(LONGEST_WAIT_S):
                await self._set_all(wanted, fees, heads, head, done)
        except TimeoutError:
            await self.told(
                Refused(
                    f"{len(done)} of {len(wanted)} allowances are set after {LONGEST_WAIT_S:g} s: the others must wait"
                )
            )
        return done

    async def _set_all(
        self,
        wanted: Mapping[Spending, tuple[int, int]],
        fees: FeeQuote,
        heads: AsyncIterator[BlockRef],
        head: BlockRef,
        done: list[AllowanceSet],
    ) -> None:
        for (asset, spender), (current_raw, bound_raw) in wanted.items():
            try:
                if current_raw and not await self._accepts(asset, spender, bound_raw, head):
                    # Some tokens refuse to change an allowance that is not 0.
                    head = await self._approve(asset, spender, 0, fees, heads, head)
                head = await self._approve(asset, spender, bound_raw, fees, heads, head)
            except Refused as refused:
                await self.told(refused)
                continue
            done.append(AllowanceSet(asset, spender, bound_raw))

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
                if current_raw and not await self._accepts(asset, spender, bound_raw, head):
                    await self._send(asset, spender, 0, fees, head)
                await self._send(asset, spender, bound_raw, fees, head)
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

    async def _approve(
        self,
        asset: Address,
        spender: Address,
        amount_raw: int,
        fees: FeeQuote,
        heads: AsyncIterator[BlockRef],
        head: BlockRef,
    ) -> BlockRef:
        sent = await self._send(asset, spender, amount_raw, fees, head)
        while True:
            followed = await self.sender.following.follow(sent, head)
            if followed.intent.status is IntentStatus.MINED:
                self.sender.following.forget(sent)
                return await self._head_with(followed.receipt.block_number if followed.receipt else 0, heads, head)
            if followed.intent.status is IntentStatus.REVERTED:
                raise Refused(f"allowance of {to_hex(asset)}: the approval reverted")
            if followed.intent.status in (IntentStatus.LOST, IntentStatus.DROPPED):
                raise OutcomeUnknown(f"allowance of {to_hex(asset)}: the approval is {followed.intent.status.value}")
            head = await anext(heads)

    async def _send(self, asset: Address, spender: Address, amount_raw: int, fees: FeeQuote, head: BlockRef) -> Hash32:
        """Raises `Refused` when the node or the token takes none of it."""
        try:
            estimate = await self.rpc.request("eth_estimateGas", [self._request(asset, spender, amount_raw)])
        except RpcFailure as failure:
            raise Refused(f"allowance of {to_hex(asset)}: {failure}") from None
        gas = decode_quantity(estimate, "the gas of an approval")
        call = approve(asset, spender, amount_raw)
        sent = await self.sender.send(Sending(call, gas + gas // 4, fees, ATTEMPT, None, 0), head)
        if sent.answer is Answer.REFUSED or sent.transaction_hash is None:
            raise Refused(f"allowance of {to_hex(asset)}: {sent.detail}")
        return sent.transaction_hash

    async def _head_with(self, block_number: int, heads: AsyncIterator[BlockRef], head: BlockRef) -> BlockRef:
        """The first head that contains the block: reads pinned before it would not see the allowance."""
        while head.number < block_number:
            head = await anext(heads)
        return head

    def _request(self, asset: Address, spender: Address, amount_raw: int) -> dict[str, str]:
        call = approve(asset, spender, amount_raw)
        return {"from": to_hex(self.sender.address), "to": to_hex(asset), "input": to_hex(call.calldata)}
