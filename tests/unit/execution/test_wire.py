"""Odd answers raise; they never become zeros."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from keeper.core.block import CallResult
from keeper.core.errors import MalformedResponse
from keeper.core.units import to_hex
from keeper.core.wire import decode_block, decode_log
from keeper.execution.receipts import decode_receipt
from keeper.execution.tokens import decode_amount_raw

LOG = {
    "address": to_hex(b"\x01" * 20),
    "topics": [to_hex(b"\x02" * 32)],
    "data": "0x",
    "blockNumber": "0x5",
    "blockHash": to_hex(b"\x03" * 32),
    "transactionHash": to_hex(b"\x04" * 32),
    "logIndex": "0x0",
}
RECEIPT = {
    "transactionHash": to_hex(b"\x04" * 32),
    "from": to_hex(b"\x05" * 20),
    "blockHash": to_hex(b"\x03" * 32),
    "blockNumber": "0x5",
    "status": "0x1",
    "gasUsed": "0x64",
    "effectiveGasPrice": "0x7",
    "logs": [LOG],
}
BLOCK = {
    "number": "0x5",
    "hash": to_hex(b"\x03" * 32),
    "parentHash": to_hex(b"\x02" * 32),
    "timestamp": "0x10",
    "baseFeePerGas": "0x7",
    "gasLimit": "0x1c9c380",
}


def test_what_fits_is_read() -> None:
    receipt = decode_receipt(RECEIPT | {"l1Fee": "0x3"})
    assert (receipt.succeeded, receipt.cost_wei, receipt.logs[0].topics) == (True, 703, (b"\x02" * 32,))
    assert decode_receipt(RECEIPT).cost_wei == 700
    block = decode_block(BLOCK, "block")
    assert (block.number, block.timestamp_s, block.base_fee_wei, block.gas_limit) == (5, 16, 7, 30_000_000)
    assert decode_block({**BLOCK, "baseFeePerGas": None}, "block").base_fee_wei is None


@pytest.mark.parametrize("field", sorted(set(RECEIPT)))
@pytest.mark.parametrize("value", [None, 5, "5", "0xzz", {}])
def test_a_receipt_with_an_odd_field_is_malformed(field: str, value: object) -> None:
    with pytest.raises(MalformedResponse):
        decode_receipt({**RECEIPT, field: value})


@pytest.mark.parametrize("field", sorted(set(LOG)))
def test_a_log_without_a_field_is_malformed(field: str) -> None:
    with pytest.raises(MalformedResponse):
        decode_log({name: value for name, value in LOG.items() if name != field})


@pytest.mark.parametrize("decode", [decode_receipt, lambda answer: decode_block(answer, "block"), decode_log])
@pytest.mark.parametrize("answer", [None, [], "0x", 3])
def test_an_answer_that_is_no_object_is_malformed(decode: Callable[[object], Any], answer: object) -> None:
    with pytest.raises(MalformedResponse):
        decode(answer)


@pytest.mark.parametrize(
    "result", [CallResult(ok=False, returndata=bytes(32)), CallResult(ok=True, returndata=bytes(31))]
)
def test_an_unread_balance_is_not_zero(result: CallResult) -> None:
    with pytest.raises(MalformedResponse, match="the balance could not be read"):
        decode_amount_raw(result, "the balance")
