from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeper.core.errors import Defect
from keeper.core.events import LARGEST_EXACT_NUMBER, MONEY_SUFFIXES, Field
from keeper.core.intent import Intent, IntentStatus
from keeper.core.units import Address, Hash32
from keeper.store.encoding import (
    fields_text,
    intent_from_row,
    intent_row,
    utc_text,
)
from tests.unit.store.facts import ATTEMPT, BORROWER, LIQUIDATOR


@given(amount=st.integers(min_value=-(2**256), max_value=2**256), suffix=st.sampled_from(MONEY_SUFFIXES))
def test_money_is_exact_decimal_text_whatever_its_size(amount: int, suffix: str) -> None:
    name = f"health{suffix}"
    written = json.loads(fields_text({name: amount, "calls": [{name: amount}]}))
    assert written == {name: str(amount), "calls": [{name: str(amount)}]}


@given(number=st.integers(min_value=-(2**80), max_value=2**80))
def test_other_integers_are_numbers_as_long_as_every_reader_keeps_their_digits(number: int) -> None:
    written = json.loads(fields_text({"gas_used": number}))["gas_used"]
    assert written == (number if abs(number) <= LARGEST_EXACT_NUMBER else str(number))


def test_text_truth_and_nothing_stay_what_they_are() -> None:
    fields: dict[str, Field] = {"detail": "ü\x1b[1m", "disturbed": True, "clip": None, "markets": ["a", "b"]}
    assert json.loads(fields_text(fields)) == fields
    assert fields_text(fields).isascii()


@pytest.mark.parametrize("item", [1.5, b"raw", (1, 2)])
def test_what_cannot_be_written_exactly_is_a_defect(item: object) -> None:
    with pytest.raises(Defect, match="gain"):
        fields_text({"gain": item})  # type: ignore[dict-item]


def test_times_are_utc_with_milliseconds() -> None:
    assert utc_text(datetime(2026, 1, 31, 12, 0, 0, 123_999, UTC)) == "2026-01-31T12:00:00.123Z"
    east = timezone(timedelta(hours=2))
    assert utc_text(datetime(2026, 1, 31, 14, 0, tzinfo=east)) == "2026-01-31T12:00:00.000Z"


@pytest.mark.parametrize("borrower", [BORROWER, None])
def test_an_intent_comes_back_as_it_went_in(borrower: Address | None) -> None:
    intent = Intent(
        31_337,
        LIQUIDATOR,
        7,
        Hash32(b"\x0a" * 32),
        b"\x02\xff",
        ATTEMPT,
        borrower,
        1,
        100,
        IntentStatus.UNKNOWN,
    )
    assert intent_from_row(intent_row(intent, "now")) == intent
