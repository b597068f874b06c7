"""Several signers behind one submitter, and what is left to each: nobody's trouble is another's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from keeper.core.block import BlockRef
from keeper.core.decision import NOTHING_PROMISED, Promised, Unread
from keeper.core.errors import ChainError, Refused, RpcFailure
from keeper.core.order import Answer, Order, Outcome, SentTransaction, Simulation, Submission
from keeper.core.outcome import Reason, Skip
from keeper.core.standing import Funds
from keeper.core.units import Address
from keeper.execution.reconcile import not_mined
from keeper.pipeline.budget import Budget, Budgets
from keeper.pipeline.queues import Queues
from tests.unit.execution.builders import order, simulation
from tests.unit.execution.fakes import POOL, TOKEN, head

FIRST, SECOND, THIRD = (Address(bytes([number]) * 20) for number in (1, 2, 3))
BORROWERS = [Address(bytes([0xB0 + number]) * 20) for number in range(4)]


@dataclass
class OneSigner:
    """A submitter of one signer that does as it is told."""

    busy: frozenset[Address] = frozenset()
    lost: Mapping[Address, Address] = field(default_factory=dict)
    trouble: ChainError | None = None
    refuses: bool = False
    outcomes: list[Outcome | Unread] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    heads: list[int] = field(default_factory=list)
    rehearses: bool = False

    def _tried(self, head: BlockRef) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.heads.append(head.number)

    async def prepare(self, head: BlockRef) -> None:
        self._tried(head)

    def open_borrowers(self) -> frozenset[Address]:
        return self.busy

    def reserved(self) -> Mapping[Address, Address]:
        return self.lost

    def room(self, signer: Address, head: BlockRef) -> int:
        return 7

    def promised(self, signer: Address) -> Promised:
        return NOTHING_PROMISED

    async def submit(self, ready: Sequence[tuple[Order, Simulation]], head: BlockRef) -> Sequence[Submission | Refused]:
        self._tried(head)
        if self.refuses:
            return [Refused("the key is away") for _ in ready]
        self.sent += [order.attempt for order, _ in ready]
        return [
            Submission(order, "live", head.number, (SentTransaction(0, None, 0, Answer.ACCEPTED),), simulation)
            for order, simulation in ready
        ]

    async def follow_up(self, head: BlockRef) -> Sequence[Outcome | Unread]:
        self._tried(head)
        told, self.outcomes = self.outcomes, []
        return told

    async def cancel_open(self, head: BlockRef) -> int:
        self._tried(head)
        return 2

    async def settle(self, submission: Submission, head: BlockRef) -> Outcome | None:
        return not_mined(submission.order, "by its own signer" if self.sent else "by another")


def ready_for(*signers: Address) -> list[tuple[Order, Simulation]]:
    found = []
    for number, signer in enumerate(signers):
        made = order(borrower=BORROWERS[number], attempt=f"1-{number}", signer=signer)
        found.append((made, simulation(made)))
    return found


async def test_each_sends_its_own_in_their_order_and_settles_them() -> None:
    first, second = OneSigner(), OneSigner()
    queues = Queues({FIRST: first, SECOND: second})
    answers = await queues.submit(ready_for(FIRST, SECOND, FIRST, SECOND), head(1))
    assert (first.sent, second.sent) == (["1-0", "1-2"], ["1-1", "1-3"])
    submissions = [each for each in answers if isinstance(each, Submission)]
    assert [each.order.attempt for each in submissions] == ["1-0", "1-1", "1-2", "1-3"], (
        "each answer stands where it was asked"
    )
    outcomes = [await queues.settle(each, head(2)) for each in submissions]
    assert [each.detail for each in outcomes if each is not None] == ["by its own signer"] * 4


async def test_who_is_busy_or_reserved_with_one_is_so_for_all() -> None:
    first, second = OneSigner(busy=frozenset({BORROWERS[0]})), OneSigner(lost={BORROWERS[1]: SECOND})
    gone = OneSigner(busy=frozenset({BORROWERS[2]}), lost={BORROWERS[3]: THIRD})
    queues = Queues({FIRST: first, SECOND: second}, [gone])
    assert queues.open_borrowers() == {BORROWERS[0], BORROWERS[2]}
    assert queues.reserved() == {BORROWERS[1]: SECOND, BORROWERS[3]: THIRD}
    await queues.prepare(head(1))
    assert gone.heads == [1]


async def test_what_one_has_sent_is_not_lost_in_the_trouble_of_another() -> None:
    first, second = OneSigner(trouble=RpcFailure(-32000, "not now")), OneSigner()
    queues = Queues({FIRST: first, SECOND: second})
    refused, sent = await queues.submit(ready_for(FIRST, SECOND), head(1))
    assert "nothing was signed: not now" in str(refused)
    assert isinstance(sent, Submission)
    with pytest.raises(ChainError, match="not now"):
        await queues.submit(ready_for(FIRST), head(1))


async def test_the_others_have_their_turn_and_what_they_tell_is_kept() -> None:
    told = not_mined(order(), "told once")
    first, second = OneSigner(trouble=RpcFailure(-32000, "not now")), OneSigner(outcomes=[told])
    queues = Queues({FIRST: first, SECOND: second})
    for act in (queues.prepare, queues.follow_up, queues.cancel_open):
        with pytest.raises(ChainError, match="not now"):
            await act(head(1))
    assert second.heads == [1, 1, 1]
    first.trouble = None
    assert await queues.follow_up(head(2)) == [told]
    assert await queues.follow_up(head(3)) == []
    assert await queues.cancel_open(head(3)) == 4


async def test_who_was_refused_is_passed_over_for_the_rest_of_the_head() -> None:
    """Else whoever cannot sign, and so always has the most room, would be given every order."""
    first, second = OneSigner(refuses=True), OneSigner()
    queues = Queues({FIRST: first, SECOND: second})

    def rooms(number: int) -> list[int | None]:
        return [queues.room(signer, head(number)) for signer in (FIRST, SECOND)]

    await queues.submit(ready_for(FIRST), head(1))
    assert rooms(1) == [0, 7]
    assert rooms(2) == [7, 7], "tried again at the next"
    alone = Queues({FIRST: first}, [second])
    await alone.submit(ready_for(FIRST), head(1))
    assert alone.room(FIRST, head(1)) == 7, "who is only followed sends nothing"
    second.refuses = True
    await queues.submit(ready_for(FIRST, SECOND), head(2))
    assert rooms(2) == [7, 7], "there is nobody else"


# -- what is left to each ----------------------------------------------------------------------------------------------


def budgets(first_raw: int | None, second_raw: int | None, *, gas_wei: int | None = 10**18) -> Budgets:
    return Budgets(
        {
            FIRST: Budget({(TOKEN, POOL): Funds(first_raw, first_raw)}, gas_wei),
            SECOND: Budget({(TOKEN, POOL): Funds(second_raw, second_raw)}, gas_wei),
        }
    )


def taken(
    of: Budgets, rooms: Mapping[Address, int | None], number: int = 0, reserved: Mapping[Address, Address] | None = None
) -> Address | Skip:
    return of.take(order(borrower=BORROWERS[number]).offer, POOL, 10**15, rooms, reserved or {})


def test_who_has_the_money_takes_it_and_what_was_taken_is_gone() -> None:
    two = budgets(1_500, 1_000)
    both = {FIRST: 5, SECOND: 5}
    assert [taken(two, both, number) for number in range(2)] == [FIRST, SECOND]
    refused = taken(two, both, 2)
    assert isinstance(refused, Skip) and refused.reason is Reason.RESERVED
    offer = order(borrower=BORROWERS[1]).offer
    two.release(SECOND, offer, POOL, 10**15)
    assert taken(two, both, 2) == SECOND


def test_signers_of_one_executor_share_what_it_holds() -> None:
    funds, reserved_raw = {(TOKEN, POOL): Funds(1_500, 1_500)}, dict[tuple[Address, Address], int]()
    two = Budgets({signer: Budget(funds, 10**18, reserved_raw) for signer in (FIRST, SECOND)})
    assert not isinstance(taken(two, {FIRST: 5, SECOND: 5}), Skip)
    refused = taken(two, {FIRST: 5, SECOND: 5}, 1)
    assert isinstance(refused, Skip) and refused.reason is Reason.RESERVED


def test_the_most_room_is_filled_first_and_without_room_everybody_waits() -> None:
    two = budgets(None, None, gas_wei=None)
    assert taken(two, {FIRST: 1, SECOND: 4}) == SECOND
    assert taken(two, {FIRST: None, SECOND: 4}) == FIRST, "without bound"
    full = taken(two, {FIRST: 0, SECOND: 0})
    assert isinstance(full, Skip) and full.reason is Reason.RESERVED and "waits for the next blocks" in full.detail


def test_a_borrower_of_one_is_left_to_it_even_while_it_sends_nothing() -> None:
    two = budgets(10_000, 10_000)
    mine = {BORROWERS[0]: FIRST}
    assert taken(two, {FIRST: 1, SECOND: 9}, reserved=mine) == FIRST
    waits = taken(two, {SECOND: 9}, reserved=mine)
    assert isinstance(waits, Skip) and waits.reason is Reason.RESERVED and "may still be mined" in waits.detail
    assert taken(two, {SECOND: 9}, 1, reserved=mine) == SECOND


def test_without_gas_or_inventory_the_reason_says_so() -> None:
    poor = taken(budgets(10_000, 10_000, gas_wei=5), {FIRST: 5, SECOND: 5})
    assert isinstance(poor, Skip) and "gas may cost" in poor.detail
    empty = taken(budgets(1, 2), {FIRST: 5, SECOND: 5})
    assert isinstance(empty, Skip) and empty.reason is Reason.NO_INVENTORY
