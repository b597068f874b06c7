"""Dry: nothing is sent, and the simulation is told as what it is."""

from __future__ import annotations

import inspect
from dataclasses import replace

import pytest

from keeper.core.order import Answer, Order
from keeper.core.outcome import Verdict
from keeper.core.units import WAD
from keeper.execution import dry, promise
from keeper.execution.dry import DrySubmitter
from tests.submitting import submit
from tests.unit.execution.builders import order, plan, simulation
from tests.unit.execution.fakes import head


async def _told(of: Order, health_after_wad: int | None = None) -> tuple[bool, int | None, bool | None, str]:
    submitter = DrySubmitter()
    submission = await submit(submitter, of, simulation(of, health_after_wad=health_after_wad), head(1))
    outcome = await submitter.settle(submission, head(1))
    assert outcome is not None
    return outcome.restored, outcome.model_error_wad, outcome.amounts_match, outcome.detail


async def test_nothing_is_on_its_way() -> None:
    of = order(calls=2)
    submission = await submit(DrySubmitter(), of, simulation(of), head(3))
    assert [(sent.transaction_hash, sent.nonce, sent.answer) for sent in submission.transactions] == [
        (None, None, Answer.NOT_SENT)
    ] * 2
    assert (submission.mode, submission.submitted_block) == ("dry", 3)


async def test_a_simulation_that_agrees_would_have_restored_the_borrower() -> None:
    assert await _told(order()) == (True, 0, True, "simulated: nothing was sent")


async def test_a_simulation_that_differs_is_told_as_such() -> None:
    assert await _told(order(), health_after_wad=104 * WAD // 100) == (
        False,
        -WAD // 100,
        True,
        "simulated: nothing was sent",
    )
    of = order()
    short = simulation(of)
    event = replace(short.calls[0].liquidations[0], received_raw=1)
    short = replace(short, calls=(replace(short.calls[0], liquidations=(event,)),))
    outcome = await DrySubmitter().settle(await submit(DrySubmitter(), of, short, head(1)), head(1))
    assert outcome is not None
    assert (outcome.amounts_match, outcome.mined, outcome.profit) == (False, (), of.offer.profit)


def test_there_is_nothing_in_it_to_send_with() -> None:
    """Neither a node nor a key reaches the submitter: it takes no arguments, and its module imports neither."""
    assert list(inspect.signature(DrySubmitter).parameters) == []
    source = inspect.getsource(dry) + inspect.getsource(promise)
    assert not any(word in source for word in ("rpc", "signing", "eth_", "request("))


@pytest.mark.parametrize(
    "verdict, after_wad, kept",
    [
        (Verdict.REACHES_TARGET, 105 * WAD // 100, True),
        (Verdict.REACHES_TARGET, 105 * WAD // 100 - 1, False),
        (Verdict.REACHES_SAFETY, WAD, True),
        (Verdict.REACHES_SAFETY, WAD - 1, False),
        (Verdict.IMPROVES, 9 * WAD // 10 + 1, True),
        (Verdict.IMPROVES, 9 * WAD // 10, False),
        (Verdict.BAD_DEBT, 2**256 - 1, True),
        (Verdict.BAD_DEBT, 0, False),
        (Verdict.TOXIC, 2**256 - 1, False),
    ],
)
def test_each_verdict_keeps_its_own_promise(verdict: Verdict, after_wad: int, kept: bool) -> None:
    assert promise.keeps_promise(plan(verdict), after_wad) is kept
