"""Several signers behind one submitter: one queue of transactions each, with its own nonces, beside the others."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from keeper.core.block import BlockRef
from keeper.core.decision import Promised, Unread
from keeper.core.errors import ChainError, Refused
from keeper.core.order import Order, Outcome, Simulation, Submission
from keeper.core.units import Address
from keeper.pipeline.tasks import all_together
from keeper.ports import Submitter

Ready = Sequence[tuple[Order, Simulation]]
Answer = TypeVar("Answer")


class Queues:
    """`keeper.ports.Submitter` for all signers of a chain, of which each sends what names it. The node's trouble with one keeps
    none of the others from their turn."""

    rehearses = False

    def __init__(self, by_signer: Mapping[Address, Submitter], left_behind: Sequence[Submitter] = ()) -> None:
        """`left_behind`: of signers that send nothing any more, but of whom something may still be mined."""
        self._by_signer = by_signer
        self._all = [*by_signer.values(), *left_behind]
        self._untold: list[Outcome | Unread] = []
        """What came of attempts while another signer was in trouble: told with the next ones."""
        self._refused: dict[Address, int] = {}
        """Whose last orders were all refused, with the head: its key or its nonces may be held up."""

    async def prepare(self, head: BlockRef) -> None:
        await self._each(lambda queue: queue.prepare(head))

    def open_borrowers(self) -> frozenset[Address]:
        return frozenset().union(*(queue.open_borrowers() for queue in self._all))

    def reserved(self) -> Mapping[Address, Address]:
        return {borrower: signer for queue in self._all for borrower, signer in queue.reserved().items()}

    def room(self, signer: Address, head: BlockRef) -> int | None:
        """0 for the rest of a head at which it was refused, as long as another one may send: whoever sends nothing always has
        the most room."""
        resting = {each for each, number in self._refused.items() if number == head.number}
        return (
            0 if signer in resting and resting < self._by_signer.keys() else self._by_signer[signer].room(signer, head)
        )

    def promised(self, signer: Address) -> Promised:
        return self._by_signer[signer].promised(signer)

    async def submit(self, ready: Ready, head: BlockRef) -> Sequence[Submission | Refused]:
        """See `keeper.ports.Submitter`. One that cannot ask the node has signed nothing: where others have sent, its orders are
        refused, else its trouble is raised."""
        answers: dict[str, Submission | Refused] = {}

        async def sent_by(signer: Address, queue: Submitter) -> ChainError | None:
            own = [(order, simulation) for order, simulation in ready if order.signer == signer]
            try:
                told = await queue.submit(own, head) if own else []
            except ChainError as trouble:
                return trouble
            answers.update({order.attempt: answer for (order, _), answer in zip(own, told, strict=True)})
            if own and all(isinstance(answer, Refused) for answer in told):
                self._refused[signer] = head.number
            return None

        found = await all_together([sent_by(signer, queue) for signer, queue in self._by_signer.items()])
        troubles = [trouble for trouble in found if trouble is not None]
        if troubles and not answers:
            raise troubles[0]
        return [answers.get(order.attempt) or Refused(f"nothing was signed: {troubles[0]}") for order, _ in ready]

    async def follow_up(self, head: BlockRef) -> Sequence[Outcome | Unread]:
        async def look(queue: Submitter) -> None:
            self._untold += await queue.follow_up(head)

        await self._each(look)
        told, self._untold = self._untold, []
        return told

    async def cancel_open(self, head: BlockRef) -> int:
        return sum(await self._each(lambda queue: queue.cancel_open(head)))

    async def settle(self, submission: Submission, head: BlockRef) -> Outcome | None:
        return await self._by_signer[submission.order.signer].settle(submission, head)

    async def _each(self, act: Callable[[Submitter], Coroutine[Any, Any, Answer]]) -> list[Answer]:
        """All of them at once, each to its end. Raises the first trouble with the node."""

        async def tried(queue: Submitter) -> Answer | ChainError:
            try:
                return await act(queue)
            except ChainError as trouble:
                return trouble

        found = await all_together([tried(queue) for queue in self._all])
        for each in found:
            if isinstance(each, ChainError):
                raise each
        return [each for each in found if not isinstance(each, ChainError)]
