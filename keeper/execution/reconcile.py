"""From receipts to an outcome: what was really repaid, seized, earned, and whether the borrower is restored.

Everything is read pinned to the inclusion blocks and the blocks before them, so the answer is the same whenever it is
asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keeper.core.block import BlockRef, Call
from keeper.core.lending import LiquidationEvent
from keeper.core.order import MinedCall, Order, Outcome, Submission
from keeper.core.units import Address, Hash32
from keeper.execution.markets import MarketHandle, Markets, market_of
from keeper.execution.past import PastBlocks
from keeper.execution.promise import keeps_promise
from keeper.execution.receipts import Receipt, mined_call
from keeper.execution.replay import Reading, Verification, verify_block
from keeper.execution.rpc import Rpc, World
from keeper.execution.valuing import LEFT_OUT, liquidations, realised_profit, valued_call


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Shared by every submitter whose transactions are mined somewhere."""

    rpc: Rpc
    world: World
    markets: Markets
    _past: PastBlocks = field(default_factory=PastBlocks)

    async def outcome(
        self,
        submission: Submission,
        receipts: Mapping[int, Receipt],
        detail: str = "",
        beside: Callable[[Hash32], Sequence[Address]] = lambda block_hash: (),
    ) -> Outcome:
        """`receipts` by call index; calls without one did not get into a block, and `detail` says why. `beside`: the
        borrowers of other attempts in a block, which are read with this one.

        Raises `ChainError` when something cannot be read; asking again is safe."""
        order = submission.order
        if not receipts:
            return not_mined(order, detail)
        handle = market_of(self.markets, order.plan.market)
        mined = [
            await mined_call(self.rpc, self._past, handle, index, order.calls[index], order.gas_limits[index], receipt)
            for index, receipt in sorted(receipts.items())
        ]
        events: list[LiquidationEvent] = []
        checks: list[Verification] = []
        readings: list[Reading[Any]] = []
        valued: list[MinedCall] = []
        for block in sorted({call.block for call in mined}, key=lambda block: block.number):
            own = [call for call in mined if call.block == block]
            reading = await self._reading(handle, order, block, beside(block.hash))
            by_call = [liquidations(handle, call, order.borrower) for call in own]
            reported = [event for found in by_call for event in found]
            valued += [
                valued_call(handle, reading.state, call, order.calls[call.call_index], order.borrower, order.shares)
                for call in own
            ]
            ran = [
                each
                for call, found in zip(own, by_call, strict=True)
                if call.succeeded and not _was_left_out(order, found)
                for each in order.offer.carried[call.call_index]
            ]
            hashes = frozenset(call.transaction_hash for call in own)
            checks.append(verify_block(handle.adapter, handle.market, reading, ran, reported, hashes, order.borrower))
            events.extend(reported)
            readings.append(reading)
        last = readings[-1]
        after_wad = last.health.health_factor_wad
        remarks = [f"call {call.call_index + 1} reverted: {call.revert}" for call in mined if call.revert is not None]
        if not remarks and _was_left_out(order, events):
            remarks = [LEFT_OUT]
        return Outcome(
            attempt=order.attempt,
            borrower=order.borrower,
            market=order.plan.market,
            mined=tuple(sorted(valued, key=lambda call: call.call_index)),
            liquidations=tuple(events),
            health_before_wad=order.plan.health_before.health_factor_wad,
            health_planned_wad=order.plan.health_after.health_factor_wad,
            target_wad=order.plan.target_wad,
            health_after_wad=after_wad,
            model_error_wad=_worst_error(checks),
            amounts_match=_all_match(checks),
            disturbed=any(check.disturbed for check in checks),
            restored=keeps_promise(order.plan, after_wad),
            profit=realised_profit(handle, last.state, events, receipts.values(), valued, order.attempt),
            detail="; ".join([part for part in (detail, *remarks) if part]),
        )

    async def _reading(
        self, handle: MarketHandle[Any, Any], order: Order, block: BlockRef, beside: Sequence[Address]
    ) -> Reading[Any]:
        adapter, market, borrower = handle.adapter, handle.market, order.borrower
        parent = await self._past.header(self.rpc, block.parent_hash)
        state = await self._past.state(self.world, adapter, market, block)
        parent_state = await self._past.state(self.world, adapter, market, parent)
        logs = await self._past.logs(self.world, adapter.log_filter(market), block)

        def row_of(account: Address) -> tuple[Call, ...]:
            return (*adapter.encode_position(market, account), adapter.encode_health(market, account))

        others = [row_of(account) for account in beside]
        *now, health = await self._past.results(self.world, row_of(borrower), block, others)
        *before, _ = await self._past.results(self.world, row_of(borrower), parent, others)
        return Reading(
            block=block,
            state=state,
            position=adapter.decode_position(market, borrower, now),
            health=adapter.decode_health(market, health),
            parent_state=parent_state,
            parent_position=adapter.decode_position(market, borrower, before),
            logs=logs,
        )


def _was_left_out(order: Order, found: Sequence[LiquidationEvent]) -> bool:
    """Of a transaction that did its work for others."""
    return bool(order.shares) and not found


def _worst_error(checks: Sequence[Verification]) -> int | None:
    errors = [check.model_error_wad for check in checks]
    known = [error for error in errors if error is not None]
    return max(known, key=abs) if len(known) == len(errors) else None


def _all_match(checks: Sequence[Verification]) -> bool | None:
    """False wherever one is; None where nothing was proven or something is unproven."""
    answers = [check.amounts_match for check in checks]
    if False in answers:
        return False
    if any(check.disturbed for check in checks) or True not in answers:
        return None
    return True


def not_mined(order: Order, detail: str) -> Outcome:
    """The outcome of an order of which nothing is in a block."""
    return Outcome(
        attempt=order.attempt,
        borrower=order.borrower,
        market=order.plan.market,
        mined=(),
        liquidations=(),
        health_before_wad=order.plan.health_before.health_factor_wad,
        health_planned_wad=order.plan.health_after.health_factor_wad,
        target_wad=order.plan.target_wad,
        health_after_wad=None,
        model_error_wad=None,
        amounts_match=None,
        disturbed=False,
        restored=False,
        profit=None,
        detail=detail,
    )
