"""What is bid, and what replaces a bid."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from keeper.core.bidding import (
    MOST_BLOCKS_AHEAD,
    Asked,
    first_bid,
    first_cap_wei,
    least_bump_wei,
    replacement_bid,
    with_profit_share,
    worst_base_fee_wei,
)
from keeper.core.order import FeeQuote
from keeper.core.profit import gas_cost_base

GWEI = 10**9
FEES_WEI = st.integers(1, 10**13)


def grown(base_fee_wei: int, gas_used: int, gas_target: int) -> int:
    """The next base fee by EIP-1559, for a block that is above its target."""
    return base_fee_wei + max(1, base_fee_wei * (gas_used - gas_target) // gas_target // 8)


@given(FEES_WEI, st.lists(st.integers(15_000_001, 30_000_000), max_size=8))
def test_no_run_of_blocks_passes_the_worst(base_fee_wei: int, blocks: list[int]) -> None:
    later_wei = base_fee_wei
    for gas_used in blocks:
        later_wei = grown(later_wei, gas_used, 15_000_000)
    assert later_wei <= worst_base_fee_wei(base_fee_wei, len(blocks))


def test_full_blocks_are_the_worst() -> None:
    assert worst_base_fee_wei(8 * GWEI, 2) == 8 * GWEI * 81 // 64
    assert worst_base_fee_wei(7, 3) == 10


def test_a_first_bid_pays_through_the_window() -> None:
    bid = first_bid(Asked(8 * GWEI, GWEI), 2, 100 * GWEI)
    assert bid == FeeQuote(8 * GWEI, GWEI, 8 * GWEI * 81 // 64 + GWEI)


def test_a_long_window_is_not_priced_for_its_worst_end() -> None:
    assert first_bid(Asked(GWEI, 0), 50, 100 * GWEI) == first_bid(Asked(GWEI, 0), MOST_BLOCKS_AHEAD, 100 * GWEI)


@given(FEES_WEI, FEES_WEI, st.integers(1, 50), st.integers(20, 10**14))
def test_what_is_bid_first_can_always_be_replaced_within_the_cap(
    base_fee_wei: int, priority_fee_wei: int, blocks: int, cap_wei: int
) -> None:
    bid = first_bid(Asked(base_fee_wei, priority_fee_wei), blocks, cap_wei)
    assert 0 <= bid.priority_fee_wei <= bid.max_fee_wei <= first_cap_wei(cap_wei)
    assert replacement_bid(bid.max_fee_wei, bid.priority_fee_wei, bid, cap_wei) is not None


@given(FEES_WEI, FEES_WEI, FEES_WEI, FEES_WEI, st.integers(1, 10**13))
def test_a_replacement_is_what_nodes_accept_and_never_above_the_cap(
    max_fee_wei: int, priority_fee_wei: int, asked_max_wei: int, asked_priority_wei: int, cap_wei: int
) -> None:
    priority_fee_wei = min(priority_fee_wei, max_fee_wei)
    asked = FeeQuote(1, min(asked_priority_wei, asked_max_wei), asked_max_wei)
    bid = replacement_bid(max_fee_wei, priority_fee_wei, asked, cap_wei)
    if bid is None:
        assert max(least_bump_wei(max_fee_wei), asked.max_fee_wei) > cap_wei
        return
    for new, old in ((bid.max_fee_wei, max_fee_wei), (bid.priority_fee_wei, priority_fee_wei)):
        assert new > old, "geth: strictly more"
        assert new >= old * 110 // 100, "geth: a tenth more"
        assert 10 * new >= 11 * old, "and rounded up for those who divide otherwise"
    assert bid.priority_fee_wei <= bid.max_fee_wei <= cap_wei
    assert bid.max_fee_wei >= asked.max_fee_wei


def test_no_priority_is_bumped_too() -> None:
    assert replacement_bid(10, 0, FeeQuote(1, 0, 5), 100) == FeeQuote(1, 1, 11)


def test_a_tenth_more_is_rounded_up() -> None:
    assert [least_bump_wei(fee_wei) for fee_wei in (0, 1, 9, 10, 11, 101)] == [1, 2, 10, 11, 13, 112]


@given(
    st.integers(0, 10**16),
    st.integers(0, 10_000),
    st.integers(21_000, 10_000_000),
    st.integers(1, 10**13),
    st.integers(1, 10**12),
)
def test_the_share_never_takes_more_of_the_profit_than_it_says(
    spare_base: int, share_bps: int, gas: int, native_price_base: int, max_fee_wei: int
) -> None:
    fees = FeeQuote(1, 0, max_fee_wei)
    raised = with_profit_share(fees, spare_base, share_bps, gas, native_price_base, 10**30)
    cost_base = gas_cost_base(gas, raised.max_fee_wei, native_price_base)
    assert cost_base - gas_cost_base(gas, fees.max_fee_wei, native_price_base) <= spare_base * share_bps // 10_000
    assert raised.max_fee_wei - fees.max_fee_wei == raised.priority_fee_wei - fees.priority_fee_wei >= 0


def test_the_share_stays_under_the_cap_and_a_poor_order_gives_none() -> None:
    fees = FeeQuote(10, 1, 21)
    assert with_profit_share(fees, 10**12, 5_000, 400_000, 2_000 * 10**8, 110) == FeeQuote(10, 80, 100)
    assert with_profit_share(fees, 0, 5_000, 400_000, 2_000 * 10**8, 110) == fees
    assert with_profit_share(fees, 10**12, 0, 400_000, 2_000 * 10**8, 110) == fees
    assert with_profit_share(fees, 10**12, 5_000, 400_000, 2_000 * 10**8, 5) == fees
