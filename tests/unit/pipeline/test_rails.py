"""What the chains of one process spend together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keeper.core.errors import Refused
from keeper.core.events import Kind
from keeper.core.intent import Intent, IntentStatus
from keeper.core.ledger import Purpose, Stake
from keeper.core.outcome import Reason, Skip
from keeper.core.pauses import Pause, Scope
from keeper.core.rails import Limit, Limits
from keeper.core.spending import OnItsWay, Settled, Spending
from keeper.core.units import Address, Hash32, to_hex
from keeper.pipeline.railing import Railing
from keeper.pipeline.rails import Rails, SharedPurse
from tests.toy_ports import Faults
from tests.toy_records import MemoryJournal, MemoryLedger, MemoryPauses
from tests.unit.execution.builders import order
from tests.unit.execution.fakes import head, signer

US = signer().address
THEM = Address(b"\x22" * 20)
SIX = Stake(0, 0, 6)


def rails_on(chain_id: int, purse: SharedPurse) -> Rails:
    return Rails("toy", chain_id, US, Limits(), 0, purse, MemoryPauses(), MemoryJournal(Faults()))


def intent_on(chain_id: int) -> Intent:
    return Intent(
        chain_id=chain_id,
        signer=US,
        nonce=0,
        transaction_hash=Hash32(chain_id.to_bytes(32, "big")),
        raw_transaction=b"",
        attempt="allowance",
        borrower=None,
        call_index=0,
        submitted_block=1,
        status=IntentStatus.INTENDED,
        purpose=Purpose.ALLOWANCE,
        stake=SIX,
    )


async def test_what_one_chain_has_sent_counts_for_another_before_its_next_head() -> None:
    ledger = MemoryLedger()
    purse = SharedPurse(ledger, Limits(loss_wad=Limit(per_hour=10)))
    first, second = rails_on(1, purse), rails_on(2, purse)
    await first.look(head(1))
    await second.look(head(1))
    first.check([intent_on(1)])
    with pytest.raises(Refused, match="the limit is"):
        second.check([intent_on(2)])
    ledger.becomes(Spending((), (OnItsWay(1, US, 0, "allowance", SIX),), ()))
    await first.refresh(head(2))
    with pytest.raises(Refused, match="the limit is"):
        second.check([intent_on(2)])


class Scene:
    """Two signers of a chain."""

    def __init__(self, together: Limits | None = None) -> None:
        self.pauses, self.journal = MemoryPauses(), MemoryJournal(Faults())
        self.ledger, told = MemoryLedger(), set[int]()
        purse = SharedPurse(self.ledger, together or Limits())
        self.railing = Railing(
            {each: Rails("toy", 1, each, Limits(), 0, purse, self.pauses, self.journal, told) for each in (US, THEM)}
        )


async def test_a_pause_of_one_signer_leaves_the_others_at_work() -> None:
    here = Scene()
    await here.pauses.pause(Pause(Scope(1, US), "gas", "too much"))
    await here.railing.look(head(1))
    assert (here.railing.unpaused, here.railing.paused) == ([THEM], None)
    assert here.railing.paused_signers == {US: "gas: too much"}
    await here.pauses.pause(Pause(Scope(1, THEM), "loss", "too much"))
    await here.railing.look(head(2))
    assert here.railing.paused == "gas: too much; loss: too much"
    assert [event.fields["signer"] for event in here.journal.of(Kind.PAUSED)] == [to_hex(US), to_hex(THEM)]


async def test_a_pause_of_all_is_told_once_and_so_is_its_end() -> None:
    here = Scene()
    await here.pauses.pause(Pause(Scope(1), "operator", "enough"))
    for number in (1, 2):
        await here.railing.look(head(number))
    assert here.railing.paused == "operator: enough"
    await here.pauses.lift(None, "operator")
    for number in (3, 4):
        await here.railing.look(head(number))
    assert here.railing.unpaused == [US, THEM]
    assert [event.kind for event in here.journal.events] == [Kind.PAUSED, Kind.RESUMED]


async def test_what_trips_for_one_may_hold_all_at_once() -> None:
    """What is left of the limit of all together is too little for the order of one: then nobody sends."""
    here = Scene(Limits(loss_wad=Limit(per_hour=10)))
    lost = Settled(1, 1, US, head(1).timestamp_s, succeeded=True, cost_wei=0, value=None, stake=SIX)
    here.ledger.becomes(Spending((lost,), (), ()))
    await here.railing.look(head(1))
    answer = await here.railing.judge(replace(order(signer=THEM), stakes=(SIX,)), head(1))
    assert isinstance(answer, Skip) and answer.reason is Reason.PAUSED
    assert here.railing.unpaused == []
    assert len(here.journal.of(Kind.PAUSED)) == 1


async def test_whose_transactions_are_left_behind_is_known_from_the_store() -> None:
    here = Scene()
    stranger = Address(b"\x99" * 20)
    there = (
        OnItsWay(1, US, 0, "1-b0", SIX),
        OnItsWay(1, stranger, 3, "1-b1", SIX),
        OnItsWay(2, stranger, 4, "1-b2", SIX),
    )
    here.ledger.becomes(Spending((), there, ()))
    assert await here.railing.others_on_their_way(1, head(1).timestamp_s) == [stranger]
