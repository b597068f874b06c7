"""The error tree. A branch is named by who must act.

::

    KeeperError            expected trouble
    ├── ConfigError        a person edits a file; the message names the key and the fix
    ├── ChainError         the world is unwell: wait, fail over, restart the chain
    │   ├── RpcTimeout         no answer in time
    │   ├── RpcUnreachable     no connection, or the connection broke
    │   ├── RateLimited        the node asks us to slow down (carries retry_after_s)
    │   ├── RangeRefused       a log query was too wide or too large: split it
    │   ├── MalformedResponse  HTML, truncated JSON, a wrong id, short return data, a log that does not decode
    │   ├── BlockUnavailable   the pinned block is not (or no longer) known to the node
    │   ├── MethodUnavailable  the node does not offer the method
    │   ├── ReorgTooDeep       no common ancestor within the configured depth
    │   ├── WrongChain         the node answers for another chain id
    │   ├── NodesDisagree      nodes that must agree say different things, or too few say anything
    │   └── RpcFailure         any other JSON-RPC error (carries code, message, data)
    ├── MarketError        this market cannot be trusted (unknown revision, stable debt, failed verification)
    │   └── NoMarket           there is no such market at the address
    ├── StoreError         the store cannot be used (newer version, held by another keeper)
    │   └── StoreBusy          not now (full disk, another program): later it may
    ├── QuoteError         this venue only; try the next
    └── SubmitError
        ├── Refused            proven not accepted; the nonce is free
        └── OutcomeUnknown     the nonce is held; reconcile decides
    Defect                 we are wrong: our own invariant broke. Not a KeeperError; stops that market, loudly

Routine outcomes are values (`keeper.core.outcome.Skip`), never exceptions.
"""

from __future__ import annotations


class KeeperError(Exception):
    """Expected trouble: somebody or something outside can put it right."""


class ConfigError(KeeperError):
    """A person must edit a file or an argument; the message is one line: what, where, how to fix it."""


class ChainError(KeeperError):
    """The node or the network is unwell."""


class RpcTimeout(ChainError):
    """No answer within the deadline."""


class RpcUnreachable(ChainError):
    """No connection, or it broke before an answer came."""


class RateLimited(ChainError):
    """HTTP 429 or its JSON-RPC relatives."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RangeRefused(ChainError):
    """A log query that the node finds too wide or too large; a narrower one may pass."""


class MalformedResponse(ChainError):
    """An answer that is not what the protocol promises."""


class BlockUnavailable(ChainError):
    """The pinned block is unknown to the node: not there yet, pruned, or reorganised away."""


class MethodUnavailable(ChainError):
    """The node does not offer this JSON-RPC method."""


class ReorgTooDeep(ChainError):
    """No common ancestor within the configured depth."""


class WrongChain(ChainError):
    """The node answers for another chain than configured."""


class NodesDisagree(ChainError):
    """Nodes that must agree gave different answers to one question, or too few gave any; the message names them."""


class RpcFailure(ChainError):
    """A JSON-RPC error that fits no narrower class. `data` holds revert bytes where the node sent any."""

    def __init__(self, code: int, message: str, data: bytes | None = None) -> None:
        super().__init__(f"{message} (code {code})")
        self.code = code
        self.data = data


class MarketError(KeeperError):
    """This market cannot be trusted; the message names it and why."""


class NoMarket(MarketError):
    """What stands at the address, if anything, is not the entry to a market."""


class StoreError(KeeperError):
    """The store cannot be used as it is."""


class StoreBusy(StoreError):
    """The store takes nothing now: the disk is full, or another program holds it. Later it may."""


class QuoteError(KeeperError):
    """One venue failed; the next may serve."""


class SubmitError(KeeperError):
    """A submission did not simply succeed."""


class Refused(SubmitError):
    """Proven not accepted by the node; the nonce is free again."""


class Paused(Refused):
    """Nothing was written down or sent, because a pause stands; the message says which."""


class OutcomeUnknown(SubmitError):
    """It may or may not be on its way; the nonce is held until reconcile knows."""


class Defect(Exception):
    """Our own invariant broke."""


class MissedLog(Defect):
    """A log moves more than there is: one before it never came."""
