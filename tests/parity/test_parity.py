"""A dry run tells, up to submission, what a live one tells of the same head: seeded markets and wishes, on real contracts."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from keeper.core.events import Event, Kind
from tests.parity.runs import differences, stage

SEEDS = range(100 if os.environ.get("KEEPER_LONG") else 3)
AT_A_TIME = 10
"""On one anvil, one after the other."""


@pytest.mark.parametrize("first", SEEDS[::AT_A_TIME], ids=str)
async def test_dry_and_live_judge_a_head_alike(first: int, tmp_path: Path) -> None:
    async with stage(tmp_path) as set_up:
        compared = [
            await set_up.compare(seed, tmp_path / str(seed)) for seed in SEEDS if first <= seed < first + AT_A_TIME
        ]
    for each in compared:
        assert not each.differences, f"seed {each.seed}: replay it with `python -m tests.parity {each.seed}`"
    assert any(each.orders or each.reasons for each in compared), "somebody was below 1"


def test_what_differs_is_told_and_what_must_differ_is_not() -> None:
    one = Event(Kind.SENT, "devnet", 7, fields={"mode": "dry", "max_fee_wei": 5, "calls": [{"nonce": None, "gas": 1}]})
    other = replace(one, fields={"mode": "live", "max_fee_wei": 5, "calls": [{"nonce": 3, "gas": 1}]})
    assert differences([one], [other]) == []
    for changed in (
        replace(other, block_number=8),
        replace(other, fields={**other.fields, "max_fee_wei": 6}),
        replace(other, fields={**other.fields, "calls": [{"nonce": 3, "gas": 2}]}),
        replace(other, attempt="another"),
    ):
        assert len(differences([one], [changed])) == 1
    assert len(differences([one, one], [other])) == 1
