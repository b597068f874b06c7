from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeper.core.errors import MalformedResponse
from keeper.core.hexdata import decode_address, decode_bytes, decode_hash, decode_list, decode_object, decode_quantity


@given(st.integers(0, 2**256 - 1))
def test_quantity_round_trip(number: int) -> None:
    assert decode_quantity(hex(number), "x") == number


@pytest.mark.parametrize(
    "odd",
    [
        None,
        5,
        True,
        "",
        "0x",
        "5",
        "0X5",
        "0xg",
        "-0x5",
        "0x-5",
        "0x 5",
        "0x5 ",
        "0x1_0",
        "0x٣",
        [],
        "0x" + "f" * 65,
    ],
)
def test_odd_quantities_are_refused(odd: object) -> None:
    with pytest.raises(MalformedResponse, match="gas price"):
        decode_quantity(odd, "gas price")


@given(st.binary(max_size=100))
def test_bytes_round_trip(raw: bytes) -> None:
    assert decode_bytes("0x" + raw.hex(), "x") == raw
    assert decode_bytes("0x" + raw.hex(), "x", len(raw)) == raw
    with pytest.raises(MalformedResponse, match="x is not"):
        decode_bytes("0x" + raw.hex(), "x", len(raw) + 1)


@pytest.mark.parametrize("odd", [None, 5, "", "0", "00", "0x0", "0xzz", "0x00 11", "0x 00", b"\x00", {}])
def test_odd_bytes_are_refused(odd: object) -> None:
    with pytest.raises(MalformedResponse, match="data"):
        decode_bytes(odd, "data")


def test_addresses_and_hashes_have_their_length() -> None:
    assert len(decode_address("0x" + "ab" * 20, "x")) == 20
    assert len(decode_hash("0x" + "ab" * 32, "x")) == 32
    with pytest.raises(MalformedResponse, match="20 hex bytes"):
        decode_address("0x" + "ab" * 32, "x")


def test_containers_are_checked() -> None:
    assert decode_object({"a": 1}, "x") == {"a": 1}
    assert decode_list([1], "x") == [1]
    with pytest.raises(MalformedResponse, match="x is no object: a list"):
        decode_object([], "x")
    with pytest.raises(MalformedResponse, match="x is no list: a dict"):
        decode_list({}, "x")


def test_foreign_text_is_not_repeated() -> None:
    with pytest.raises(MalformedResponse) as caught:
        decode_bytes("https://node.example/v3/0123456789abcdef", "data")
    assert "0123456789abcdef" not in str(caught.value)
