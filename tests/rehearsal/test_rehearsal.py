"""The daemon, live, started from a testnet preset, behind an endpoint with a public one's manners."""

from __future__ import annotations

import sys

import pytest

from tests.rehearsal.play import rehearse
from tests.rehearsal.terms import LONG, SHORT, Terms


def _say(what: str) -> None:
    sys.stderr.write(f"{what}\n")


@pytest.mark.parametrize(
    "terms",
    [
        pytest.param(SHORT, id="short"),
        pytest.param(LONG, id="long", marks=[pytest.mark.long, pytest.mark.timeout(3_600)]),
    ],
)
async def test_nobody_is_missed(terms: Terms) -> None:
    report = await rehearse(terms, _say)
    assert report.problems == [], report.figures
