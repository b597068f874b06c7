"""DER, read strictly: held against the library that writes it, and against every way to bend it."""

from __future__ import annotations

import pytest
from coincurve import PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from keeper.execution.signing.der import decode_public_key, decode_signature
from keeper.execution.signing.envelope import GROUP_ORDER, HIGHEST_S
from tests.signing.stands import SPKI_PREFIX, der_of

NUMBERS = st.integers(1, GROUP_ORDER - 1)
GOOD = der_of(5, 7)


@given(r=NUMBERS, s=NUMBERS)
def test_every_pair_of_numbers_comes_back(r: int, s: int) -> None:
    assert decode_signature(der_of(r, s)) == (r, s)


@given(
    key=st.binary(min_size=31, max_size=31).map(lambda tail: b"\x01" + tail), digest=st.binary(min_size=32, max_size=32)
)
def test_the_librarys_signatures_and_keys_are_read(key: bytes, digest: bytes) -> None:
    holder = PrivateKey(key)
    compact = holder.sign_recoverable(digest, hasher=None)
    r, s = decode_signature(holder.sign(digest, hasher=None))
    assert (r, s) == (int.from_bytes(compact[:32], "big"), int.from_bytes(compact[32:64], "big"))
    assert s <= HIGHEST_S
    point = holder.public_key.format(compressed=False)
    assert decode_public_key(SPKI_PREFIX + point) == point


@given(place=st.integers(0, len(GOOD) - 1), byte=st.integers(0, 255))
def test_no_bent_byte_brings_anything_but_another_signature_or_an_error(place: int, byte: int) -> None:
    bent = GOOD[:place] + bytes([byte]) + GOOD[place + 1 :]
    try:
        r, s = decode_signature(bent)
    except ValueError:
        return
    assert der_of(r, s) == bent


@pytest.mark.parametrize(
    "der",
    [
        b"",
        b"\x30",
        b"\x30\x00",
        GOOD[:-1],
        GOOD + b"\0",
        b"\x31" + GOOD[1:],
        bytes.fromhex("300702020005020107"),  # a needless zero before 5
        bytes.fromhex("3006020185020107"),  # a negative number
        bytes.fromhex("3006020100020107"),  # zero
        bytes.fromhex("30050200020107"),  # no number at all
        bytes.fromhex("3009020105020107020101"),  # a third number
        bytes.fromhex("308106020105020107"),  # a length in the long form
        der_of(GROUP_ORDER, 7),
        der_of(5, GROUP_ORDER),
    ],
)
def test_anything_else_is_no_signature(der: bytes) -> None:
    with pytest.raises(ValueError):
        decode_signature(der)


@pytest.mark.parametrize(
    "der",
    [
        b"",
        SPKI_PREFIX,
        SPKI_PREFIX + bytes([2]) + bytes(64),
        SPKI_PREFIX + bytes([4]) + bytes(65),
        bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + bytes([4]) + bytes(64),
    ],
)
def test_any_other_key_is_refused(der: bytes) -> None:
    with pytest.raises(ValueError):
        decode_public_key(der)
