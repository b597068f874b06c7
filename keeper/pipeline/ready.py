"""Plans that wait for prices which are about to come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keeper.core.block import BlockRef
from keeper.core.lending import LendingAdapter, Position
from keeper.core.plan import Plan, Window
from keeper.core.prepared import Prepared
from keeper.core.target import TargetPolicy
from keeper.core.units import Address

MOST_READY = 256
KEPT_BLOCKS = 3
"""A head later than that was expected shows other prices, or the update never came."""


class Ready:
    """One market's prepared plans. They are worth something at the heads right after the one they were made on, and only if
    those show the very prices that were expected."""

    def __init__(self) -> None:
        self._prepared: dict[Address, Prepared] = {}
        self._made_on_block = 0
        self._latest_s = 0
        self.used = 0
        """How many orders were begun with a prepared plan."""

    def __len__(self) -> int:
        return len(self._prepared)

    def put(self, made_on: BlockRef, latest_s: int, prepared: Mapping[Address, Prepared]) -> None:
        """Keep plans made on the head `made_on` for a window that ends at `latest_s`; what was made on an earlier one goes."""
        if made_on.number != self._made_on_block:
            self._prepared.clear()
        self._made_on_block, self._latest_s = made_on.number, latest_s
        for borrower, each in prepared.items():
            self._prepared.pop(borrower, None)
            if len(self._prepared) < MOST_READY:
                self._prepared[borrower] = each

    def window_end_s(self, head: BlockRef, usual_s: int, slack_s: int) -> int | None:
        """The end of the window that the prepared plans were sized for, where there are any and it is at most `slack_s` away
        from the usual one: a window that ends at another second has another least repayment. None where nothing waits."""
        if head.number > self._made_on_block + KEPT_BLOCKS:
            self._prepared.clear()
        near = abs(self._latest_s - usual_s) <= slack_s
        return self._latest_s if self._prepared and near else None

    def find(
        self,
        adapter: LendingAdapter[Any, Any],
        state: Any,
        position: Position,
        block: BlockRef,
        window: Window,
        policy: TargetPolicy,
    ) -> tuple[Plan, ...] | None:
        """The borrower's prepared plans, as they stand at this head; None where there are none that still are the least."""
        prepared = self._prepared.pop(position.borrower, None)
        if prepared is None or prepared.position != position:
            return None
        plans = prepared.confirmed(adapter, state, block, window, policy)
        self.used += plans is not None
        return plans
