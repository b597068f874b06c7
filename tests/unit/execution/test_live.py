"""The guard before live, and what becomes of orders whose transactions are refused, unknown or lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from keeper.core.block import BlockRef, Call, CallResult, Log
from keeper.core.errors import ConfigError, Defect, Refused, RpcFailure, RpcTimeout
from keeper.core.lending import LogFilter
from keeper.core.order import Answer
from keeper.core.units import to_hex
from keeper.execution.live import UPKEEP_EVERY_BLOCKS, LiveSubmitter, may_go_live
from keeper.execution.loopback import is_loopback_anvil, is_loopback_url
from keeper.execution.reconcile import Reconciler
from tests.submitting import submit
from tests.unit.execution.builders import order, simulation
from tests.unit.execution.fakes import BORROWER, CHAIN_ID, MemoryIntents, MemoryNode, head, sender_on, started_on


class NoWorld:
    """For outcomes that need no reads."""

    def logs(self, log_filter: LogFilter, from_block: int, to: BlockRef) -> AsyncIterator[tuple[int, Sequence[Log]]]:
        raise AssertionError("nothing was mined, nothing is to be read")

    async def read(self, calls: Sequence[Call], block: BlockRef) -> Sequence[CallResult]:
        raise AssertionError("nothing was mined, nothing is to be read")


async def submitter_on(node: MemoryNode, store: MemoryIntents, at: int = 1) -> LiveSubmitter:
    """Started at a head."""
    permit = may_go_live(CHAIN_ID, is_testnet_preset=False, node_is_anvil_devnet=True)
    return LiveSubmitter(permit, await started_on(node, store, at), Reconciler(node, NoWorld(), {}))


class TestGuard:
    def test_testnets_by_preset_and_the_devnet_are_allowed(self) -> None:
        assert may_go_live(11155111, is_testnet_preset=True, node_is_anvil_devnet=False).chain_id == 11155111
        assert may_go_live(31337, is_testnet_preset=False, node_is_anvil_devnet=True).chain_id == 31337

    @pytest.mark.parametrize("chain_id, is_anvil", [(1, False), (1, True), (8453, True), (31337, False)])
    def test_everything_else_is_refused_in_one_line(self, chain_id: int, is_anvil: bool) -> None:
        """Also an anvil with a real network's chain id: what is signed there is valid on that network."""
        with pytest.raises(ConfigError) as caught:
            may_go_live(chain_id, is_testnet_preset=False, node_is_anvil_devnet=is_anvil)
        assert f"chain {chain_id}" in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_real_money_takes_the_very_chains_id(self) -> None:
        named = may_go_live(8453, is_testnet_preset=False, node_is_anvil_devnet=False, named_chain_id=8453)
        assert named.chain_id == 8453

    @pytest.mark.parametrize(
        "chain_id, is_anvil, why",
        [
            (1, False, "write live_chain_id = 1 into its table"),
            (10, False, "write live_chain_id = 10"),
            (8453, True, "the node is a local anvil"),
            (31337, False, "a devnet's"),
        ],
    )
    def test_anything_else_than_the_named_chain_is_refused(self, chain_id: int, is_anvil: bool, why: str) -> None:
        """Also an anvil that carries the named chain's id, and a devnet's id that somebody else's node has."""
        with pytest.raises(ConfigError, match=why):
            may_go_live(
                chain_id,
                is_testnet_preset=False,
                node_is_anvil_devnet=is_anvil,
                named_chain_id=chain_id if is_anvil or chain_id == 31337 else 8453,
            )

    async def test_an_order_for_another_chain_goes_nowhere(self) -> None:
        node = MemoryNode()
        of = replace(order(), chain_id=1)
        with pytest.raises(Defect, match="chain 1"):
            await submit(await submitter_on(node, MemoryIntents()), of, simulation(of), head(1))
        assert node.sends == []


@pytest.mark.parametrize(
    "url, loopback",
    [
        ("http://127.0.0.1:8545", True),
        ("http://localhost:8545/path", True),
        ("http://[::1]:8545", True),
        ("http://127.9.9.9", True),
        ("https://rpc.example.org", False),
        ("http://10.0.0.1:8545", False),
        ("http://127.0.0.1.example.org", False),
        ("http://localhost.example.org", False),
        ("http://user:127.0.0.1@example.org", False),
        ("", False),
    ],
)
def test_only_this_machine_is_loopback(url: str, loopback: bool) -> None:
    assert is_loopback_url(url) is loopback


async def test_a_node_that_does_not_say_it_is_anvil_is_none() -> None:
    assert not await is_loopback_anvil("http://127.0.0.1:8545", MemoryNode())


async def test_a_node_in_trouble_has_not_said_what_it_is() -> None:
    with pytest.raises(RpcTimeout):
        await is_loopback_anvil("http://127.0.0.1:8545", MemoryNode(trouble=RpcTimeout("no answer")))


async def test_both_calls_of_an_order_take_the_next_nonces() -> None:
    node, store = MemoryNode(), MemoryIntents()
    of = order(calls=2)
    submission = await submit(await submitter_on(node, store), of, simulation(of), head(1))
    assert [(sent.call_index, sent.nonce, sent.answer) for sent in submission.transactions] == [
        (0, 0, Answer.ACCEPTED),
        (1, 1, Answer.ACCEPTED),
    ]
    assert submission.mode == "live"


async def test_the_second_call_is_not_sent_when_the_first_is_refused() -> None:
    node, store = MemoryNode(answer=RpcFailure(-32000, "insufficient funds"), swallow=True), MemoryIntents()
    of = order(calls=2)
    submitter = await submitter_on(node, store)
    with pytest.raises(Refused, match="insufficient funds"):
        await submit(submitter, of, simulation(of), head(1))
    assert len(node.sends) == 1
    assert submitter.open_borrowers() == frozenset()


async def test_the_second_call_is_not_sent_while_the_first_is_unknown_and_a_lost_order_frees_its_borrower() -> None:
    node, store = MemoryNode(answer=RpcTimeout("no answer"), swallow=True), MemoryIntents()
    of = order(calls=2)
    submitter = await submitter_on(node, store)
    submission = await submit(submitter, of, simulation(of), head(1))
    assert [sent.answer for sent in submission.transactions] == [Answer.UNKNOWN, Answer.NOT_SENT]
    assert submitter.open_borrowers() == frozenset({BORROWER})
    assert [await submitter.settle(submission, head(number)) for number in (1, 2, 4)] == [None] * 3
    outcome = await submitter.settle(submission, head(5))
    assert outcome is not None
    assert (outcome.mined, outcome.restored, outcome.detail) == ((), False, "call 1 lost at nonce 0; call 2 not sent")
    assert submitter.open_borrowers() == frozenset()
    again = replace(of, attempt="5-b0b0b0b0")
    resubmitted = await submit(submitter, again, simulation(again), head(5))
    assert [sent.nonce for sent in resubmitted.transactions] == [0, 1]


async def test_nothing_is_asked_about_what_was_sent_on_this_very_head() -> None:
    node, store = MemoryNode(), MemoryIntents()
    of = order(calls=2)
    submitter = await submitter_on(node, store)
    submission = await submit(submitter, of, simulation(of), head(1))
    node.trouble = RpcTimeout("asked all the same")
    assert await submitter.settle(submission, head(1)) is None


async def test_a_refused_second_call_is_told_with_its_reason() -> None:
    node, store = MemoryNode(), MemoryIntents()
    of = order(calls=2)
    submitter = await submitter_on(node, store)
    first_send = node.request

    async def refuse_second(method: str, params: Sequence[object] = ()) -> object:
        if method == "eth_sendRawTransaction" and node.sends:
            raise RpcFailure(-32000, "txpool is full")
        return await first_send(method, params)

    node.request = refuse_second  # type: ignore[method-assign]
    submission = await submit(submitter, of, simulation(of), head(1))
    assert [sent.answer for sent in submission.transactions] == [Answer.ACCEPTED, Answer.REFUSED]
    assert submission.transactions[1].transaction_hash is None
    assert "txpool is full" in submission.transactions[1].detail
    assert await submitter.settle(submission, head(2)) is None


async def test_a_borrower_with_an_open_order_gets_no_second_one() -> None:
    node, store = MemoryNode(), MemoryIntents()
    of = order()
    submitter = await submitter_on(node, store)
    await submit(submitter, of, simulation(of), head(1))
    again = replace(of, attempt="2-b0b0b0b0")
    with pytest.raises(Refused, match="still open at nonce 0"):
        await submit(submitter, again, simulation(again), head(2))
    assert len(node.sends) == 1


async def test_a_transaction_that_was_replaced_settles_as_dropped() -> None:
    node, store = MemoryNode(), MemoryIntents()
    of = order()
    submitter = await submitter_on(node, store)
    submission = await submit(submitter, of, simulation(of), head(1))
    node.pool.clear()
    node.mined[0] = type(head(1).hash)(b"\x99" * 32)
    assert await submitter.settle(submission, head(2)) is None
    outcome = await submitter.settle(submission, head(5))
    assert outcome is not None
    assert outcome.detail == "call 1 dropped at nonce 0"


async def test_start_tells_what_an_earlier_run_left() -> None:
    node, store = MemoryNode(), MemoryIntents()
    of = order()
    await submit(await submitter_on(node, store), of, simulation(of), head(1))
    node.mine(0, 2)
    permit = may_go_live(CHAIN_ID, is_testnet_preset=False, node_is_anvil_devnet=True)
    restarted = LiveSubmitter(permit, sender_on(node, store), Reconciler(node, NoWorld(), {}))
    [followed] = await restarted.start(head(2))
    assert (followed.intent.attempt, followed.intent.status.value) == (of.attempt, "mined")
    assert followed.receipt is not None
    assert to_hex(followed.receipt.transaction_hash) == to_hex(followed.intent.transaction_hash)


async def test_what_an_earlier_run_left_is_followed_until_it_is_closed() -> None:
    node, store = MemoryNode(), MemoryIntents()
    of = order()
    await submit(await submitter_on(node, store), of, simulation(of), head(1))
    restarted = await submitter_on(node, store, at=2)
    await restarted.follow_up(head(2))
    assert restarted.open_borrowers() == frozenset({BORROWER})
    node.mine(0, 3)
    await restarted.follow_up(head(3))
    assert restarted.open_borrowers() == frozenset()
    assert store.statuses() == [(0, "mined")]


async def test_following_up_does_not_take_a_transaction_from_who_settles_it() -> None:
    node, store = MemoryNode(), MemoryIntents()
    of = order()
    submitter = await submitter_on(node, store)
    submission = await submit(submitter, of, simulation(of), head(1))
    node.mined[0] = type(head(1).hash)(b"\x99" * 32)
    node.pool.clear()
    for number in (2, 5):
        await submitter.follow_up(head(number))
    outcome = await submitter.settle(submission, head(5))
    assert outcome is not None
    assert outcome.detail == "call 1 dropped at nonce 0"


async def test_upkeep_does_not_wait_for_what_is_lost() -> None:
    """A reorg may lose an approval for good: only the upkeep sends the one that takes its nonce."""
    kept: list[int] = []

    async def upkeep(at: BlockRef) -> None:
        kept.append(at.number)

    node, store = MemoryNode(answer=RpcTimeout("no answer"), swallow=True), MemoryIntents()
    permit = may_go_live(CHAIN_ID, is_testnet_preset=False, node_is_anvil_devnet=True)
    submitter = LiveSubmitter(permit, await started_on(node, store), Reconciler(node, NoWorld(), {}), upkeep)
    await submitter.start(head(1))
    of = order()
    await submit(submitter, of, simulation(of), head(1))
    for number in (2, 3, UPKEEP_EVERY_BLOCKS + 1):
        await submitter.follow_up(head(number))
    assert store.statuses() == [(0, "lost")]
    assert kept == [UPKEEP_EVERY_BLOCKS + 1]
