from __future__ import annotations

from typing import Any

import pytest

from keeper.chain.blocks import decode_header, header_entry
from keeper.core.errors import BlockUnavailable, MalformedResponse

HASH = "0x" + "ab" * 32


def _answer(**changes: Any) -> dict[str, Any]:
    fields = {
        "number": "0x10",
        "hash": HASH,
        "parentHash": "0x" + "cd" * 32,
        "timestamp": "0x64",
        "baseFeePerGas": "0x7",
        "gasLimit": "0x1c9c380",
    }
    return fields | changes


def test_a_header_by_number_hash_and_tag() -> None:
    for asked in (16, bytes.fromhex("ab" * 32), "latest"):
        header = decode_header(_answer(), asked)
        assert (header.number, header.timestamp_s, header.base_fee_wei, header.gas_limit) == (16, 100, 7, 30_000_000)
        assert header.hash == bytes.fromhex("ab" * 32)
        assert header.parent_hash == bytes.fromhex("cd" * 32)


def test_chains_without_a_base_fee_have_none() -> None:
    answer = _answer()
    del answer["baseFeePerGas"]
    assert decode_header(answer, "latest").base_fee_wei is None


def test_an_unknown_block() -> None:
    with pytest.raises(BlockUnavailable, match="0xcdcd"):
        decode_header(None, bytes.fromhex("cd" * 32))


@pytest.mark.parametrize("asked", [17, bytes.fromhex("cd" * 32)])
def test_another_block_than_asked_for_is_refused(asked: int | bytes) -> None:
    with pytest.raises(MalformedResponse, match="got block 16"):
        decode_header(_answer(), asked)


@pytest.mark.parametrize("field", ["number", "hash", "parentHash", "timestamp", "gasLimit"])
@pytest.mark.parametrize("odd", [None, "", "0x", 5, "latest", "0xzz"])
def test_odd_fields_are_refused(field: str, odd: object) -> None:
    with pytest.raises(MalformedResponse, match=field):
        decode_header(_answer(**{field: odd}), "latest")


def test_what_is_asked() -> None:
    assert header_entry(16) == ("eth_getBlockByNumber", ["0x10", False])
    assert header_entry("latest") == ("eth_getBlockByNumber", ["latest", False])
    assert header_entry(b"\xab" * 32) == ("eth_getBlockByHash", [HASH, False])
