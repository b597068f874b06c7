"""What the chains of one process spend together."""

from __future__ import annotations

import pytest

from keeper.core.errors import Refused
from keeper.core.intent import Intent, IntentStatus
from keeper.core.ledger import Purpose, Stake
from keeper.core.rails import Limit, Limits
from keeper.core.spending import OnItsWay, Spending
from keeper.core.units import Hash32
from keeper.pipeline.rails import Rails, SharedPurse
from tests.toy_ports import Faults
from tests.toy_records import MemoryJournal, MemoryLedger, MemoryPauses
from tests.unit.execution.fakes import head, signer

US = signer().address
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
