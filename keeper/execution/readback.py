"""What came of an attempt whose plan is known from the journal alone: read back from the chain, without a replay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from keeper.core.decision import Decision
from keeper.core.intent import Intent
from keeper.core.lending import LiquidationEvent
from keeper.core.order import MinedCall, Outcome, Profit
from keeper.core.units import Address, Hash32
from keeper.execution.markets import Markets
from keeper.execution.past import PastBlocks
from keeper.execution.promise import is_kept
from keeper.execution.receipts import Receipt, mined_call
from keeper.execution.rpc import Rpc, World
from keeper.execution.signing.envelope import decode_signed
from keeper.execution.valuing import LEFT_OUT, liquidations, realised_profit, valued_call


class ReadBack:
    """Outcomes from decisions, signed bytes and receipts. Everything is read pinned to the inclusion blocks."""

    def __init__(self, rpc: Rpc, world: World, markets: Markets) -> None:
        self._rpc = rpc
        self._world = world
        self._markets = markets
        self._past = PastBlocks()

    def follows(self, market: Address) -> bool:
        """Whether this run knows the market; what came of an attempt on another one cannot be read."""
        return market in self._markets

    def spender(self, market: Address) -> Address:
        """Who pulls the debt asset in this market."""
        handle = self._markets[market]
        return handle.adapter.spender(handle.market)

    async def outcome(
        self, decision: Decision, sent: Sequence[Intent], receipts: Mapping[Hash32, Receipt], detail: str
    ) -> Outcome:
        """`receipts` of those that were mined, of a market that is followed. That the chain agrees with our arithmetic is left
        unsaid: the plan to replay is gone. Raises `ChainError` when something cannot be read; asking again is safe."""
        handle = self._markets[decision.market]
        intents = {each.transaction_hash: each for each in sent}
        signed = {each.transaction_hash: decode_signed(each.raw_transaction).fields for each in sent}
        mined = []
        for intent in sorted(sent, key=lambda intent: intent.call_index):
            if intent.transaction_hash in receipts:
                fields, receipt = signed[intent.transaction_hash], receipts[intent.transaction_hash]
                index, limit = intent.call_index, fields.gas_limit
                mined.append(await mined_call(self._rpc, self._past, handle, index, fields.call, limit, receipt))
        if not mined:
            return _outcome(decision, detail=detail)
        last = max((call.block for call in mined), key=lambda block: block.number)
        adapter, market = handle.adapter, handle.market
        state = await self._past.state(self._world, adapter, market, last)
        [health] = await self._past.results(self._world, (adapter.encode_health(market, decision.borrower),), last)
        valued: list[MinedCall] = []
        events: list[LiquidationEvent] = []
        for call in mined:
            state_then, intent = (
                await self._past.state(self._world, adapter, market, call.block),
                intents[call.transaction_hash],
            )
            body = signed[call.transaction_hash].call
            valued.append(valued_call(handle, state_then, call, body, decision.borrower, intent.shares))
            events += liquidations(handle, call, decision.borrower)
        remarks = [f"call {call.call_index + 1} reverted: {call.revert}" for call in mined if call.revert is not None]
        if not remarks and not events and any(call.shares for call in valued):
            remarks = [LEFT_OUT]
        return _outcome(
            decision,
            mined=valued,
            events=events,
            health_after_wad=adapter.decode_health(market, health).health_factor_wad,
            profit=realised_profit(handle, state, events, receipts.values(), valued, decision.attempt),
            detail="; ".join(part for part in (detail, *remarks) if part),
        )


def _outcome(
    decision: Decision,
    *,
    mined: Sequence[MinedCall] = (),
    events: Sequence[LiquidationEvent] = (),
    health_after_wad: int | None = None,
    profit: Profit | None = None,
    detail: str,
) -> Outcome:
    return Outcome(
        attempt=decision.attempt,
        borrower=decision.borrower,
        market=decision.market,
        mined=tuple(mined),
        liquidations=tuple(events),
        health_before_wad=decision.health_before_wad,
        health_planned_wad=decision.health_planned_wad,
        target_wad=decision.target_wad,
        health_after_wad=health_after_wad,
        model_error_wad=None,
        amounts_match=None,
        disturbed=False,
        restored=health_after_wad is not None
        and is_kept(decision.verdict, decision.target_wad, decision.health_before_wad, health_after_wad),
        profit=profit,
        detail=detail,
    )
