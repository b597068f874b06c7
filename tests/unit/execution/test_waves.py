"""Many transactions of one signer at once: written down together, few unanswered, no nonce lost when one is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from keeper.core.errors import Refused, RpcFailure
from keeper.core.intent import Intent
from keeper.core.order import Answer, SentTransaction
from keeper.core.units import Address
from keeper.execution.live import MOST_IN_FLIGHT, LiveSubmitter, may_go_live
from keeper.execution.reconcile import Reconciler
from keeper.execution.sender import SEND_WINDOW, Sending
from keeper.execution.signing.envelope import decode_signed
from tests.unit.execution.fakes import CHAIN_ID, MemoryIntents, MemoryNode, head, sender_on, sending, signer, started_on
from tests.unit.execution.test_live import NoWorld


def order(number: int, calls: int = 1) -> list[Sending]:
    who = Address(bytes([number]) * 20)
    return [sending(who, f"1-{number}", call_index, 16 * number + call_index) for call_index in range(calls)]


@dataclass
class CountingIntents(MemoryIntents):
    commits: list[int] = field(default_factory=list)

    async def record_intents(self, intents: Sequence[Intent]) -> None:
        self.commits.append(len(intents))
        await super().record_intents(intents)


@dataclass
class SlowNode(MemoryNode):
    """Answers a send after a few turns of the loop; refuses the nonces named. `most` were unanswered at a time."""

    refuses: set[int] = field(default_factory=set)
    waiting: int = 0
    most: int = 0
    seen: list[int] = field(default_factory=list)

    async def request(self, method: str, params: Sequence[Any] = ()) -> Any:
        if method != "eth_sendRawTransaction":
            return await super().request(method, params)
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        nonce = decode_signed(bytes.fromhex(params[0][2:])).fields.nonce
        self.seen.append(nonce)
        for _ in range(10):
            await asyncio.sleep(0)
        self.waiting -= 1
        if nonce in self.refuses:
            self.refuses.discard(nonce)
            raise RpcFailure(-32000, "txpool is full")
        return await super().request(method, params)


def answers(told: Sequence[Sequence[SentTransaction] | Refused]) -> list[list[Answer]]:
    return [[] if isinstance(each, Refused) else [sent.answer for sent in each] for each in told]


async def test_a_wave_is_written_down_by_one_commit_and_sent_a_few_at_a_time_in_the_order_of_its_nonces() -> None:
    node, store = SlowNode(), CountingIntents()
    told = await (await started_on(node, store)).send_all([order(number) for number in range(30)], head(1))
    assert answers(told) == [[Answer.ACCEPTED]] * 30
    assert store.commits == [30]
    assert node.seen == list(range(30))
    assert node.most == SEND_WINDOW
    assert all(node.recorded_first)


async def test_a_refusal_of_the_first_stops_the_rest_before_it_leaves() -> None:
    """What an account is refused for as such is refused once."""
    node, store = SlowNode(refuses={0}), MemoryIntents()
    sender = await started_on(node, store)
    told = await sender.send_all([order(number) for number in range(5)], head(1))
    assert answers(told) == [[Answer.REFUSED], *[[Answer.NOT_SENT]] * 4]
    assert node.seen == [0]
    assert set(store.statuses()) == {(nonce, "refused") for nonce in range(5)}
    assert sender.following.open_intents == []


async def test_the_nonce_of_one_refused_midway_is_taken_by_the_very_next_transaction() -> None:
    node, store = SlowNode(refuses={3}), MemoryIntents()
    sender = await started_on(node, store)
    told = await sender.send_all([order(number) for number in range(30)], head(1))
    above = [sent for each in answers(told)[4:] for sent in each if sent is Answer.ACCEPTED]
    assert answers(told)[3] == [Answer.REFUSED]
    assert len(above) < SEND_WINDOW, "no more than were unanswered then stand above it"
    assert max(node.seen) == 3 + len(above)
    again = await sender.send_all([order(40), order(41)], head(1))
    assert answers(again) == [[Answer.ACCEPTED]] * 2
    assert node.seen[-2:] == [3, 4 + len(above)]
    assert sorted(node.pool) == list(range(5 + len(above)))


async def test_a_further_call_waits_until_the_one_before_it_is_accepted() -> None:
    node, store = SlowNode(refuses={1}), MemoryIntents()
    told = await (await started_on(node, store)).send_all([order(1), order(2, calls=3), order(3)], head(1))
    assert answers(told) == [[Answer.ACCEPTED], [Answer.REFUSED, Answer.NOT_SENT, Answer.NOT_SENT], [Answer.NOT_SENT]]
    assert node.seen == [0, 1]


async def test_two_orders_for_one_borrower_never_leave_together() -> None:
    node, store = MemoryNode(), MemoryIntents()
    first, second = order(1), [sending(Address(b"\1" * 20), "1-other", 0, 7)]
    told = await (await started_on(node, store)).send_all([first, second, order(2)], head(1))
    assert isinstance(told[1], Refused)
    assert "still open at nonce 0" in str(told[1])
    assert [sent.nonce for each in (told[0], told[2]) if not isinstance(each, Refused) for sent in each] == [0, 1]


async def test_what_is_prepared_once_is_not_asked_again() -> None:
    node, store = MemoryNode(), MemoryIntents()
    sender = await started_on(node, store)
    await sender.prepare(head(2))
    request, methods = node.request, []

    async def watched(method: str, params: Sequence[Any] = ()) -> Any:
        methods.append(method)
        return await request(method, params)

    node.request = watched  # type: ignore[method-assign]
    await sender.send_all([order(1), order(2)], head(2))
    assert methods == ["eth_sendRawTransaction"] * 2


async def test_whose_nonce_is_used_is_no_longer_on_its_way() -> None:
    node, store = MemoryNode(), MemoryIntents()
    permit = may_go_live(CHAIN_ID, is_testnet_preset=False, node_is_anvil_devnet=True)
    sender = sender_on(node, store)
    submitter = LiveSubmitter(permit, sender, Reconciler(node, NoWorld(), {}), most_in_flight=5)
    await submitter.start(head(1))
    await sender.send_all([order(number) for number in range(4)], head(1))
    assert (len(submitter.open_borrowers()), submitter.room(signer().address, head(1))) == (4, 1)
    for nonce in range(3):
        node.mine(nonce, 2)
    await submitter.prepare(head(2))
    assert (len(submitter.open_borrowers()), submitter.room(signer().address, head(2))) == (1, 4)


async def test_without_a_setting_a_block_bounds_what_is_on_its_way() -> None:
    node, store = MemoryNode(), MemoryIntents()
    permit = may_go_live(CHAIN_ID, is_testnet_preset=False, node_is_anvil_devnet=True)
    submitter = LiveSubmitter(permit, await started_on(node, store), Reconciler(node, NoWorld(), {}))
    assert submitter.room(signer().address, head(1)) == 30_000_000 // 200_000
    assert submitter.room(signer().address, replace(head(1), gas_limit=2**50)) == MOST_IN_FLIGHT
