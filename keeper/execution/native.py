"""Which token is the wrapped native coin: found by what it does, not by its name."""

from __future__ import annotations

from collections.abc import Sequence

from keeper.core.block import BlockRef
from keeper.core.errors import MalformedResponse, MethodUnavailable, RpcFailure
from keeper.core.hexdata import decode_bytes, decode_list, decode_object
from keeper.core.units import Address, to_hex
from keeper.execution.rpc import Rpc
from keeper.execution.tokens import encode_balance_of
from keeper.execution.wire import pinned

DEPOSIT_SELECTOR = bytes.fromhex("d0e30db0")
"""deposit()"""
_PROBE = Address(bytes.fromhex("00000000000000000000000000000000006b6565"))
_WEI = 10**15


async def find_wrapped_native(rpc: Rpc, tokens: Sequence[Address], block: BlockRef) -> Address | None:
    """The first token that credits exactly the native coins deposited into it, in a simulation at `block`.

    None when there is none, or the node cannot simulate.
    """
    for token in tokens:
        try:
            answer = await rpc.request("eth_simulateV1", [_request(token), pinned(block)])
        except RpcFailure:
            continue
        except MethodUnavailable:
            return None
        if _credited_wei(answer) == _WEI:
            return token
    return None


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
