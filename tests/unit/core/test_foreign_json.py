"""What others wrote is read only as deep as it can be without harm."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeper.core.foreign_json import MOST_NESTED, decode_json

VERY_DEEP = 200_000
"""Ends the process where the interpreter's limit was raised, as property tests do."""

text = st.text(alphabet='[]{}"\\\n,:aé', max_size=8)
values = st.recursive(
    st.none() | st.integers() | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=20,
)


def nested(depth: int) -> str:
    return "[" * depth + "1" + "]" * depth


@given(values, st.booleans(), st.sampled_from([(",", ":"), (" , ", " : ")]))
def test_what_is_no_deeper_is_read_as_it_is(value: object, escaped: bool, separators: tuple[str, str]) -> None:
    assert decode_json(json.dumps(value, ensure_ascii=escaped, separators=separators).encode()) == value


@given(values, values)
def test_whatever_stands_beside_it_what_is_too_deep_is_refused(before: object, after: object) -> None:
    deepest, deeper = (
        f'{{"a": {json.dumps(before)}, "b": {nested(depth)}, "c": {json.dumps(after)}}}'.encode()
        for depth in (MOST_NESTED - 1, MOST_NESTED)
    )
    assert decode_json(deepest)["c"] == after
    with pytest.raises(ValueError, match="nest deeper than 64"):
        decode_json(deeper)


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * VERY_DEEP,
        b'{"a":' * VERY_DEEP,
        nested(VERY_DEEP).encode(),
        b'["]",' * VERY_DEEP,
        b'["]\\"",' * VERY_DEEP,
        b'{"]}":[' * VERY_DEEP,
        b'"a" ' + b"[" * VERY_DEEP,
    ],
    ids=range(7),
)
def test_depth_is_refused_before_it_is_read(raw: bytes) -> None:
    limit = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(10**6)
        with pytest.raises(ValueError, match="nest deeper"):
            decode_json(raw)
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.parametrize("raw", [b"", b"[", b"[1,]", b'"', b'{"a"}', b"]", b"\xff", "[1]".encode("utf-16"), b"nothing"])
def test_what_is_no_json_is_an_error(raw: bytes) -> None:
    with pytest.raises(ValueError):
        decode_json(raw)
