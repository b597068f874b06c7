"""Strict decoding of logs."""

from __future__ import annotations

from typing import Any

import pytest

from keeper.core.errors import MalformedResponse
from keeper.core.wire import decode_log


def _entry(**changes: Any) -> dict[str, Any]:
    fields = {
        "address": "0x" + "11" * 20,
        "topics": ["0x" + "22" * 32],
        "data": "0x33",
        "blockNumber": "0x10",
        "blockHash": "0x" + "44" * 32,
        "transactionHash": "0x" + "55" * 32,
        "logIndex": "0x3",
        "removed": False,
    }
    return fields | changes


def test_a_log() -> None:
    log = decode_log(_entry())
    assert (log.address, log.topics, log.data) == (b"\x11" * 20, (b"\x22" * 32,), b"\x33")
    assert (log.block_number, log.block_hash, log.transaction_hash) == (16, b"\x44" * 32, b"\x55" * 32)
    assert log.log_index == 3


@pytest.mark.parametrize("removed", [True, "false", 0, None])
def test_a_removed_log_is_refused(removed: object) -> None:
    with pytest.raises(MalformedResponse, match="removed"):
        decode_log(_entry(removed=removed))


@pytest.mark.parametrize(
    "field, odd",
    [
        ("address", "0x" + "11" * 19),
        ("address", None),
        ("topics", None),
        ("topics", ["0x" + "22" * 31]),
        ("topics", ["0x" + "22" * 32] * 5),
        ("data", "33"),
        ("data", None),
        ("blockNumber", None),
        ("blockHash", None),
        ("transactionHash", "0x"),
        ("logIndex", None),
    ],
)
def test_odd_fields_are_refused(field: str, odd: object) -> None:
    with pytest.raises(MalformedResponse):
        decode_log(_entry(**{field: odd}))


@pytest.mark.parametrize("odd", [None, [], "0x"])
def test_a_log_is_an_object(odd: object) -> None:
    with pytest.raises(MalformedResponse):
        decode_log(odd)
