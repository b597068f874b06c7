"""Which pools an order goes around after others reverted."""

from __future__ import annotations

import pytest

from keeper.core.units import Address
from keeper.pipeline.detours import suspects

A, B, C = (Address(bytes([number]) * 20) for number in (1, 2, 3))


@pytest.mark.parametrize(
    "failed, around",
    [
        ([], set()),
        ([(A,)], {A}),
        ([(A,), (B,)], {A, B}),
        ([(A, B)], {A}),
        ([(A, B), (B,)], {B}),
        ([(A, B), (B, C)], {A, B}),
        ([(A, B), (B, C), (C,)], {A, C}),
        ([()], set()),
    ],
)
def test_what_failed_alone_and_the_first_of_what_failed_together(
    failed: list[tuple[Address, ...]], around: set[Address]
) -> None:
    assert suspects(failed) == around
