from __future__ import annotations

import pytest

from keeper.chain.deadlines import Deadlines, name_of
from keeper.chain.rpc import Entry

KINDS = Deadlines(head_s=1, state_s=2, logs_s=3, simulate_s=4, send_s=5)
HEAD: Entry = ("eth_getBlockByNumber", ["latest", False])
STATE: Entry = ("eth_call", [{}, "0x1"])
LOGS: Entry = ("eth_getLogs", [{}])


@pytest.mark.parametrize(
    "entry, seconds",
    [
        (HEAD, 1),
        (("eth_blockNumber", []), 1),
        (("eth_getBlockByNumber", ["0x5", False]), 2),
        (("eth_getBlockByNumber", []), 2),
        (STATE, 2),
        (LOGS, 3),
        (("eth_simulateV1", []), 4),
        (("eth_sendRawTransaction", ["0x"]), 5),
        (("evm_mine", []), 5),
    ],
)
def test_each_kind_has_its_own(entry: Entry, seconds: float) -> None:
    assert KINDS.of([entry]) == seconds


def test_a_batch_has_the_longest_of_its_members() -> None:
    assert KINDS.of([HEAD, LOGS, STATE]) == 3


def test_batches_have_names_of_their_own() -> None:
    names = {name_of([STATE]), name_of([STATE, STATE]), name_of([STATE, LOGS])}
    assert names == {"eth_call", "eth_call in a batch", "mixed in a batch"}
