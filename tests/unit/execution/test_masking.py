"""Errors of a fork, without the secrets of the URL it reads from."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Any

import pytest

from keeper.core.errors import ChainError, RateLimited, RpcFailure, RpcTimeout
from keeper.execution.masking import MaskedRpc

SAID = 'failed to get storage: error sending request for url (https://rpc.example.org/v2/s3cr3t?key=s3cr3t): "refused"'


class Failing:
    def __init__(self, error: ChainError) -> None:
        self._error = error

    async def request(self, method: str, params: Sequence[Any] = ()) -> Any:
        raise self._error

    async def batch(self, entries: Sequence[tuple[str, Sequence[Any]]]) -> list[Any | ChainError]:
        return ["0x1", self._error]


def shown(text: str) -> str:
    return text.replace("s3cr3t", "***")


@pytest.mark.parametrize("error", [RpcFailure(-32603, SAID, b"\x01"), RateLimited(SAID, 3.0), RpcTimeout(SAID)])
async def test_errors_keep_their_kind_and_lose_their_secret(error: ChainError) -> None:
    with pytest.raises(type(error)) as caught:
        await MaskedRpc(Failing(error), shown).request("eth_call")
    [one, in_batch] = await MaskedRpc(Failing(error), shown).batch([("a", []), ("b", [])])
    assert one == "0x1"
    assert type(in_batch) is type(error)
    for text in (str(caught.value), str(in_batch), "".join(traceback.format_exception(caught.value))):
        assert "s3cr3t" not in text
        assert "failed to get storage" in text
    if isinstance(error, RpcFailure):
        assert isinstance(caught.value, RpcFailure)
        assert (caught.value.code, caught.value.data, str(caught.value)) == (
            -32603,
            b"\x01",
            shown(SAID) + " (code -32603)",
        )
    if isinstance(error, RateLimited):
        assert isinstance(caught.value, RateLimited)
        assert caught.value.retry_after_s == 3.0
