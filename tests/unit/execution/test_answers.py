"""What answers to a send prove."""

from __future__ import annotations

import pytest

from keeper.core.errors import (
    MalformedResponse,
    MethodUnavailable,
    RateLimited,
    RpcFailure,
    RpcTimeout,
    RpcUnreachable,
)
from keeper.core.order import Answer
from keeper.core.units import Hash32, to_hex
from keeper.execution.answers import judge_answer, says_nonce_used

OURS = Hash32(b"\x01" * 32)


def test_our_own_hash_is_acceptance() -> None:
    assert judge_answer(to_hex(OURS), OURS) is Answer.ACCEPTED


@pytest.mark.parametrize("answer", [to_hex(b"\x02" * 32), "0x", None, 7, {"hash": to_hex(OURS)}])
def test_any_other_result_proves_nothing(answer: object) -> None:
    assert judge_answer(answer, OURS) is Answer.UNKNOWN


@pytest.mark.parametrize("text", ["already known", "Known transaction: 0xab", "ALREADY_EXISTS: already known"])
def test_a_transaction_that_is_there_already_is_accepted(text: str) -> None:
    assert judge_answer(RpcFailure(-32000, text), OURS) is Answer.ACCEPTED


@pytest.mark.parametrize(
    "text",
    [
        "insufficient funds for gas * price + value: balance 0, tx cost 1",
        "Insufficient funds for gas * price + value",
        "intrinsic gas too low: gas 21000, minimum needed 21064",
        "transaction underpriced: tip needed 1, tip permitted 0",
        "replacement transaction underpriced",
        "max fee per gas less than block base fee: address 0x…, maxFeePerGas: 1, baseFee: 7",
        "exceeds block gas limit",
        "txpool is full",
        "invalid chain id for signer: have 1 want 5",
        "transaction type not supported",
        "nonce too high",
    ],
)
def test_a_known_refusal_is_proven(text: str) -> None:
    assert judge_answer(RpcFailure(-32000, text), OURS) is Answer.REFUSED
    assert judge_answer(MethodUnavailable("eth_sendRawTransaction"), OURS) is Answer.REFUSED


@pytest.mark.parametrize("text", ["nonce too low", "nonce too low: next nonce 7, tx nonce 6", "OldNonce: old nonce"])
def test_a_used_nonce_is_to_be_looked_up(text: str) -> None:
    """Our own bytes may have used it."""
    assert judge_answer(RpcFailure(-32000, text), OURS) is Answer.UNKNOWN
    assert says_nonce_used(RpcFailure(-32000, text))


@pytest.mark.parametrize(
    "error",
    [
        RpcTimeout("no answer"),
        RpcUnreachable("broken"),
        MalformedResponse("html"),
        RateLimited("429"),
        RpcFailure(-32603, "internal error"),
        RpcFailure(3, "execution reverted"),
    ],
)
def test_everything_else_proves_nothing(error: Exception) -> None:
    assert judge_answer(error, OURS) is Answer.UNKNOWN
    assert not says_nonce_used(error)
