"""What a mined transaction cost and moved is written with its status and names its block; and a pause lets nothing by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from keeper.core.block import Call
from keeper.core.errors import BlockUnavailable, Paused, Refused
from keeper.core.intent import Intent, IntentStatus
from keeper.core.ledger import TRANSFER_TOPIC, Movement, Purpose, Stake
from keeper.core.pauses import BY_PERSON, EVERYBODY, KILL_FILE, Pause
from keeper.core.rails import Limit, Limits
from keeper.core.units import Address, Hash32, to_hex
from keeper.execution.sender import Sender, Sending
from keeper.pipeline.gate import GatedIntents
from keeper.pipeline.rails import Rails, SharedPurse
from tests.toy_ports import Faults
from tests.toy_records import MemoryJournal, MemoryLedger, MemoryPauses
from tests.unit.execution.fakes import (
    CHAIN_ID,
    FEES,
    TOKEN,
    MemoryIntents,
    MemoryNode,
    head,
    sender_on,
    sending,
    signer,
    started_on,
)

US = signer().address
BESIDE = Hash32(b"\x01" + (3).to_bytes(31, "big"))
"""Another block of number 3."""


async def mined_in_3(node: MemoryNode, store: MemoryIntents) -> Sender:
    sender = await started_on(node, store)
    sent = await sender.send(sending(), head(2))
    node.mine(0, 3)
    assert sent.transaction_hash is not None
    node.receipts[sent.transaction_hash]["logs"] = [
        {
            "address": to_hex(TOKEN),
            "topics": [to_hex(TRANSFER_TOPIC), to_hex(US.rjust(32, b"\0")), to_hex(TOKEN.rjust(32, b"\0"))],
            "data": to_hex((77).to_bytes(32, "big")),
            "blockNumber": "0x3",
            "blockHash": to_hex(head(3).hash),
            "transactionHash": to_hex(sent.transaction_hash),
            "logIndex": "0x0",
        }
    ]
    return sender


async def test_the_entry_comes_with_the_status() -> None:
    node, store = MemoryNode(), MemoryIntents()
    sender = await mined_in_3(node, store)
    await sender.following.follow_open(head(3))
    [entry] = store.entries.values()
    assert (entry.signer, entry.nonce, entry.purpose, entry.succeeded) == (US, 0, Purpose.LIQUIDATION, True)
    assert (entry.block_number, entry.block_hash, entry.timestamp_s) == (3, head(3).hash, head(3).timestamp_s)
    assert (entry.cost_wei, entry.movements) == (300_000 * 11, (Movement(TOKEN, -77),))
    assert store.statuses() == [(0, "mined")]


async def test_while_the_block_cannot_be_read_nothing_is_settled() -> None:
    class Forgetful(MemoryNode):
        async def request(self, method: str, params: Sequence[object] = ()) -> object:
            return None if method == "eth_getBlockByHash" else await super().request(method, params)

    node, store = Forgetful(), MemoryIntents()
    sender = await mined_in_3(node, store)
    with pytest.raises(BlockUnavailable):
        await sender.following.follow_open(head(3))
    assert store.statuses() == [(0, "sent")]
    assert store.entries == {}


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("succeeds", [True, False])
async def test_a_reorg_that_puts_it_into_another_block_changes_the_entry(restarted: bool, succeeds: bool) -> None:
    """Without ever being open in between, and also when the reorg came while nobody looked."""
    node, store = MemoryNode(), MemoryIntents()
    sender = await mined_in_3(node, store)
    [followed] = await sender.following.follow_open(head(3))
    sender.following.forget(followed.intent.transaction_hash)
    node.receipts[followed.intent.transaction_hash] |= {
        "blockHash": to_hex(BESIDE),
        "status": hex(succeeds),
        "gasUsed": "0x5",
        "logs": [],
    }
    if restarted:
        sender = sender_on(node, store)
        await sender.start(replace(head(4), parent_hash=BESIDE))
    await sender.following.follow_open(replace(head(4), parent_hash=BESIDE))
    [entry] = store.entries.values()
    assert (entry.block_hash, entry.timestamp_s) == (BESIDE, head(3).timestamp_s + 1)
    assert (entry.cost_wei, entry.movements, entry.succeeded) == (55, (), succeeds)
    assert store.statuses() == [(0, "mined" if succeeds else "reverted")]
    assert sender.following.open_intents == []


async def test_a_reorg_that_puts_it_into_no_block_takes_the_entry_back() -> None:
    node, store = MemoryNode(), MemoryIntents()
    sender = await mined_in_3(node, store)
    [followed] = await sender.following.follow_open(head(3))
    del node.receipts[followed.intent.transaction_hash]
    node.mined[0] = Hash32(b"\x55" * 32)
    await sender.following.follow_open(replace(head(4), parent_hash=BESIDE))
    assert store.entries == {}
    assert store.statuses() != [(0, "mined")]


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("unmined_between", [False, True])
@pytest.mark.parametrize("forgotten", [False, True])
async def test_what_lost_its_nonce_is_found_when_a_reorg_has_it_mined_instead(
    restarted: bool, unmined_between: bool, forgotten: bool
) -> None:
    """Also after a restart, and where neither was mined for a while: its cost is in the ledger, the other's is not, and no
    stranger used the nonce."""
    node, store = MemoryNode(), MemoryIntents()
    sender = await started_on(node, store)
    ordered = await sender.send(sending(), head(2))
    cancel = Sending(Call(US, b""), 21_000, replace(FEES, max_fee_wei=42, priority_fee_wei=2), "cancel", None, 0)
    cancelled = await sender.replace(0, cancel, head(2), sender.following.open_at(0))
    order, rival = ordered.transaction_hash, cancelled.transaction_hash
    assert order is not None and rival is not None
    node.mine(0, 3)
    await sender.following.follow_open(head(3))
    assert {store.rows[order].status, store.rows[rival].status} == {IntentStatus.DROPPED, IntentStatus.MINED}
    for each in (order, rival) if forgotten else ():
        sender.following.forget(each)
    del node.receipts[rival], node.mined[0]
    number = 4
    if unmined_between:
        await sender.following.follow_open(replace(head(number), parent_hash=BESIDE))
        assert store.entries == {}
        number += 1
    node.mine(0, number, order)
    if restarted:
        sender = sender_on(node, store)
        await sender.start(replace(head(number), parent_hash=BESIDE))
    await sender.following.follow_open(replace(head(number), parent_hash=BESIDE))
    await sender.following.follow_open(head(number + 1))
    assert list(store.entries) == [order]
    assert {store.rows[order].status, store.rows[rival].status} == {IntentStatus.MINED, IntentStatus.DROPPED}
    assert store.rows[order].status is IntentStatus.MINED
    assert sender.following.nonces_in_blocks == {0}
    assert sender.following.open_intents == []


async def test_on_a_chain_that_only_grows_nobody_asks_again() -> None:
    node, store = MemoryNode(), MemoryIntents()
    sender = await mined_in_3(node, store)
    [followed] = await sender.following.follow_open(head(3))
    node.receipts[followed.intent.transaction_hash]["blockHash"] = to_hex(BESIDE)
    await sender.following.follow_open(head(4))
    [entry] = store.entries.values()
    assert entry.block_hash == head(3).hash


# -- the one door ----------------------------------------------------------------------------------------------------
def gated(store: MemoryIntents, pauses: MemoryPauses, kill_file: Path | None = None, gas: Limit = Limit()) -> Rails:
    purse = SharedPurse(MemoryLedger(), Limits(), kill_file)
    return Rails("toy", CHAIN_ID, US, Limits(gas_wei=gas), 0, purse, pauses, MemoryJournal(Faults()))


class PausedStore(MemoryIntents):
    """As the store refuses while a pause stands."""

    async def record_intents(self, intents: Sequence[Intent]) -> None:
        if any(intent.purpose is not Purpose.CANCEL for intent in intents):
            raise Paused("operator: a look first")
        await super().record_intents(intents)


async def test_what_the_store_refuses_for_a_pause_takes_no_nonce_and_is_no_trouble() -> None:
    node, store = MemoryNode(), PausedStore()
    sender = await started_on(node, store)
    answers = await sender.send_all([[sending()], [sending(borrower=Address(b"\xb1" * 20), attempt="2")]], head(1))
    assert [str(answer) for answer in answers] == ["operator: a look first"] * 2
    assert all(isinstance(answer, Paused) for answer in answers)
    assert (node.sends, sender.following.open_intents) == ([], [])
    cancel = replace(sending(borrower=None, attempt="cancel"), purpose=Purpose.CANCEL)
    assert (await sender.send(cancel, head(1))).nonce == 0


async def test_while_the_kill_file_exists_not_even_a_cancellation_leaves(tmp_path: Path) -> None:
    file = tmp_path / "stop"
    node, store = MemoryNode(), MemoryIntents()
    rails = gated(store, MemoryPauses(), file)
    await rails.look(head(1))
    sender = Sender(node, signer(), GatedIntents(store, rails), CHAIN_ID)
    await sender.start(head(1))
    file.touch()
    cancel = replace(sending(borrower=None, attempt="cancel"), purpose=Purpose.CANCEL)
    for each in (cancel, sending()):
        with pytest.raises(Paused, match=KILL_FILE):
            await sender.send(each, head(1))
    file.unlink()
    assert (await sender.send(cancel, head(1))).nonce == 0
    assert len(node.sends) == 1


async def test_an_allowance_is_held_to_the_limits_too() -> None:
    node, store, pauses = MemoryNode(), MemoryIntents(), MemoryPauses()
    allowance = replace(sending(borrower=None, attempt="allowance"), purpose=Purpose.ALLOWANCE)
    rails = gated(store, pauses, gas=Limit(per_hour=allowance.gas_limit * FEES.max_fee_wei * 2))
    await rails.look(head(1))
    sender = Sender(node, signer(), GatedIntents(store, rails), CHAIN_ID)
    await sender.start(head(1))
    for tag in range(2):
        await sender.send(
            replace(allowance, call_index=tag, attempt=f"allowance{tag}", gas_limit=500_000 - tag), head(1)
        )
    with pytest.raises(Refused, match="gas of 0 in the last hour, what is on its way"):
        await sender.send(allowance, head(1))
    await pauses.pause(Pause(EVERYBODY, BY_PERSON, "a look first"))
    await rails.look(head(2))
    with pytest.raises(Paused, match="a look first"):
        await sender.send(allowance, head(2))
    assert [row.stake for row in store.rows.values()] == [
        Stake((500_000 - tag) * FEES.max_fee_wei, 0, 0) for tag in range(2)
    ]
    assert {row.status for row in store.rows.values()} == {IntentStatus.SENT}


async def test_a_receipt_that_is_gone_while_a_reorg_is_under_way_proves_nothing() -> None:
    """The count is pinned to the old head, the receipt is asked of a node that has left it: the one that was mined is no proof
    that another took its place."""
    node, store = MemoryNode(), MemoryIntents()
    sender = await started_on(node, store)
    sent = await sender.send(sending(), head(1))
    assert sent.transaction_hash is not None
    node.mine(0, 2)
    assert (await sender.following.follow(sent.transaction_hash, head(2))).intent.status is IntentStatus.MINED
    receipt = node.receipts.pop(sent.transaction_hash)
    followed = await sender.following.follow(sent.transaction_hash, head(3))
    assert followed.intent.status is not IntentStatus.DROPPED
    node.receipts[sent.transaction_hash] = receipt
    await sender.following.follow_open(head(4))
    assert store.statuses() == [(0, "mined")]
    assert sent.transaction_hash in store.entries
