"""Addresses are tried in turn, with pauses that grow."""

from __future__ import annotations

from keeper.chain.rotation import LONGEST_PAUSE_S, Rotation
from keeper.chain.sockets import WebSocketAddress
from keeper.chain.subscription import NotOffered
from keeper.core.errors import RpcTimeout, WrongChain

FIRST, SECOND = WebSocketAddress("ws://first.example"), WebSocketAddress("ws://second.example")
TIMEOUT = RpcTimeout("no answer")


def test_each_is_tried_before_a_pause_that_doubles() -> None:
    rotation = Rotation([FIRST, SECOND], 0.5)
    tried, pauses_s = [], []
    for _ in range(6):
        tried.append(rotation.current)
        pauses_s.append(rotation.failed(TIMEOUT))
    assert tried == [FIRST, SECOND] * 3
    assert pauses_s == [0, 0.5, 0, 1, 0, 2]


def test_the_pause_has_an_end_and_begins_anew_after_success() -> None:
    rotation = Rotation([FIRST], 0.5)
    assert [rotation.failed(TIMEOUT) for _ in range(3)] == [0.5, 1, 2]
    assert max(rotation.failed(TIMEOUT) for _ in range(40)) == LONGEST_PAUSE_S
    rotation.worked()
    assert rotation.failed(TIMEOUT) == 0.5


def test_the_hopeless_are_left_out() -> None:
    rotation = Rotation([FIRST, SECOND], 0.5)
    assert rotation.failed(NotOffered("no")) == 0
    assert rotation.current is SECOND
    assert rotation.failed(WrongChain("another")) == 0
    assert rotation.current is None
