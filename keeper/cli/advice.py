"""What a person can do about a node in trouble: the end of the one line that a command leaves behind."""

from __future__ import annotations

from collections.abc import Mapping

from keeper.core import errors

_ADVICE: Mapping[type[errors.ChainError], str] = {
    errors.RpcUnreachable: "is the node running, and rpc_url right?",
    errors.RpcTimeout: "is the node overloaded? Try later, or raise rpc.timeout_s",
    errors.RateLimited: "ask more slowly (rpc.requests_per_second), or add another rpc_url",
    errors.MalformedResponse: "is rpc_url that of a JSON-RPC node? Try later, or another one",
    errors.BlockUnavailable: "the node has not caught up, or keeps too little; try again, or another node",
    errors.MethodUnavailable: "another node may offer it: change rpc_url, or add one",
    errors.NodesDisagree: "one of them lags or is wrong: compare them, or take one out of rpc_url",
    errors.RpcFailure: "try again, or another node",
}


def with_advice(error: errors.KeeperError) -> str:
    """The error's own words, and what to do about it where those do not say."""
    advice = advice_on(type(error))
    return f"{error}: {advice}" if advice is not None and "; " not in str(error) else str(error)


def advice_on(kind: type[Exception]) -> str | None:
    """What to do about a node's trouble; None for other errors."""
    return next((advice for known, advice in _ADVICE.items() if issubclass(kind, known)), None)
