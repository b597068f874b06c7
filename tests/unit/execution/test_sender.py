"""The owner of the nonces against a node that misbehaves."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from keeper.core.errors import Defect, MalformedResponse, Refused, RpcFailure, RpcTimeout, StoreError
from keeper.core.intent import Intent, IntentStatus, Mark
from keeper.core.order import Answer
from keeper.core.units import Hash32, to_hex
from keeper.execution.following import REORG_BLOCKS
from keeper.execution.signing.envelope import decode_signed
from tests.unit.execution.fakes import (
    BORROWER,
    OTHER_BORROWER,
    MemoryIntents,
    MemoryNode,
    head,
    sender_on,
    sending,
    sent_on,
    started_on,
)


async def test_the_store_has_the_bytes_before_they_leave() -> None:
    node, store = MemoryNode(), MemoryIntents()
    sent = await (await started_on(node, store)).send(sending(), head(1))
    assert (sent.answer, sent.nonce, node.recorded_first) == (Answer.ACCEPTED, 0, [True])
    assert [row.raw_transaction for row in store.rows.values()] == node.sends
    assert store.statuses() == [(0, "sent")]


async def test_nothing_leaves_when_the_store_cannot_write() -> None:
    class FullDisk(MemoryIntents):
        async def record_intents(self, intents: Sequence[Intent]) -> None:
            raise StoreError("disk full")

    node = MemoryNode()
    sender = await started_on(node, FullDisk())
    with pytest.raises(StoreError):
        await sender.send(sending(), head(1))
    assert node.sends == []
    assert sender.following.open_intents == []


async def test_transactions_of_one_head_follow_each_other() -> None:
    node, store = MemoryNode(), MemoryIntents()
    sender = await started_on(node, store)
    nonces = [(await sender.send(sending(attempt="a", call_index=i, tag=i), head(1))).nonce for i in range(3)]
    assert nonces == [0, 1, 2]


async def test_a_refusal_frees_the_nonce() -> None:
    node, store = MemoryNode(answer=RpcFailure(-32000, "insufficient funds for gas"), swallow=True), MemoryIntents()
    sender = await started_on(node, store)
    refused = await sender.send(sending(), head(1))
    assert (refused.answer, refused.transaction_hash, refused.nonce) == (Answer.REFUSED, None, None)
    assert "insufficient funds" in refused.detail
    again = await sender.send(sending(tag=1), head(1))
    assert (again.answer, again.nonce) == (Answer.ACCEPTED, 0)
    assert store.statuses() == [(0, "refused"), (0, "sent")]


async def test_an_answer_that_got_lost_is_looked_up() -> None:
    node, store = MemoryNode(answer=RpcTimeout("no answer")), MemoryIntents()
    sent = await (await started_on(node, store)).send(sending(), head(1))
    assert sent.answer is Answer.ACCEPTED
    assert store.statuses() == [(0, "sent")]
    assert len(node.sends) == 1


async def test_a_used_nonce_is_a_refusal_unless_our_own_bytes_used_it() -> None:
    node, store = MemoryNode(answer=RpcFailure(-32000, "nonce too low"), swallow=True), MemoryIntents()
    refused = await (await started_on(node, store)).send(sending(), head(1))
    assert refused.answer is Answer.REFUSED
    node.answer = RpcFailure(-32000, "nonce too low")
    arrived = await (await started_on(node, store)).send(sending(tag=1), head(1))
    assert arrived.answer is Answer.ACCEPTED


async def test_bytes_that_may_be_under_way_hold_everything_back_until_they_are_lost() -> None:
    node, store = MemoryNode(answer=MalformedResponse("html"), swallow=True), MemoryIntents()
    sender = await started_on(node, store)
    sent = await sender.send(sending(), head(1))
    assert sent.answer is Answer.UNKNOWN
    assert sent.transaction_hash is not None
    with pytest.raises(Refused, match="nonce 0 is undecided"):
        await sender.send(sending(OTHER_BORROWER, "1-b1"), head(1))
    for number in (1, 2, 3):
        assert (
            await sender.following.follow(sent.transaction_hash, head(number))
        ).intent.status is IntentStatus.UNKNOWN
    assert (await sender.following.follow(sent.transaction_hash, head(4))).intent.status is IntentStatus.LOST
    # The same borrower's next order takes the lost nonce again: only one of the two can ever be mined.
    again = await sender.send(sending(attempt="4-b0", tag=1), head(4))
    assert (again.nonce, again.answer) == (0, Answer.ACCEPTED)
    assert len(node.sends) == 2


async def test_a_lost_transaction_that_is_mined_after_all_is_found_and_its_rival_proven_gone() -> None:
    node, store = MemoryNode(answer=RpcTimeout(""), swallow=True), MemoryIntents()
    sender, first = await sent_on(node, store)
    await sender.following.follow(first, head(1))
    await sender.following.follow(first, head(4))
    rival = await sender.send(sending(attempt="4-b0", tag=1), head(4))
    assert rival.transaction_hash is not None
    node.mine(0, 5, first)
    assert (await sender.following.follow(first, head(5))).intent.status is IntentStatus.MINED
    gone = await sender.following.follow(rival.transaction_hash, head(5))
    assert gone.intent.status is IntentStatus.DROPPED, "ours is in a block: no patience is needed"
    assert (await sender.send(sending(attempt="8-b0", tag=2), head(8))).nonce == 1


async def test_another_borrower_may_take_a_lost_nonce_but_then_the_first_one_waits() -> None:
    node, store = MemoryNode(answer=RpcTimeout(""), swallow=True), MemoryIntents()
    sender, lost = await sent_on(node, store)
    await sender.following.follow(lost, head(1))
    await sender.following.follow(lost, head(4))
    other = await sender.send(sending(OTHER_BORROWER, "4-b1", tag=1), head(4))
    assert other.nonce == 0
    with pytest.raises(Refused, match="still open at nonce 0"):
        await sender.send(sending(BORROWER, "4-b0", tag=2), head(4))
    node.mine(0, 5)
    await sender.following.follow(lost, head(5))
    assert (await sender.send(sending(BORROWER, "5-b0", tag=3), head(5))).nonce == 1


async def test_a_nonce_that_was_taken_up_meanwhile_is_not_replaced() -> None:
    """Whoever replaces knew of nothing at the nonce; by its turn something is there."""
    node, store = MemoryNode(), MemoryIntents()
    sender, _ = await sent_on(node, store)
    with pytest.raises(Refused, match="nonce 0 was taken up meanwhile"):
        await sender.replace(0, sending(attempt="cancel", tag=1), head(2), ())
    assert len(node.sends) == len(store.rows) == 1


async def test_lost_bytes_that_are_refused_when_sent_again_stay_lost() -> None:
    """They may have reached another node: their nonce is not given to anybody else's order beside them."""
    node, store = MemoryNode(answer=RpcTimeout(""), swallow=True), MemoryIntents()
    sender, sent = await sent_on(node, store)
    for number in (1, 4):
        await sender.following.follow(sent, head(number))
    [lost] = sender.following.open_at(0)
    node.answer = RpcFailure(-32000, "insufficient funds for gas")
    assert (await sender.resend(lost)).answer is Answer.REFUSED
    assert store.statuses() == [(0, "lost")]
    assert node.sends == [lost.raw_transaction] * 2


async def test_a_transaction_dropped_from_the_mempool_is_lost_and_one_that_is_back_is_sent() -> None:
    node, store = MemoryNode(), MemoryIntents()
    sender, sent = await sent_on(node, store)
    pooled = node.pool.pop(0)
    statuses = [(await sender.following.follow(sent, head(number))).intent.status for number in (2, 4, 5)]
    assert statuses == [IntentStatus.SENT, IntentStatus.SENT, IntentStatus.LOST]
    node.pool[0] = pooled
    assert (await sender.following.follow(sent, head(6))).intent.status is IntentStatus.SENT
    assert store.statuses() == [(0, "sent")]


async def test_a_nonce_used_by_another_transaction_proves_ours_gone() -> None:
    node, store = MemoryNode(), MemoryIntents()
    sender, sent = await sent_on(node, store)
    node.mine(0, 2, Hash32(b"\x99" * 32))
    assert (await sender.following.follow(sent, head(2))).open
    followed = await sender.following.follow(sent, head(5))
    assert (followed.intent.status, followed.open) == (IntentStatus.DROPPED, False)


async def test_a_receipt_from_a_block_that_we_do_not_see_yet_waits() -> None:
    node, store = MemoryNode(), MemoryIntents()
    sender, sent = await sent_on(node, store)
    node.mine(0, 3)
    early = await sender.following.follow(sent, head(2))
    assert (early.receipt, early.open) == (None, True)
    seen = await sender.following.follow(sent, head(3))
    assert seen.receipt is not None
    assert store.blocks == {sent: 3}


async def test_a_reorg_that_unmines_a_transaction_opens_it_again() -> None:
    node, store = MemoryNode(), MemoryIntents()
    sender, sent = await sent_on(node, store)
    node.mine(0, 2)
    assert not (await sender.following.follow(sent, head(2))).open
    node.pool[0] = node.mined.pop(0)
    node.receipts.clear()
    assert (await sender.following.follow(sent, head(3))).intent.status is IntentStatus.SENT
    assert store.statuses() == [(0, "sent")]


async def test_a_reorg_that_unmines_what_was_forgotten_opens_it_again() -> None:
    """It may be mined again: meanwhile its borrower has a transaction on its way, and its nonce is not free."""
    node, store = MemoryNode(), MemoryIntents()
    sender, sent = await sent_on(node, store)
    node.mine(0, 2)
    await sender.following.follow(sent, head(2))
    sender.following.forget(sent)
    assert await sender.following.follow_open(head(3)) == []
    node.pool[0] = node.mined.pop(0)
    node.receipts.clear()
    [followed] = await sender.following.follow_open(head(4))
    assert followed.intent.status is IntentStatus.SENT
    assert [intent.borrower for intent in sender.following.open_intents] == [BORROWER]
    with pytest.raises(Refused, match="still open"):
        await sender.send(sending(attempt="4-b0b0b0b0"), head(4))
    node.mine(0, 5)
    [followed] = await sender.following.follow_open(head(5))
    assert followed.intent.status is IntentStatus.MINED
    assert len(node.sends) == 1


async def test_what_was_mined_long_ago_is_watched_no_longer() -> None:
    node, store = MemoryNode(), MemoryIntents()
    sender, sent = await sent_on(node, store)
    node.mine(0, 2)
    await sender.following.follow(sent, head(2))
    sender.following.forget(sent)
    await sender.following.follow_open(head(2 + REORG_BLOCKS))
    node.trouble = RpcTimeout("nothing is to be asked")
    assert await sender.following.follow_open(head(3 + REORG_BLOCKS)) == []


async def test_nothing_is_sent_before_the_start() -> None:
    node = MemoryNode()
    with pytest.raises(Defect, match="earlier run"):
        await sender_on(node, MemoryIntents()).send(sending(), head(1))
    assert node.sends == []


class TestRestart:
    async def test_bytes_that_never_left_leave_no_hole(self) -> None:
        """Killed between writing down and sending."""
        node, store = MemoryNode(swallow=True, answer=RpcTimeout("")), MemoryIntents()
        sent = await (await started_on(node, store)).send(sending(), head(1))
        assert sent.transaction_hash is not None
        await store.mark_intents([Mark(sent.transaction_hash, IntentStatus.INTENDED)])
        restarted = sender_on(node, store)
        [followed] = await restarted.start(head(9))
        assert followed.intent.status is IntentStatus.LOST
        assert (await restarted.send(sending(attempt="9-b0", tag=1), head(9))).nonce == 0

    async def test_bytes_that_left_are_not_sent_again(self) -> None:
        """Killed between sending and hearing the answer."""
        node, store = MemoryNode(), MemoryIntents()
        sent = await (await started_on(node, store)).send(sending(), head(1))
        assert sent.transaction_hash is not None
        await store.mark_intents([Mark(sent.transaction_hash, IntentStatus.INTENDED)])
        restarted = sender_on(node, store)
        [followed] = await restarted.start(head(2))
        assert followed.intent.status is IntentStatus.SENT
        with pytest.raises(Refused, match="still open at nonce 0"):
            await restarted.send(sending(attempt="2-b0", tag=1), head(2))
        assert (await restarted.send(sending(OTHER_BORROWER, "2-b1", tag=2), head(2))).nonce == 1
        assert len(node.sends) == 2

    async def test_a_young_intent_holds_its_nonce_for_a_few_blocks(self) -> None:
        node, store = MemoryNode(swallow=True, answer=RpcTimeout("")), MemoryIntents()
        await (await started_on(node, store)).send(sending(), head(8))
        restarted = sender_on(node, store)
        [followed] = await restarted.start(head(9))
        assert followed.open
        with pytest.raises(Refused, match="undecided since block 8"):
            await restarted.send(sending(OTHER_BORROWER, "9-b1", tag=1), head(9))

    async def test_one_that_was_mined_meanwhile_is_closed(self) -> None:
        node, store = MemoryNode(), MemoryIntents()
        await (await started_on(node, store)).send(sending(), head(1))
        node.mine(0, 2, status=0)
        restarted = sender_on(node, store)
        [followed] = await restarted.start(head(3))
        assert (followed.intent.status, restarted.following.open_intents) == (IntentStatus.REVERTED, [])
        assert (await restarted.send(sending(attempt="3-b0", tag=1), head(3))).nonce == 1


async def test_a_settled_transaction_is_forgotten_but_not_an_open_one() -> None:
    node, store = MemoryNode(), MemoryIntents()
    sender, sent = await sent_on(node, store)
    sender.following.forget(sent)
    assert [each.nonce for each in sender.following.open_intents] == [0]
    node.mine(0, 2)
    await sender.following.follow(sent, head(2))
    sender.following.forget(sent)
    with pytest.raises(KeyError):
        await sender.following.follow(sent, head(2))


async def test_what_is_sent_is_what_was_asked_for() -> None:
    node, store = MemoryNode(), MemoryIntents()
    wanted = sending(tag=5)
    sent = await (await started_on(node, store)).send(wanted, head(1))
    decoded = decode_signed(node.sends[0])
    assert decoded.fields.call == wanted.call
    assert (decoded.fields.gas_limit, decoded.fields.max_fee_wei, decoded.fields.priority_fee_wei) == (500_000, 21, 1)
    assert sent.transaction_hash is not None
    assert to_hex(decoded.hash) == to_hex(sent.transaction_hash)
