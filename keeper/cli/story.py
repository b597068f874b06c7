"""Recorded events to sentences. Pure: rows of the store in, text out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from keeper.cli.details import detail_text
from keeper.cli.labels import Fields, Labels
from keeper.cli.render import (
    checksum,
    fixed_text,
    gwei_text,
    health_text,
    plain_text,
    signed_wad_text,
)
from keeper.cli.words import CLIPS, reason_sentence, verdict_words
from keeper.core.events import Kind
from keeper.core.plan import Clip
from keeper.core.units import HEALTH_ONE_WAD, NO_DEBT_HEALTH_WAD


def sentences(kind: str, fields: Fields, market: str | None, labels: Labels) -> list[str]:
    """The first sentence tells the event; the others its particulars.

    What another version of the keeper recorded, with a kind, field or verdict that we do not know, is shown as it is.
    """
    tell = _TELLERS.get(kind)
    if tell is not None:
        try:
            return tell(fields, market, labels)
        except (KeyError, ValueError):
            pass
    return [f"{kind}: {plain_text(json.dumps(dict(fields)))}"]


def _seen(fields: Fields, market: str | None, labels: Labels) -> list[str]:
    if fields["health_factor_wad"] is None:
        return ["Its health is not known: a price is missing."]
    health_wad = fields["health_factor_wad"]
    if int(health_wad) >= HEALTH_ONE_WAD:
        return [f"Seen to fall below 1 by the next block: health {_health(health_wad)} now."]
    return [f"Seen below 1: health {_health(health_wad)}."]


def _refused(fields: Fields, market: str | None, labels: Labels) -> list[str]:
    detail = f" ({detail_text(fields['detail'], market, labels)})" if fields["detail"] else ""
    health = _health(fields["health_factor_wad"])
    return [f"Not liquidated, {fields['reason']}{detail}: {reason_sentence(fields['reason'])} Health {health}."]


def _recovered(fields: Fields, market: str | None, labels: Labels) -> list[str]:
    return [
        f"Back at 1 or above without our doing; its last health below 1 was {_health(fields['last_health_factor_wad'])}."
    ]


def _decided(fields: Fields, market: str | None, labels: Labels) -> list[str]:
    calls = fields["calls"]
    count = "one call" if len(calls) == 1 else f"{len(calls)} calls"
    first = (
        f"Decided on {count}: health {_health(fields['health_before_wad'])} → {_health(fields['health_planned_wad'])}"
        f" planned, target {_health(fields['target_wad'])}; {verdict_words(fields['verdict'])}."
    )
    position = (
        f"It had collateral of {labels.base(fields['collateral_base'], market)} and debt of"
        f" {labels.base(fields['debt_base'], market)}."
    )
    return [first, position, *(_planned_call(call, labels) for call in calls)]


def _planned_call(call: Fields, labels: Labels) -> str:
    repaid = labels.token(call["repaid_raw"], call["debt_asset"])
    seized = labels.token(call["seized_raw"], call["collateral_asset"])
    size = CLIPS[Clip(call["clip"])] if call["clip"] is not None else "the least that is enough"
    asked = ""
    if call["debt_to_cover_raw"] != call["repaid_raw"]:
        asked = f" (asking for {labels.token(call['debt_to_cover_raw'], call['debt_asset'])})"
    return (
        f"Call {call['call_index'] + 1}: repay {repaid}{asked} and seize {seized}, bonus"
        f" {fixed_text(call['bonus_bps'] - 10_000, 2, 2)} %; size: {size}."
    )


_SENT = {
    "dry": "Dry run, nothing was sent: {count} would have gone",
    "fork": "Sent {count} on the local fork",
    "live": "Sent {count}",
}


def _sent(fields: Fields, market: str | None, labels: Labels) -> list[str]:
    calls, mode = fields["calls"], fields["mode"]
    count = "1 transaction" if len(calls) == 1 else f"{len(calls)} transactions"
    profit = labels.base(fields["expected_net_base"], market)
    expected = f"expected profit {profit} after {labels.base(fields['expected_gas_base'], market)} for gas"
    simulated = f"tried out on the node: health {_health(fields['health_simulated_wad'])}"
    tried = any(call["answer"] != "not_sent" for call in calls)
    return [
        f"{_SENT[mode].format(count=count)}, {expected}; {simulated}.",
        *(_sent_call(call, fields.get("signer")) for call in calls if tried),
    ]


def _sent_call(call: Fields, signer: str | None) -> str:
    """`signer` is None where an older keeper sent it."""
    detail = f" ({plain_text(call['detail'])})" if call["detail"] else ""
    where = f" as {call['transaction_hash']}" if call["transaction_hash"] is not None else ""
    whose = f" of {checksum(signer)}" if signer is not None else ""
    nonce = f", nonce {call['nonce']}{whose}" if call["nonce"] is not None else ""
    return f"Call {call['call_index'] + 1}: {call['answer'].replace('_', ' ')}{where}{nonce}{detail}."


_REMEDIES = {
    "cancel": "cancelled",
    "speed_up": "sent again with a higher fee",
    "resend": "sent again as it was",
}


def _replaced(fields: Fields, market: str | None, labels: Labels) -> list[str]:
    done = _REMEDIES.get(fields["remedy"], fields["remedy"])
    fee = "" if fields["max_fee_wei"] is None else f", at most {gwei_text(int(fields['max_fee_wei']))} per gas"
    answer = "" if fields["answer"] == "accepted" else f"; {fields['answer'].replace('_', ' ')}"
    detail = f" ({plain_text(fields['detail'])})" if fields["detail"] else ""
    whose = f" of {checksum(fields['signer'])}" if fields.get("signer") is not None else ""
    return [f"Nonce {fields['nonce']}{whose} is {done}{fee}: {fields['why']}{answer}{detail}."]


def _mined(fields: Fields, market: str | None, labels: Labels) -> list[str]:
    return [f"Call {fields['call_index'] + 1} was mined: {_gas(fields)}.", _transaction(fields)]


def _reverted(fields: Fields, market: str | None, labels: Labels) -> list[str]:
    why = plain_text(fields["revert"]) if fields["revert"] else "the node gave no reason"
    return [f"Call {fields['call_index'] + 1} reverted: {why}; {_gas(fields)}.", _transaction(fields)]


def _transaction(fields: Fields) -> str:
    return f"Transaction {fields['transaction_hash']}."


def _gas(fields: Fields) -> str:
    shared_by = fields.get("shared_by", 1)
    together = f", for {shared_by} borrowers together" if shared_by > 1 else ""
    return f"{fields['gas_used']:,} gas at {gwei_text(int(fields['effective_gas_price_wei']))}{together}"


def _restored(fields: Fields, market: str | None, labels: Labels) -> list[str]:
    overshoot_wad = fields["overshoot_wad"]
    reached = overshoot_wad is None or int(overshoot_wad) >= 0
    return [
        ("Restored. " if reached else "Improved as far as the rules allow. ") + _measured(fields),
        *_accounts(fields, market, labels),
    ]


def _not_restored(fields: Fields, market: str | None, labels: Labels) -> list[str]:
    return ["Not restored. " + _measured(fields), *_accounts(fields, market, labels)]


def _measured(fields: Fields) -> str:
    before, planned = _health(fields["health_before_wad"]), _health(fields["health_planned_wad"])
    target = _health(fields["target_wad"])
    if fields["health_after_wad"] is None:
        return f"Nothing was mined, so nothing could be read back; health was {before}, {planned} planned."
    if int(fields["health_after_wad"]) == NO_DEBT_HEALTH_WAD:
        return f"Health {before} before → {planned} planned → no debt left (target {target})."
    overshoot_wad = int(fields["overshoot_wad"])
    beyond = f"{signed_wad_text(overshoot_wad)} beyond it"
    short = f"{signed_wad_text(-overshoot_wad).removeprefix('+')} short of it"
    return (
        f"Health {before} before → {planned} planned → {_health(fields['health_after_wad'])} read back"
        f" (target {target}, {short if overshoot_wad < 0 else beyond})."
    )


def _accounts(fields: Fields, market: str | None, labels: Labels) -> list[str]:
    lines = [
        f"Repaid {labels.token(event['repaid_raw'], event['debt_asset'])},"
        f" received {labels.token(event['received_raw'], event['collateral_asset'])}."
        for event in fields["liquidations"]
    ]
    if fields["net_base"] is not None:
        received, repaid, gas, net = (
            labels.base(fields[name], market) for name in ("received_base", "repaid_base", "gas_base", "net_base")
        )
        lines.append(f"Profit {net}: received {received}, repaid {repaid}, gas {gas}.")
    if fields["model_error_wad"] is not None:
        error = int(fields["model_error_wad"])
        exact = "Our arithmetic gives the chain's health to the wei."
        lines.append(exact if error == 0 else f"The chain's health differs from our arithmetic by {error:+,} wad.")
    if fields["disturbed"]:
        lines.append("Something else touched this borrower in the same block.")
    if fields["detail"]:
        lines.append(detail_text(fields["detail"], market, labels) + ".")
    return lines


def _market_verified(fields: Fields, market: str | None, labels: Labels) -> list[str]:
    return [
        f"Verified {fields['protocol']} {plain_text(fields['revision'])}: {fields['checked_borrowers']} borrowers"
        " recomputed to the wei."
    ]


def _started(fields: Fields, market: str | None, labels: Labels) -> list[str]:
    return [f"Started, keeper {fields['version']}, mode {fields['mode']}, chain id {fields['chain_id']}."]


def _reorg(fields: Fields, market: str | None, labels: Labels) -> list[str]:
    ancestor = fields["ancestor_block_number"]
    cure = "the book is rebuilt" if ancestor is None else f"unwound to block {ancestor}"
    return [f"Block {fields['old_block_number']} is no longer on the chain: {cure}."]


def _mismatch(fields: Fields, market: str | None, labels: Labels) -> list[str]:
    where = "" if fields["reserve_id"] is None else f" in reserve {fields['reserve_id']}"
    return [
        f"The chain differs: {fields['what']}{where} is {fields['ours']} here, {fields['chains']} there;"
        f" {fields['repair']}, nothing is liquidated until the market is verified again."
    ]


def _paused(fields: Fields, market: str | None, labels: Labels) -> list[str]:
    whom = "everybody" if fields["chain_id"] is None else "this chain" if fields["signer"] is None else "this signer"
    return [f"Paused, {fields['cause']}: {plain_text(fields['detail'])}. It holds {whom} until it is lifted."]


def _detail(start: str) -> Callable[[Fields, str | None, Labels], list[str]]:
    return lambda fields, market, labels: [f"{start}: {detail_text(fields['detail'], market, labels)}"]


_TELLERS: Mapping[str, Callable[[Fields, str | None, Labels], list[str]]] = {
    Kind.STARTED: _started,
    Kind.STOPPED: _detail("Stopped"),
    Kind.ENDPOINT: lambda fields, market, labels: [
        f"Endpoint {fields['endpoint']}: {plain_text(fields['detail']) or 'does all that is wanted'}."
    ],
    Kind.CAUGHT_UP: lambda fields, market, labels: [f"Caught up: {fields['borrowers']} borrowers with debt."],
    Kind.REORG: _reorg,
    Kind.MARKET_VERIFIED: _market_verified,
    Kind.MARKET_REFUSED: _detail("Market refused"),
    Kind.MARKET_CHANGED: lambda fields, market, labels: [f"The market changed ({plain_text(fields['event'])})."],
    Kind.MISMATCH: _mismatch,
    Kind.SEEN: _seen,
    Kind.DECIDED: _decided,
    Kind.REFUSED: _refused,
    Kind.SENT: _sent,
    Kind.REPLACED: _replaced,
    Kind.MINED: _mined,
    Kind.REVERTED: _reverted,
    Kind.RESTORED: _restored,
    Kind.NOT_RESTORED: _not_restored,
    Kind.PAUSED: _paused,
    Kind.RESUMED: _detail("Goes on; lifted was"),
    Kind.RECOVERED: _recovered,
    Kind.ALERT: _detail("Alert"),
    Kind.TROUBLE: lambda fields, market, labels: [f"{fields['error']}: {plain_text(fields['detail'])}"],
}


def _health(health_wad: str | None) -> str:
    return health_text(int(health_wad) if health_wad is not None else None)
