from __future__ import annotations

from typing import Any

import pytest

from keeper.chain.fees import FeeHistory, asked_by, decode_fee_history
from keeper.core.bidding import Asked
from keeper.core.errors import MalformedResponse


def _answer(rewards: list[list[str]], ratios: list[float], base_fees: list[str]) -> dict[str, Any]:
    return {"oldestBlock": "0x1", "reward": rewards, "gasUsedRatio": ratios, "baseFeePerGas": base_fees}


def test_the_next_base_fee_is_the_last_and_empty_blocks_say_nothing() -> None:
    answer = _answer([["0x5"], ["0x0"], ["0x7"]], [0.5, 0.0, 1], ["0x64", "0x65", "0x66", "0x67"])
    assert decode_fee_history(answer) == FeeHistory(0x67, (5, 7))


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        _answer([], [], []),
        _answer([["0x5"]], [0.5], ["0x64"]),
        _answer([["0x5"]], [0.5, 0.5], ["0x64", "0x64", "0x64"]),
        _answer([["0x5", "0x6"]], [0.5], ["0x64", "0x65"]),
        _answer([["5"]], [0.5], ["0x64", "0x65"]),
        _answer([["0x5"]], [0.5], ["0x64", "101"]),
        {"gasUsedRatio": [0.5], "baseFeePerGas": ["0x64", "0x65"]},
    ],
)
def test_a_history_that_does_not_add_up_is_refused(answer: object) -> None:
    with pytest.raises(MalformedResponse):
        decode_fee_history(answer)


def test_what_is_asked() -> None:
    assert asked_by(FeeHistory(101, (9, 1, 5)), 3) == Asked(101, 5)
    assert asked_by(FeeHistory(101, (1, 5)), 3) == Asked(101, 5)
    assert asked_by(FeeHistory(101, ()), 3) == Asked(101, 3)
