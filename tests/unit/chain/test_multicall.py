"""The word-level codec against eth_abi."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from keeper.chain.multicall import (
    AGGREGATE3_SELECTOR,
    CURRENT_BLOCK_TIMESTAMP_SELECTOR,
    decode_aggregate3,
    encode_aggregate3,
)
from keeper.core.block import Call, CallResult
from keeper.core.errors import MalformedResponse
from keeper.core.units import Address

ABI = Path(__file__).parents[3] / "contracts_abi" / "multicall3" / "Multicall3.json"
RESULTS = ["(bool,bytes)[]"]

calls = st.lists(
    st.builds(Call, st.binary(min_size=20, max_size=20).map(Address), st.binary(max_size=100)), max_size=12
)
results = st.lists(st.builds(CallResult, st.booleans(), st.binary(max_size=100)), max_size=12)


def _returned(wanted: list[CallResult]) -> bytes:
    return encode(RESULTS, [[(each.ok, each.returndata) for each in wanted]])


@given(calls)
def test_encoding_equals_eth_abi(wanted: list[Call]) -> None:
    tuples = [("0x" + call.target.hex(), True, call.calldata) for call in wanted]
    body = encode(["(address,bool,bytes)[]"], [tuples])
    assert encode_aggregate3(wanted) == AGGREGATE3_SELECTOR + body


@given(results)
def test_decoding_equals_eth_abi(wanted: list[CallResult]) -> None:
    assert decode_aggregate3(_returned(wanted), len(wanted)) == wanted


@given(results.filter(bool), st.data())
def test_cut_short_it_raises(wanted: list[CallResult], data: st.DataObject) -> None:
    whole = _returned(wanted)
    # The padding of the last result may be missing without loss.
    needed = len(whole) - (-len(wanted[-1].returndata) % 32)
    with pytest.raises(MalformedResponse):
        decode_aggregate3(whole[: data.draw(st.integers(0, needed - 1))], len(wanted))


@given(results, st.integers(0, 20))
def test_another_count_raises(wanted: list[CallResult], count: int) -> None:
    if count != len(wanted):
        with pytest.raises(MalformedResponse, match="did not answer with"):
            decode_aggregate3(_returned(wanted), count)


@given(results.filter(bool), st.data())
def test_odd_words_raise_or_decode_but_never_invent_bytes(wanted: list[CallResult], data: st.DataObject) -> None:
    whole = bytearray(_returned(wanted))
    at = 32 * data.draw(st.integers(0, len(whole) // 32 - 1))
    whole[at : at + 32] = data.draw(st.binary(min_size=32, max_size=32))
    try:
        decoded = decode_aggregate3(bytes(whole), len(wanted))
    except MalformedResponse:
        return
    assert all(each.returndata in bytes(whole) for each in decoded)


def test_a_success_flag_that_is_no_flag_raises() -> None:
    whole = bytearray(_returned([CallResult(ok=True, returndata=b"")]))
    whole[96:128] = (2).to_bytes(32)
    with pytest.raises(MalformedResponse):
        decode_aggregate3(bytes(whole), 1)


def test_selectors_come_from_the_interface() -> None:
    functions = {entry["name"]: entry for entry in json.loads(ABI.read_text())["abi"]}
    assert keccak(text="aggregate3((address,bool,bytes)[])")[:4] == AGGREGATE3_SELECTOR
    assert keccak(text="getCurrentBlockTimestamp()")[:4] == CURRENT_BLOCK_TIMESTAMP_SELECTOR
    components = functions["aggregate3"]["inputs"][0]["components"]
    assert [each["type"] for each in components] == ["address", "bool", "bytes"]
    assert functions["getCurrentBlockTimestamp"]["inputs"] == []
