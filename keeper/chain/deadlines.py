"""How long each kind of request may take, in one HTTP exchange."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keeper.chain.rpc import Entry

_READ_PREFIXES = ("eth_", "net_", "web3_", "debug_", "trace_", "txpool_")
_LATEST = ("latest", "pending")


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds until an exchange counts as lost, by what it asks for; a batch has the longest of its members'."""

    head_s: float = 2.0
    """The number or header of the newest block: cheap everywhere, and stale when it comes late."""
    state_s: float = 10.0
    logs_s: float = 20.0
    simulate_s: float = 10.0
    send_s: float = 10.0
    """Writes. Past it the outcome is unknown, not failed."""

    def of(self, entries: Sequence[Entry]) -> float:
        return max(self._of_one(method, params) for method, params in entries)

    def _of_one(self, method: str, params: Sequence[object]) -> float:
        if not is_read(method):
            return self.send_s
        if method == "eth_getLogs":
            return self.logs_s
        if method == "eth_simulateV1":
            return self.simulate_s
        return self.head_s if asks_for_head(method, params) else self.state_s


def is_read(method: str) -> bool:
    """Whether a request may be repeated. What is not known to be a read is none."""
    return method.startswith(_READ_PREFIXES) and not method.startswith("eth_send")


def asks_for_head(method: str, params: Sequence[object]) -> bool:
    return method == "eth_blockNumber" or (method == "eth_getBlockByNumber" and bool(params) and params[0] in _LATEST)


def spans_blocks(entry: Entry) -> bool:
    """A log query over a range of blocks: its size is for the caller to choose."""
    method, params = entry
    return method == "eth_getLogs" and params[0].get("fromBlock") != params[0].get("toBlock")


def may_be_hedged(entry: Entry) -> bool:
    """Not where the caller chooses how much is asked for, nor where what a node has heard of transactions is the answer: the
    one that they were sent to knows more than any other."""
    return not spans_blocks(entry) and not entry[0].startswith("eth_getTransaction")


def name_of(entries: Sequence[Entry]) -> str:
    """What latencies of an exchange are remembered under: batches are slower than single requests."""
    methods = {method for method, _ in entries}
    name = methods.pop() if len(methods) == 1 else "mixed"
    return name if len(entries) == 1 else f"{name} in a batch"
