"""What waits too long is replaced, and no nonce is left out."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keeper.core.block import BlockRef
from keeper.core.errors import Refused, RpcFailure, RpcTimeout
from keeper.core.intent import Intent, IntentStatus
from keeper.core.order import Answer, FeeQuote
from keeper.core.units import Hash32
from keeper.execution.answers import TurnedAway
from keeper.execution.nonces import Remedy
from keeper.execution.replacing import CANCEL, Replaced, Replacing
from keeper.execution.sender import Sender
from keeper.execution.signing.envelope import decode_signed
from tests.unit.execution.fakes import (
    BORROWER,
    FEES,
    OTHER_BORROWER,
    MemoryIntents,
    MemoryNode,
    head,
    sender_on,
    sending,
    signer,
)

EXPIRY_BLOCKS = 5
PATIENCE_BLOCKS = 3
CAP_WEI = 1_000


@dataclass
class Bench:
    node: MemoryNode = field(default_factory=MemoryNode)
    store: MemoryIntents = field(default_factory=MemoryIntents)
    fees: FeeQuote = FEES
    cap_wei: int = CAP_WEI
    told: list[Replaced] = field(default_factory=list)
    sender: Sender = field(init=False)
    replacing: Replacing = field(init=False)

    async def start(self, at: int = 1) -> Bench:
        self.sender = sender_on(self.node, self.store)
        await self.sender.start(head(at))

        async def quote() -> FeeQuote:
            return self.fees

        async def tell(replaced: Replaced, at: BlockRef) -> None:
            self.told.append(replaced)

        self.replacing = Replacing(self.sender, quote, tell, cap_wei=self.cap_wei, expiry_blocks=EXPIRY_BLOCKS)
        return self

    async def at(self, number: int) -> None:
        """What the live submitter does once per head."""
        for followed in await self.sender.following.follow_open(head(number)):
            if not followed.open:
                self.sender.following.forget(followed.intent.transaction_hash)
        await self.replacing.tidy(head(number))

    def in_pool(self, nonce: int) -> bytes:
        return next(raw for raw in self.node.sends if decode_signed(raw).hash == self.node.pool[nonce])

    def is_cancel(self, nonce: int) -> bool:
        fields = decode_signed(self.in_pool(nonce)).fields
        return (fields.call.target, fields.call.calldata, fields.gas_limit) == (signer().address, b"", 21_000)

    @property
    def remedies(self) -> list[Remedy]:
        return [replaced.case.remedy for replaced in self.told]


async def test_an_order_that_is_not_mined_in_time_is_cancelled_on_its_nonce() -> None:
    bench = await Bench().start()
    sent = await bench.sender.send(sending(), head(1))
    for number in range(2, 6):
        await bench.at(number)
    assert bench.told == []
    await bench.at(6)
    assert bench.is_cancel(0)
    fields = decode_signed(bench.in_pool(0)).fields
    assert (fields.max_fee_wei, fields.priority_fee_wei) == (24, 2), "a tenth more, rounded up"
    bench.node.mine(0, 7)
    await bench.at(7)
    assert bench.store.rows[Hash32(sent.transaction_hash or b"")].status is IntentStatus.DROPPED
    assert bench.store.statuses() == [(0, "dropped"), (0, "mined")]
    assert (await bench.sender.send(sending(attempt="7-b0", tag=1), head(7))).nonce == 1


async def test_the_cancelled_order_may_win_all_the_same() -> None:
    bench = await Bench().start()
    sent = await bench.sender.send(sending(), head(1))
    assert sent.transaction_hash is not None
    await bench.at(6)
    bench.node.mine(0, 7, sent.transaction_hash)
    await bench.at(7)
    assert bench.store.statuses() == [(0, "dropped"), (0, "mined")]
    assert bench.store.rows[sent.transaction_hash].status is IntentStatus.MINED


async def test_its_borrower_gets_no_other_nonce_while_either_may_be_mined() -> None:
    bench = await Bench().start()
    await bench.sender.send(sending(), head(1))
    for number in range(6, 10):
        await bench.at(number)
    with pytest.raises(Refused, match="still open at nonce 0"):
        await bench.sender.send(sending(attempt="9-b0", tag=1), head(9))


async def test_a_cancellation_that_bids_too_little_is_sped_up_and_one_that_bids_enough_waits() -> None:
    bench = await Bench().start()
    await bench.sender.send(sending(), head(1))
    await bench.at(6)
    await bench.at(11)
    assert bench.remedies == [Remedy.CANCEL]
    bench.fees = FeeQuote(base_fee_wei=30, priority_fee_wei=2, max_fee_wei=40)
    await bench.at(12)
    assert bench.remedies == [Remedy.CANCEL, Remedy.SPEED_UP]
    assert bench.is_cancel(0)
    assert decode_signed(bench.in_pool(0)).fields.max_fee_wei == 40


async def test_an_approval_is_sped_up_not_cancelled() -> None:
    bench = await Bench().start()
    await bench.sender.send(sending(None, "allowance"), head(1))
    bench.fees = FeeQuote(base_fee_wei=30, priority_fee_wei=2, max_fee_wei=40)
    await bench.at(6)
    first, second = (decode_signed(raw).fields for raw in bench.node.sends)
    assert (first.call, first.gas_limit, first.nonce) == (second.call, second.gas_limit, second.nonce)
    assert second.max_fee_wei == 40


async def test_nothing_goes_above_the_cap_and_that_is_told_once() -> None:
    bench = await Bench(cap_wei=23).start()
    await bench.sender.send(sending(), head(1))
    for number in range(6, 10):
        await bench.at(number)
    assert len(bench.node.sends) == 1
    [told] = bench.told
    assert "above the cap of 23" in str(told.sent)


async def test_a_failure_is_tried_again_and_told_once() -> None:
    bench = await Bench().start()
    await bench.sender.send(sending(), head(1))
    for number in (6, 7):
        bench.node.answer, bench.node.swallow = RpcFailure(-32000, "insufficient funds"), True
        await bench.at(number)
    assert len(bench.told) == 1
    await bench.at(8)
    assert bench.is_cancel(0)
    assert [replaced.sent.answer for replaced in bench.told if not isinstance(replaced.sent, Refused)] == [
        Answer.REFUSED,
        Answer.ACCEPTED,
    ]


class TestHoles:
    async def test_a_lost_cancellation_that_bids_the_cap_is_sent_again_byte_for_byte(self) -> None:
        """A higher bid is not allowed, and what waits above its nonce would wait for ever."""
        bench = await Bench(cap_wei=24).start()
        await bench.sender.send_all([[sending()], [sending(OTHER_BORROWER, "1-b1", tag=1)]], head(1))
        await bench.at(6)
        cancellation = bench.in_pool(0)
        assert [bench.is_cancel(nonce) for nonce in (0, 1)] == [True, True]
        assert decode_signed(cancellation).fields.max_fee_wei == 24
        del bench.node.pool[0]
        for number in range(7, 13):
            await bench.at(number)
        assert bench.in_pool(0) == cancellation
        assert bench.remedies == [Remedy.CANCEL, Remedy.CANCEL, Remedy.RESEND]
        for nonce in (0, 1):
            bench.node.mine(nonce, 13)
        await bench.at(13)
        assert bench.store.statuses() == [(0, "dropped"), (0, "mined"), (1, "dropped"), (1, "mined")]

    async def two_sent_the_first_lost(self, at: int = 1) -> Bench:
        bench = await Bench().start(at)
        await bench.sender.send_all([[sending()], [sending(OTHER_BORROWER, "1-b1", tag=1)]], head(at))
        del bench.node.pool[0]
        return bench

    async def test_a_young_lost_one_is_sent_again_byte_for_byte(self) -> None:
        bench = await self.two_sent_the_first_lost()
        for number in (2, 3, 4, 5):
            await bench.at(number)
        assert bench.remedies == [Remedy.RESEND]
        assert bench.node.sends == [bench.in_pool(0), bench.in_pool(1), bench.in_pool(0)]
        assert bench.store.statuses() == [(0, "sent"), (1, "sent")]

    async def test_an_old_one_is_cancelled(self) -> None:
        bench = await self.two_sent_the_first_lost()
        for number in (6, 9):
            await bench.at(number)
        assert bench.is_cancel(0)

    async def test_a_refused_one_under_accepted_ones_is_filled_unless_an_order_takes_it(self) -> None:
        bench = await Bench().start()
        await bench.sender.send_all([[sending()], [sending(OTHER_BORROWER, "1-b1", tag=1)]], head(1))
        [first] = [row for row in bench.store.rows.values() if row.nonce == 0]
        del bench.node.pool[0]
        await bench.sender.following.mark([])
        bench.sender.following._tracked.pop(first.transaction_hash)
        await bench.at(2)
        assert bench.told == [], "the next order may take it"
        await bench.at(3)
        assert bench.is_cancel(0)

    async def test_a_lost_one_with_nothing_above_is_left_to_the_next_order_and_cancelled_at_last(self) -> None:
        bench = await Bench().start()
        await bench.sender.send(sending(), head(1))
        del bench.node.pool[0]
        for number in (2, 5):
            await bench.at(number)
        assert bench.store.statuses() == [(0, "lost")]
        assert bench.told == []
        await bench.at(6)
        assert bench.is_cancel(0)

    @pytest.mark.parametrize("taken", [True, False])
    async def test_orders_that_come_to_nothing_one_after_the_other_do_not_keep_a_nonce_young(self, taken: bool) -> None:
        """The node takes none of them, or each for a block: whoever lost one above would wait as long as they come."""
        bench = await Bench().start()
        cancelled_at = None
        for number in range(1, 20):
            bench.node.swallow = not taken
            bench.node.answer = None if taken else TurnedAway(-32000, "seen")
            await bench.sender.send(sending(attempt=f"{number}-b0", tag=number), head(number))
            bench.node.answer, bench.node.swallow = None, False
            await bench.at(number)
            if bench.told:
                cancelled_at = number
                break
            bench.node.pool.clear()
            await bench.sender.following.give_up([bench.sender.following.open_at(0)[-1].transaction_hash])
        assert cancelled_at == (1 + 2 * EXPIRY_BLOCKS if taken else 1 + EXPIRY_BLOCKS)
        assert bench.is_cancel(0)

    async def test_whoever_lost_one_above_a_free_nonce_gets_none_below_and_waits_for_the_expiry_only(self) -> None:
        """Both could be mined; what is lost is sent again, since 2 waits above it."""
        bench = await Bench().start()
        orders = [[sending(OTHER_BORROWER, "1-b1")], [sending(BORROWER, "1-b0", tag=1)], [sending(None, "allowance")]]
        await bench.sender.send_all(orders, head(1))
        bench.node.pool.pop(0)
        bench.node.pool.pop(1)
        for number in (2, 5):
            await bench.sender.following.follow_open(head(number))
        with pytest.raises(Refused, match="still open at nonce 1"):
            await bench.sender.send(sending(BORROWER, "5-b0", tag=2), head(5))
        await bench.at(5)
        assert bench.remedies == [Remedy.RESEND, Remedy.RESEND]
        for nonce in (0, 1, 2):
            bench.node.mine(nonce, 6)
        await bench.at(6)
        assert (await bench.sender.send(sending(BORROWER, "6-b0", tag=2), head(6))).nonce == 3

    async def test_another_order_of_the_wave_takes_the_free_nonce_first(self) -> None:
        """Then the lost one's own nonce is the next, and its borrower need not wait, however urgent."""
        bench = await Bench().start()
        await bench.sender.send_all([[sending(OTHER_BORROWER, "1-b1")], [sending(BORROWER, "1-b0", tag=1)]], head(1))
        bench.node.pool.clear()
        for number in (2, 5):
            await bench.sender.following.follow_open(head(number))
        third = type(BORROWER)(b"\xb2" * 20)
        urgent, other = await bench.sender.send_all(
            [[sending(BORROWER, "5-b0", tag=2)], [sending(third, "5-b2", tag=3)]], head(5)
        )
        assert not isinstance(urgent, Refused)
        assert not isinstance(other, Refused)
        assert (urgent[0].nonce, other[0].nonce) == (1, 0)
        assert [decode_signed(raw).fields.nonce for raw in bench.node.sends[-2:]] == [0, 1]

    async def test_nothing_is_done_above_an_undecided_nonce(self) -> None:
        bench = await self.two_sent_the_first_lost()
        del bench.node.pool[1]
        await bench.sender.send(sending(None, "allowance", tag=2), head(1))
        bench.node.answer, bench.node.swallow = RpcTimeout(""), True
        for number in (2, 5):
            await bench.at(number)
        [told] = bench.told
        assert not isinstance(told.sent, Refused)
        assert (told.case.nonce, told.sent.answer) == (0, Answer.UNKNOWN), "nonce 1 waits until this is known"


async def test_all_that_is_open_can_be_cancelled_at_once() -> None:
    bench = await Bench().start()
    await bench.sender.send_all([[sending()], [sending(OTHER_BORROWER, "1-b1", tag=1)]], head(1))
    assert await bench.replacing.cancel_open(head(1)) == 2
    assert bench.is_cancel(0) and bench.is_cancel(1)
    assert await bench.replacing.cancel_open(head(1)) == 0


async def test_a_person_may_ask_for_one() -> None:
    bench = await Bench().start()
    await bench.sender.send(sending(), head(1))
    sped_up = await bench.replacing.replace(0, Remedy.SPEED_UP, head(1))
    assert not isinstance(sped_up.sent, Refused)
    fields = decode_signed(bench.in_pool(0)).fields
    assert (fields.call, fields.max_fee_wei) == (sending().call, 24)
    await bench.replacing.replace(0, Remedy.CANCEL, head(1))
    assert bench.is_cancel(0)
    with pytest.raises(Refused, match="nothing of this keeper is open at nonce 1"):
        await bench.replacing.replace(1, Remedy.CANCEL, head(1))
    assert [row.attempt for row in bench.store.rows.values()] == ["1-b0b0b0b0", "1-b0b0b0b0", CANCEL]


def assert_one_plan_each(bench: Bench) -> None:
    """Of what may still be mined for one borrower, no two are of different attempts, but for those on one nonce."""
    of: dict[object, list[Intent]] = {}
    for intent in bench.sender.following.may_be_mined:
        of.setdefault(intent.borrower, []).append(intent)
    for borrower, there in of.items():
        if borrower is not None and len({intent.attempt for intent in there}) > 1:
            assert len({intent.nonce for intent in there}) == 1, there


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6))
async def test_nobody_is_locked_out_for_longer_than_the_expiry(seed: int) -> None:
    """Whatever was lost, once the node is well everybody gets an order: nothing else is sent that would fill a nonce."""
    rng = random.Random(seed)
    bench = await Bench().start()
    everybody = [BORROWER, OTHER_BORROWER, type(BORROWER)(b"\xb2" * 20)]
    for number in range(2, 12):
        orders = [
            [sending(each, f"{number}-{each[:1].hex()}", tag=10 * number + i)] for i, each in enumerate(everybody)
        ]
        rng.shuffle(orders)
        bench.node.swallow = rng.random() < 0.4
        bench.node.answer = RpcTimeout("") if bench.node.swallow else None
        await bench.sender.send_all(orders[: rng.randint(1, 3)], head(number))
        for nonce in list(bench.node.pool):
            if rng.random() < 0.5:
                del bench.node.pool[nonce]
        await bench.at(number)
        assert_one_plan_each(bench)
    bench.node.swallow, bench.node.answer = False, None
    within = 12 + PATIENCE_BLOCKS + EXPIRY_BLOCKS + 1
    for number in range(12, within + 1):
        while (nonce := len(bench.node.mined)) in bench.node.pool:
            bench.node.mine(nonce, number)
        await bench.at(number)
    for index, each in enumerate(everybody):
        sent = await bench.sender.send(sending(each, f"{within}-{index}", tag=1_000 + index), head(within))
        assert sent.answer is Answer.ACCEPTED


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6))
async def test_whatever_the_node_loses_there_is_no_hole_at_the_end(seed: int) -> None:
    """Orders come and go, the node loses, swallows, refuses and mines what it likes. In the end, when it is well and no order
    comes any more, nothing is open, all nonces are used in a row, and no attempt or borrower was ever served twice."""
    rng = random.Random(seed)
    bench = await Bench().start()
    served: list[tuple[int, Hash32]] = []
    number = 1
    for number in range(2, 40):
        if number < 20:
            borrower = rng.choice([BORROWER, OTHER_BORROWER, type(BORROWER)(b"\xb2" * 20)])
            order = [
                sending(borrower, f"{number}-{borrower[:1].hex()}", call_index=i, tag=10 * number + i) for i in (0, 1)
            ]
            if rng.random() < 0.3:
                bench.node.swallow = True
                bench.node.answer = rng.choice([RpcTimeout(""), RpcFailure(-32000, "insufficient funds"), None])
            await bench.sender.send_all([order[: rng.randint(1, 2)]], head(number))
            for nonce in list(bench.node.pool):
                if rng.random() < 0.2:
                    del bench.node.pool[nonce]
        if number >= 20 or rng.random() < 0.5:
            while (nonce := len(bench.node.mined)) in bench.node.pool and rng.random() < 0.8:
                served.append((nonce, bench.node.pool[nonce]))
                bench.node.mine(nonce, number)
        await bench.at(number)
        assert_one_plan_each(bench)
    assert bench.sender.following.may_be_mined == []
    assert bench.node.pool == {}
    assert all(status in ("mined", "dropped", "refused") for _, status in bench.store.statuses())
    calls = [bench.store.rows[each] for _, each in served if bench.store.rows[each].borrower is not None]
    assert len({(row.attempt, row.call_index) for row in calls}) == len(calls)
