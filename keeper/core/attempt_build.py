"""The journal's events of one attempt, from decided to restored. Field names are a contract: docs/JOURNAL.md."""

from __future__ import annotations

from collections.abc import Mapping

from keeper.core.event_build import block_fields
from keeper.core.events import Event, Field, Kind, Severity
from keeper.core.lending import LiquidationEvent
from keeper.core.order import FeeQuote, MinedCall, Outcome, SentTransaction, Submission
from keeper.core.plan import Plan, PlannedCall
from keeper.core.units import Address, Hash32, to_hex


def decided(chain: str, attempt: str, plan: Plan, prices_base: Mapping[Address, int | None]) -> Event:
    """The plan, with what each call does at the latest timestamp of its window, and the prices of the borrower's assets that
    it was decided on: should the nodes have lied, it can be told from the journal what was believed."""
    return Event(
        Kind.DECIDED,
        chain,
        plan.block.number,
        plan.market,
        plan.borrower,
        attempt,
        fields={
            **block_fields(plan.block),
            "verdict": plan.verdict.value,
            "target_wad": plan.target_wad,
            "health_before_wad": plan.health_before.health_factor_wad,
            "health_planned_wad": plan.health_after.health_factor_wad,
            "collateral_base": plan.health_before.collateral_base,
            "debt_base": plan.health_before.debt_base,
            "liquidation_threshold_bps": plan.health_before.liquidation_threshold_bps,
            "window_earliest_s": plan.window.earliest_s,
            "window_latest_s": plan.window.latest_s,
            "prices": [{"asset": to_hex(asset), "price_base": price_base} for asset, price_base in prices_base.items()],
            "calls": [_planned_call(index, call) for index, call in enumerate(plan.calls)],
        },
    )


def sent(chain: str, submission: Submission) -> Event:
    """Handed to a submitter. In mode `dry` nothing left: hashes and nonces are None."""
    order, fees, profit = submission.order, submission.order.offer.fees, submission.order.offer.profit
    return Event(
        Kind.SENT,
        chain,
        submission.submitted_block,
        order.plan.market,
        order.borrower,
        order.attempt,
        fields={
            "mode": submission.mode,
            "chain_id": order.chain_id,
            "signer": to_hex(order.signer),
            "base_fee_wei": fees.base_fee_wei,
            "priority_fee_wei": fees.priority_fee_wei,
            "max_fee_wei": fees.max_fee_wei,
            "expected_received_base": profit.received_base,
            "expected_repaid_base": profit.repaid_base,
            "expected_gas_base": profit.gas_base,
            "expected_premium_base": profit.premium_base,
            "expected_slippage_base": profit.slippage_base,
            "expected_net_base": profit.net_base,
            "health_simulated_wad": submission.simulation.health_factor_after_wad,
            "calls": [_sent_call(submission, transaction) for transaction in submission.transactions],
        },
    )


def replaced(
    chain: str,
    block_number: int,
    borrower: Address | None,
    attempt: str | None,
    *,
    signer: Address,
    nonce: int,
    remedy: str,
    why: str,
    replaced_hash: Hash32 | None,
    transaction_hash: Hash32 | None,
    fees: FeeQuote | None,
    answer: str,
    detail: str,
) -> Event:
    """What was done about a nonce. `fees` is None for the same bytes once more, `replaced_hash` where nothing of ours was."""
    return Event(
        Kind.REPLACED,
        chain,
        block_number,
        borrower=borrower,
        attempt=attempt,
        severity=Severity.WARNING,
        fields={
            "signer": to_hex(signer),
            "nonce": nonce,
            "remedy": remedy,
            "why": why,
            "replaced_hash": to_hex(replaced_hash) if replaced_hash is not None else None,
            "transaction_hash": to_hex(transaction_hash) if transaction_hash is not None else None,
            "max_fee_wei": fees.max_fee_wei if fees is not None else None,
            "priority_fee_wei": fees.priority_fee_wei if fees is not None else None,
            "answer": answer,
            "detail": detail,
        },
    )


def outcome_events(chain: str, outcome: Outcome) -> list[Event]:
    """One `mined` or `reverted` per transaction, then `restored` or `not_restored`, then an `alert` when the chain
    disagrees with our arithmetic."""
    events = [_mined(chain, outcome, call) for call in outcome.mined]
    events.append(_measured(chain, outcome))
    if outcome.model_error_wad or outcome.amounts_match is False:
        events.append(_disagreement(chain, outcome))
    return events


def _mined(chain: str, outcome: Outcome, call: MinedCall) -> Event:
    fields: dict[str, Field] = {
        **block_fields(call.block),
        "call_index": call.call_index,
        "transaction_hash": to_hex(call.transaction_hash),
        "gas_used": call.gas_used,
        "effective_gas_price_wei": call.effective_gas_price_wei,
        "shared_by": max(1, len(call.shares)),
    }
    if not call.succeeded:
        fields["revert"] = call.revert
    return Event(
        Kind.MINED if call.succeeded else Kind.REVERTED,
        chain,
        call.block.number,
        outcome.market,
        outcome.borrower,
        outcome.attempt,
        Severity.NORMAL if call.succeeded else Severity.WARNING,
        fields,
    )


def _measured(chain: str, outcome: Outcome) -> Event:
    after, profit = outcome.health_after_wad, outcome.profit
    return Event(
        Kind.RESTORED if outcome.restored else Kind.NOT_RESTORED,
        chain,
        _last_block(outcome),
        outcome.market,
        outcome.borrower,
        outcome.attempt,
        Severity.NORMAL if outcome.restored else Severity.ALERT,
        {
            "health_before_wad": outcome.health_before_wad,
            "health_planned_wad": outcome.health_planned_wad,
            "health_after_wad": after,
            "target_wad": outcome.target_wad,
            "overshoot_wad": after - outcome.target_wad if after is not None else None,
            "model_error_wad": outcome.model_error_wad,
            "amounts_match": outcome.amounts_match,
            "disturbed": outcome.disturbed,
            "received_base": profit.received_base if profit is not None else None,
            "repaid_base": profit.repaid_base if profit is not None else None,
            "gas_base": profit.gas_base if profit is not None else None,
            "premium_base": profit.premium_base if profit is not None else None,
            "slippage_base": profit.slippage_base if profit is not None else None,
            "net_base": profit.net_base if profit is not None else None,
            "liquidations": [_liquidation(event) for event in outcome.liquidations],
            "detail": outcome.detail,
        },
    )


def _disagreement(chain: str, outcome: Outcome) -> Event:
    return Event(
        Kind.ALERT,
        chain,
        _last_block(outcome),
        outcome.market,
        outcome.borrower,
        outcome.attempt,
        Severity.ALERT,
        {
            "key": "model_error",
            "detail": "the chain disagrees with our arithmetic:"
            f" health differs by {outcome.model_error_wad} wad, amounts match: {outcome.amounts_match}",
        },
    )


# -- parts ---------------------------------------------------------------------------------------------------------
def _planned_call(index: int, call: PlannedCall) -> Field:
    quote = call.at_latest
    return {
        "call_index": index,
        "collateral_asset": to_hex(call.pair.collateral_asset),
        "debt_asset": to_hex(call.pair.debt_asset),
        "bonus_bps": call.pair.bonus_bps,
        "debt_to_cover_raw": call.debt_to_cover_raw,
        "clip": call.clip.value if call.clip is not None else None,
        "repaid_raw": quote.repaid_raw,
        "seized_raw": quote.seized_raw,
        "protocol_fee_raw": quote.protocol_fee_raw,
        "received_raw": quote.received_raw,
        "repaid_base": quote.repaid_base,
        "seized_base": quote.seized_base,
        "received_base": quote.received_base,
        "bad_debt_base": quote.bad_debt_base,
        "health_after_wad": quote.health_after.health_factor_wad,
    }


def _sent_call(submission: Submission, transaction: SentTransaction) -> Field:
    index, transaction_hash = transaction.call_index, transaction.transaction_hash
    carried = submission.order.offer.carried[index]
    return {
        "call_index": index,
        "answer": transaction.answer.value,
        "detail": transaction.detail,
        "transaction_hash": to_hex(transaction_hash) if transaction_hash is not None else None,
        "nonce": transaction.nonce,
        "gas_limit": submission.order.gas_limits[index],
        "collateral_asset": to_hex(carried[0].pair.collateral_asset),
        "debt_asset": to_hex(carried[0].pair.debt_asset),
        "debt_to_cover_raw": sum(call.debt_to_cover_raw for call in carried),
        "liquidations": len(carried),
        "shared_by": max(1, len(submission.order.shares)),
    }


def _liquidation(event: LiquidationEvent) -> Field:
    return {
        "collateral_asset": to_hex(event.collateral_asset),
        "debt_asset": to_hex(event.debt_asset),
        "repaid_raw": event.repaid_raw,
        "received_raw": event.received_raw,
        "liquidator": to_hex(event.liquidator),
        "log_index": event.log_index,
    }


def _last_block(outcome: Outcome) -> int | None:
    return outcome.mined[-1].block.number if outcome.mined else None
