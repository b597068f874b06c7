from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeper.cli.render import (
    age_text,
    base_text,
    checksum,
    checksum_tree,
    fixed_text,
    gwei_text,
    health_text,
    plain_text,
    short_address,
    signed_wad_text,
    time_text,
    token_text,
)
from keeper.core.units import NO_DEBT_HEALTH_WAD, WAD

# The examples of EIP-55 itself.
EIP_55 = [
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
]


@pytest.mark.parametrize("address", EIP_55)
def test_addresses_have_their_checksum(address: str) -> None:
    assert checksum(bytes.fromhex(address[2:])) == address
    assert checksum(address.lower()) == address
    assert short_address(address.lower()) == f"{address[:6]}…{address[-4:]}"


def test_every_address_in_a_tree_gets_its_checksum_and_nothing_else_changes() -> None:
    address = EIP_55[0]
    transaction_hash = "0x" + "ab" * 32
    tree = {"a": [address.lower(), {"b": address.lower()}], "hash": transaction_hash, "n": 5, "x": None}
    assert checksum_tree(tree) == {"a": [address, {"b": address}], "hash": transaction_hash, "n": 5, "x": None}


@pytest.mark.parametrize(
    "health_wad, text",
    [
        (WAD - 1, "0.9999"),
        (973_199_999_999_999_999, "0.9731"),
        (WAD, "1.0000"),
        (0, "0.0000"),
        (NO_DEBT_HEALTH_WAD, "no debt"),
        (None, "unknown"),
        (1_234_567 * WAD, "1,234,567.0000"),
    ],
)
def test_health(health_wad: int | None, text: str) -> None:
    assert health_text(health_wad) == text


@given(health_wad=st.integers(0, 2 * WAD))
def test_below_one_never_looks_like_one(health_wad: int) -> None:
    assert (Decimal(health_text(health_wad)) < 1) is (health_wad < WAD)


@given(amount=st.integers(-(2**200), 2**200), decimals=st.integers(0, 30), digits=st.integers(0, 10))
def test_rounding_is_down_and_exact(amount: int, decimals: int, digits: int) -> None:
    text = fixed_text(amount, decimals, digits)
    assert int(text.replace(",", "").replace(".", "")) == amount * 10**digits // 10**decimals
    assert len(text.partition(".")[2]) == digits


def test_rounding_agrees_with_decimal() -> None:
    exact = Decimal("-1.23456")
    assert Decimal(fixed_text(-123_456, 5, 2)) == exact.quantize(Decimal("0.01"), rounding=ROUND_FLOOR)


@pytest.mark.parametrize(
    "raw, decimals, text",
    [
        (1_250_000, 6, "1.25 T"),
        (1_250_000_000_000, 6, "1,250,000 T"),
        (5 * 10**17, 18, "0.5 T"),
        (1, 18, "0.000000000000000001 T"),
        (0, 18, "0 T"),
        (-5 * 10**17, 18, "-0.5 T"),
        (199, 2, "1.99 T"),
        (7, 0, "7 T"),
        (1_234, None, "1,234 raw T"),
    ],
)
def test_token_amounts_are_never_nothing_for_something(raw: int, decimals: int | None, text: str) -> None:
    assert token_text(raw, decimals, "T") == text


def test_values_prices_times_and_ages() -> None:
    assert base_text(123_456_789_000, 8) == "1,234.56"
    assert base_text(-1, 8) == "-0.01"
    assert base_text(123_456, None) == "123,456 base units"
    assert gwei_text(1_100_000_000) == "1.1 gwei"
    assert gwei_text(1) == "0.000000001 gwei"
    assert time_text("2026-01-31T12:00:00.123Z") == "2026-01-31 12:00:00"
    assert time_text(1_769_860_800) == "2026-01-31 12:00:00"
    assert [age_text(seconds) for seconds in (-1, 59, 60, 3_660, 180_000)] == [
        "0 s",
        "59 s",
        "1 min",
        "1 h 01 min",
        "2 d 2 h",
    ]


@pytest.mark.parametrize(
    "difference_wad, text",
    [(0, "0.0000"), (11, "+11 wad"), (-11, "-11 wad"), (WAD // 20, "+0.0500"), (-WAD // 20, "-0.0500")],
)
def test_a_difference_is_shown_however_small(difference_wad: int, text: str) -> None:
    assert signed_wad_text(difference_wad) == text


def test_text_from_a_chain_cannot_drive_a_terminal() -> None:
    assert plain_text("USD\x1b[2J\nC\u202e") == "USD\ufffd[2J\ufffdC\ufffd"
