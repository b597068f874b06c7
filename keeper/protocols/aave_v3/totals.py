"""What the contracts say of one reserve as a whole: its tokens' scaled supplies, and its indexes at the block's time."""

from __future__ import annotations

from collections.abc import Sequence

from keeper.core.block import Call, CallResult
from keeper.core.errors import MalformedResponse
from keeper.core.lending import ReserveTotals
from keeper.protocols.aave_v3 import selectors as s
from keeper.protocols.aave_v3.market import Market
from keeper.protocols.aave_v3.words import bounded, call, words


def encode_totals(market: Market, reserve_id: int) -> list[Call]:
    """The scaled supplies are `scaledTotalSupply` of aToken and variable debt token; the indexes are the pool's normalized
    income and variable debt, which it computes at the timestamp of the block."""
    reserve = market.by_id[reserve_id]
    return [
        call(reserve.a_token, s.SCALED_TOTAL_SUPPLY),
        call(reserve.variable_debt_token, s.SCALED_TOTAL_SUPPLY),
        call(market.pool, s.GET_RESERVE_NORMALIZED_INCOME, reserve.asset),
        call(market.pool, s.GET_RESERVE_NORMALIZED_VARIABLE_DEBT, reserve.asset),
    ]


def decode_totals(market: Market, reserve_id: int, results: Sequence[CallResult]) -> ReserveTotals:
    """Raises `MalformedResponse`: a revert or an odd answer says nothing about the reserve."""
    label = market.by_id[reserve_id].label
    if len(results) != 4:
        raise MalformedResponse(f"totals of {label}: {len(results)} answers to 4 calls")
    names = ("scaledTotalSupply", "scaledTotalSupply of debt", "normalized income", "normalized variable debt")
    numbers = [words(result, 1, f"{name} of {label}")[0] for name, result in zip(names, results, strict=True)]
    return ReserveTotals(numbers[0], numbers[1], *(bounded(index_ray, 128, label) for index_ray in numbers[2:]))
