"""The liquidation call, its logs, and errors by name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from eth_abi.abi import encode

from keeper.core.block import Log
from keeper.core.errors import MalformedResponse
from keeper.core.lending import LiquidationEvent, Pair
from keeper.core.units import UINT256_MAX, Hash32, to_hex
from keeper.protocols.aave_v3 import selectors as s
from keeper.protocols.aave_v3.calls import decode_liquidations, encode_liquidation
from keeper.protocols.aave_v3.reverts import decode_revert
from tests.unit.protocols.aave_v3.builders import BORROWER, LIQUIDATOR, address, make_market, make_reserve

MARKET = make_market("3.6", [make_reserve(0), make_reserve(1)])
COLLATERAL, DEBT = (reserve.asset for reserve in MARKET.reserves)
PAIR = Pair(0, 1, COLLATERAL, DEBT, 8000, 10_500)


@pytest.mark.parametrize("receive_a_token", [False, True])
def test_calldata_agrees_with_eth_abi(receive_a_token: bool) -> None:
    call = encode_liquidation(MARKET, BORROWER, PAIR, UINT256_MAX, receive_a_token=receive_a_token)
    arguments = (to_hex(COLLATERAL), to_hex(DEBT), to_hex(BORROWER), UINT256_MAX, receive_a_token)
    expected = encode(["address", "address", "address", "uint256", "bool"], arguments)
    assert (call.target, call.calldata) == (MARKET.pool, bytes.fromhex("00a718a9") + expected)


def liquidation_log() -> Log:
    topics = (s.LIQUIDATION_CALL_TOPIC, *(one.rjust(32, b"\0") for one in (COLLATERAL, DEBT, BORROWER)))
    data = encode(["uint256", "uint256", "address", "bool"], [7, 8, to_hex(LIQUIDATOR), False])
    return Log(MARKET.pool, topics, data, 1, Hash32(bytes(32)), Hash32(bytes(32)), 9)


def test_logs_of_this_borrower_alone() -> None:
    log = liquidation_log()
    other = replace(log, topics=(*log.topics[:3], address(0xC0).rjust(32, b"\0")))
    elsewhere = replace(log, address=address(0xC0))
    found = decode_liquidations(MARKET, [other, log, elsewhere, replace(log, topics=())], BORROWER)
    assert found == [LiquidationEvent(COLLATERAL, DEBT, BORROWER, 7, 8, LIQUIDATOR, 9)]


@pytest.mark.parametrize("damage", [{"data": b""}, {"data": bytes(127)}, {"data": b"\1" * 128}])
def test_lp07_a_malformed_liquidation_raises(damage: dict[str, bytes]) -> None:
    with pytest.raises(MalformedResponse):
        decode_liquidations(MARKET, [replace(liquidation_log(), **damage)], BORROWER)  # type: ignore[arg-type]
    with pytest.raises(MalformedResponse):
        decode_liquidations(MARKET, [replace(liquidation_log(), topics=liquidation_log().topics[:3])], BORROWER)


def error_string(text: str) -> bytes:
    return bytes.fromhex("08c379a0") + encode(["string"], [text])


@pytest.mark.parametrize(
    "revert_data, name",
    [
        (b"", "reverted without data"),
        (bytes.fromhex("930bb771"), "HealthFactorNotBelowThreshold"),
        (error_string("45"), "HealthFactorNotBelowThreshold"),
        (error_string("103"), "MustNotLeaveDust"),
        (bytes.fromhex("b629b0e4"), "MustNotLeaveDust"),
        (error_string("97"), "LiquidationGraceSentinelCheckFailed"),
        (error_string("GPv2: failed transferFrom"), "GPv2: failed transferFrom"),
        (bytes.fromhex("4e487b71") + bytes(31) + b"\x11", "Panic(0x11)"),
        (bytes.fromhex("e450d38c") + bytes(96), "ERC20InsufficientBalance"),
        (bytes.fromhex("deadbeef"), "0xdeadbeef"),
        (bytes.fromhex("4e487b71"), "0x4e487b71"),
        (error_string("45")[:-40], "0x" + error_string("45")[:-40].hex()),
        (bytes.fromhex("08c379a0") + encode(["bytes"], [b"\xff"]), "0x08c379a0" + encode(["bytes"], [b"\xff"]).hex()),
    ],
)
def test_errors_by_name(revert_data: bytes, name: str) -> None:
    assert decode_revert(revert_data) == name
