"""One order through a submitter, for tests that look at one."""

from __future__ import annotations

from keeper.core.block import BlockRef
from keeper.core.errors import Refused
from keeper.core.order import Order, Simulation, Submission
from keeper.ports import Submitter


async def submit(submitter: Submitter, order: Order, simulation: Simulation, head: BlockRef) -> Submission:
    """Raises `Refused` when nothing of it was accepted."""
    [answer] = await submitter.submit([(order, simulation)], head)
    if isinstance(answer, Refused):
        raise answer
    return answer
