"""The rule for the next nonce."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeper.core.errors import Refused
from keeper.core.intent import Intent, IntentStatus
from keeper.core.units import Hash32
from keeper.execution.nonces import HELD, Overdue, Remedy, check_borrower, free_nonces, overdue
from tests.unit.execution.fakes import BORROWER, CHAIN_ID, OTHER_BORROWER, signer


def intent(nonce: int, status: IntentStatus, attempt: str = "1-b0", borrower: bytes = BORROWER) -> Intent:
    return Intent(
        chain_id=CHAIN_ID,
        signer=signer().address,
        nonce=nonce,
        transaction_hash=Hash32(nonce.to_bytes(32, "big")),
        raw_transaction=b"\x02",
        attempt=attempt,
        borrower=type(BORROWER)(borrower),
        call_index=0,
        submitted_block=1,
        status=status,
    )


SENT, LOST = IntentStatus.SENT, IntentStatus.LOST


def next_nonce(pending_count: int, open_intents: Sequence[Intent]) -> int:
    return next(free_nonces(pending_count, open_intents))


def test_the_pending_count_is_next_when_nothing_is_open() -> None:
    assert next_nonce(7, []) == 7


def test_our_own_transactions_that_the_node_has_not_counted_are_passed_over() -> None:
    assert next_nonce(7, [intent(7, SENT), intent(8, SENT)]) == 9


def test_what_the_node_counted_already_changes_nothing() -> None:
    assert next_nonce(7, [intent(5, SENT), intent(6, IntentStatus.UNKNOWN)]) == 7


def test_a_gap_below_our_own_is_filled_first() -> None:
    assert next_nonce(7, [intent(8, SENT)]) == 7


def test_a_lost_nonce_is_taken_again() -> None:
    assert next_nonce(7, [intent(7, LOST), intent(8, SENT)]) == 7


def test_a_lost_nonce_that_was_taken_again_is_held_by_its_new_transaction() -> None:
    assert next_nonce(7, [intent(7, LOST), intent(7, SENT)]) == 8


@pytest.mark.parametrize("status", [IntentStatus.INTENDED, IntentStatus.UNKNOWN])
def test_nothing_is_sent_above_an_undecided_nonce(status: IntentStatus) -> None:
    with pytest.raises(Refused, match="nonce 7 is undecided"):
        next_nonce(7, [intent(7, status)])


@given(st.integers(0, 20), st.lists(st.tuples(st.integers(0, 30), st.sampled_from([SENT, LOST])), max_size=20))
def test_never_a_hole_and_never_a_held_nonce(pending: int, open_: list[tuple[int, IntentStatus]]) -> None:
    intents = [intent(nonce, status) for nonce, status in open_]
    chosen = next_nonce(pending, intents)
    held = {each.nonce for each in intents if each.status in HELD}
    assert chosen >= pending
    assert chosen not in held
    assert all(between in held for between in range(pending, chosen))


def test_a_borrower_with_an_open_transaction_gets_no_other() -> None:
    with pytest.raises(Refused, match="still open at nonce 6"):
        check_borrower(7, "2-b0", BORROWER, [intent(6, SENT)])


@pytest.mark.parametrize("elsewhere", [6, 8])
def test_a_lost_one_is_replaced_on_its_own_nonce_only(elsewhere: int) -> None:
    """On another one, below or above, both could be mined."""
    check_borrower(7, "2-b0", BORROWER, [intent(7, LOST)])
    with pytest.raises(Refused, match="still open at nonce 7"):
        check_borrower(elsewhere, "2-b0", BORROWER, [intent(7, LOST)])


def test_other_borrowers_and_the_attempt_itself_do_not_matter() -> None:
    open_ = [intent(6, SENT, borrower=OTHER_BORROWER), intent(7, SENT, attempt="2-b0")]
    check_borrower(8, "2-b0", BORROWER, open_)
    assert next_nonce(6, open_) == 8


def test_nothing_is_replaced_above_a_nonce_that_is_undecided() -> None:
    """Until the node has counted it: then it is used, whatever our own transaction there came to."""
    undecided, waiting = intent(7, IntentStatus.UNKNOWN), intent(8, SENT)
    assert overdue(7, [undecided, waiting], 100, 5) == []
    assert overdue(8, [undecided, waiting], 100, 5) == [
        Overdue(8, Remedy.CANCEL, (waiting,), "not mined since block 1")
    ]
