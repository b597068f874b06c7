"""Objects are found in a stream wherever it is cut."""

from __future__ import annotations

import json
from random import Random

import pytest

from keeper.chain.json_stream import JsonStream
from keeper.core.errors import MalformedResponse

MESSAGES = [
    {"id": 1, "result": "0x1"},
    {"params": {"result": {"a": [1, {"b": []}], "c": '}{"][\\'}}},
    {"text": 'quote " backslash \\ brace } unicode é 𐍈 and \\" both'},
    [{"id": 2}, {"id": 3}],
    {},
]


@pytest.mark.parametrize("between", ["", "\n", " \r\n\t"])
@pytest.mark.parametrize("seed", range(20))
def test_it_does_not_matter_where_the_stream_is_cut(between: str, seed: int) -> None:
    random, stream = Random(seed), JsonStream(10_000)
    sent = [random.choice(MESSAGES) for _ in range(20)]
    raw = between.join(json.dumps(each, ensure_ascii=bool(seed % 2)) for each in sent).encode()
    found = []
    while raw:
        length = random.choice((1, 2, 3, 7, 50, 500))
        found += [json.loads(text) for text in stream.feed(raw[:length])]
        raw = raw[length:]
    assert found == sent


@pytest.mark.parametrize("raw", [b"<html>", b'"text"', b"{} x", b"17", b"}", b'{"a":1}]'])
def test_anything_else_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedResponse, match="something else"):
        list(JsonStream(100).feed(raw))


def test_what_has_no_end_is_not_kept_for_ever() -> None:
    stream = JsonStream(1_000)
    assert list(stream.feed(b'{"a":"' + b"x" * 900)) == []
    with pytest.raises(MalformedResponse, match="longer than 1000 bytes"):
        list(stream.feed(b"x" * 900))
