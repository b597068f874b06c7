"""The tables of plain words are complete: every reason, verdict, clip, status and ending has its sentence."""

from __future__ import annotations

from keeper.cli.story import _TELLERS
from keeper.cli.words import (
    CLIPS,
    ENDINGS,
    INTENTS,
    NORMAL_TO_LAST,
    REASONS,
    VERDICTS,
    reason_sentence,
    verdict_words,
)
from keeper.core.events import Kind
from keeper.core.intent import IntentStatus
from keeper.core.outcome import Reason, Verdict
from keeper.core.plan import Clip
from keeper.core.standing import ORDERED
from keeper.store.standing_changes import Ended


def test_every_member_has_its_words() -> None:
    assert set(REASONS) == {*Reason, ORDERED}
    assert set(VERDICTS) == set(Verdict)
    assert set(CLIPS) == set(Clip)
    assert set(INTENTS) == set(IntentStatus)
    assert set(ENDINGS) == set(Ended)
    assert set(_TELLERS) == set(Kind)
    assert set(Reason) >= NORMAL_TO_LAST


def test_sentences_are_sentences_and_no_two_say_the_same() -> None:
    assert all(text[0].isupper() and text.endswith(".") for text in REASONS.values())
    for table in (REASONS, VERDICTS, CLIPS, INTENTS, ENDINGS):
        assert len(set(table.values())) == len(table)


def test_what_a_newer_keeper_wrote_is_shown_by_its_name() -> None:
    assert reason_sentence("eclipse") == "Reason: eclipse."
    assert verdict_words("splendid") == "splendid"
    assert verdict_words("improves").endswith("(improves)")
