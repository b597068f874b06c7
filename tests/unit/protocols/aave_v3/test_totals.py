"""Totals of one reserve: read in order, and nothing made of odd answers."""

from __future__ import annotations

import pytest
from eth_abi.abi import encode

from keeper.core.block import CallResult
from keeper.core.errors import MalformedResponse
from keeper.core.lending import ReserveTotals
from keeper.core.units import RAY
from keeper.protocols.aave_v3.totals import decode_totals, encode_totals
from tests.unit.protocols.aave_v3.builders import make_market, make_reserve

MARKET = make_market("3.6", [make_reserve(0), make_reserve(5)], [])
WORDS = [CallResult(True, encode(["uint256"], [number])) for number in (7, 5, RAY + 1, RAY + 2)]
ODD = {
    "reverted": [*WORDS[:1], CallResult(False, b""), *WORDS[2:]],
    "short": [CallResult(True, b"\0" * 31), *WORDS[1:]],
    "no index": [*WORDS[:3], CallResult(True, encode(["uint256"], [1 << 128]))],
    "too few": WORDS[:3],
}


def test_each_answer_has_its_place() -> None:
    reserve = MARKET.by_id[5]
    targets = [call.target for call in encode_totals(MARKET, 5)]
    assert targets == [reserve.a_token, reserve.variable_debt_token, MARKET.pool, MARKET.pool]
    assert decode_totals(MARKET, 5, WORDS) == ReserveTotals(7, 5, RAY + 1, RAY + 2)


@pytest.mark.parametrize("answers", ODD.values(), ids=ODD)
def test_an_odd_answer_says_nothing(answers: list[CallResult]) -> None:
    with pytest.raises(MalformedResponse):
        decode_totals(MARKET, 5, answers)
