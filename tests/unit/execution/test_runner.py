"""What a run of calls returns, and what it may not. That its code does this is tested on a real chain."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeper.core.block import Call
from keeper.core.errors import MalformedResponse
from keeper.core.units import Address
from keeper.execution.runner import RunCall, RunResult, decode_run, runner_calldata, runner_code

RESULTS = st.lists(st.builds(RunResult, st.booleans(), st.integers(0, 2**64), st.binary(max_size=200)), max_size=6)


def _returned(timestamp_s: int, results: list[RunResult]) -> bytes:
    parts = [timestamp_s.to_bytes(32)]
    for result in results:
        parts += [
            int(result.ok).to_bytes(32),
            result.gas_used.to_bytes(32),
            len(result.returndata).to_bytes(32),
            result.returndata,
        ]
    return b"".join(parts)


@given(st.integers(0, 2**40), RESULTS)
def test_what_is_returned_is_read(timestamp_s: int, results: list[RunResult]) -> None:
    assert decode_run(_returned(timestamp_s, results), len(results)) == (timestamp_s, results)


@given(RESULTS, st.data())
def test_what_does_not_add_up_is_malformed(results: list[RunResult], data: st.DataObject) -> None:
    whole = _returned(7, results)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(MalformedResponse):
        decode_run(whole[:cut], len(results))
    with pytest.raises(MalformedResponse):
        decode_run(whole + b"\x00", len(results))
    with pytest.raises(MalformedResponse):
        decode_run(whole, len(results) + 1)


def test_a_result_that_is_neither_done_nor_reverted_is_malformed() -> None:
    odd = (7).to_bytes(32) + (2).to_bytes(32) + bytes(64)
    with pytest.raises(MalformedResponse):
        decode_run(odd, 1)


def test_calldata_follows_each_other_and_code_grows_with_the_calls() -> None:
    run = [RunCall(Call(Address(b"\x11" * 20), bytes([place]) * place), 100_000) for place in range(4)]
    assert runner_calldata(run) == b"\x01\x02\x02\x03\x03\x03"
    lengths = [len(runner_code(run[:count])) for count in range(5)]
    assert lengths == sorted(set(lengths))
    assert runner_code(run).count(b"\x11" * 20) == 4
