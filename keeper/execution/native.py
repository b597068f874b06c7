"""Which token is the wrapped native coin: found by what it does, not by its name."""

from __future__ import annotations

from collections.abc import Sequence

from keeper.core.block import BlockRef, Call
from keeper.core.errors import MalformedResponse, MethodUnavailable, RpcFailure
from keeper.core.hexdata import decode_bytes, decode_list, decode_object
from keeper.core.units import Address, to_hex
from keeper.execution.rpc import Rpc
from keeper.execution.runner import RunCall, decode_run, runner_calldata, runner_code
from keeper.execution.tokens import encode_balance_of
from keeper.execution.wire import pinned

DEPOSIT_SELECTOR = bytes.fromhex("d0e30db0")
"""deposit()"""
_PROBE = Address(bytes.fromhex("00000000000000000000000000000000006b6565"))
_WEI = 10**15
_GAS = 300_000


async def find_wrapped_native(rpc: Rpc, tokens: Sequence[Address], block: BlockRef) -> Address | None:
    """The first token that credits exactly the native coins deposited into it, in a simulation at `block`.

    None when there is none, or the node can neither simulate nor put code under a call.
    """
    simulates = True
    for token in tokens:
        try:
            if simulates:
                credited_wei = _credited_wei(await rpc.request("eth_simulateV1", [_request(token), pinned(block)]))
            else:
                credited_wei = await _credited_in_call_wei(rpc, token, block)
        except RpcFailure:
            continue
        except MethodUnavailable:
            simulates = False
            credited_wei = await _credited_in_call_wei(rpc, token, block)
        if credited_wei == _WEI:
            return token
    return None


async def _credited_in_call_wei(rpc: Rpc, token: Address, block: BlockRef) -> int | None:
    """The same without a simulation. None also when the node does not do as it is told: then there is no such token."""
    run = [
        RunCall(Call(token, DEPOSIT_SELECTOR), _GAS, _WEI),
        RunCall(Call(token, encode_balance_of(_PROBE)), _GAS),
    ]
    call = {"to": to_hex(_PROBE), "data": to_hex(runner_calldata(run)), "gas": hex(4 * _GAS)}
    overrides = {to_hex(_PROBE): {"balance": hex(10**18), "code": to_hex(runner_code(run))}}
    try:
        answer = await rpc.request("eth_call", [call, pinned(block), overrides])
        _, (deposit, balance) = decode_run(decode_bytes(answer, "answer to a deposit"), len(run))
    except (RpcFailure, MalformedResponse):
        return None
    return int.from_bytes(balance.returndata) if deposit.ok and balance.ok and len(balance.returndata) == 32 else None


def _request(token: Address) -> dict[str, object]:
    probe = to_hex(_PROBE)
    return {
        "blockStateCalls": [
            {
                "stateOverrides": {probe: {"balance": hex(10**18)}},
                "calls": [
                    {"from": probe, "to": to_hex(token), "value": hex(_WEI), "input": to_hex(DEPOSIT_SELECTOR)},
                    {"from": probe, "to": to_hex(token), "input": to_hex(encode_balance_of(_PROBE))},
                ],
            }
        ],
        "validation": False,
    }


def _credited_wei(answer: object) -> int | None:
    blocks = decode_list(answer, "answer to eth_simulateV1")
    calls = decode_list(decode_object(blocks[0] if blocks else None, "simulated block").get("calls"), "simulated calls")
    if len(calls) != 2:
        raise MalformedResponse(f"2 simulated calls were answered with {len(calls)} results")
    deposit, balance = (decode_object(call, "simulated call") for call in calls)
    for call in (deposit, balance):
        if call.get("status") != "0x1":
            return None
    returned = decode_bytes(balance.get("returnData"), "simulated balance")
    return int.from_bytes(returned) if len(returned) == 32 else None
