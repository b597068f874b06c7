"""Borrowers below 1 for ever take their place in the store once: what changes with every block in their texts is no news."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import journal_growth

BORROWERS, HEADS = 100, 200


@pytest.mark.parametrize("bad_day", [False, True], ids=["steady", "bad day"])
async def test_heads_after_the_first_add_no_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, bad_day: bool
) -> None:
    """The bad day has errors whose numbers change, and fees that cross the cap and come back."""
    monkeypatch.setattr(journal_growth, "WHO", journal_growth.WHO[:BORROWERS])
    monkeypatch.setattr(journal_growth, "HEADS", HEADS + 100)
    found = await journal_growth.simulate(tmp_path / "keeper.db", bad_day=bad_day, heads=HEADS)
    assert found.rows == {"events": 2 * BORROWERS, "standing": BORROWERS, "watches": 1}
