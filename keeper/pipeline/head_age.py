"""How old the present head is, by two clocks: the machine's may be wrong, and may be set while we look."""

from __future__ import annotations

import time
from collections.abc import Callable

from keeper.core.block import BlockRef
from keeper.core.errors import Defect


class HeadAge:
    """`now_s` is the time of day, `steady_s` only ever goes on. With a clock that is far behind, the time of day makes every
    head look new; how long ago it came does not."""

    def __init__(self, now_s: Callable[[], float], steady_s: Callable[[], float] = time.monotonic) -> None:
        self.now_s = now_s
        self.steady_s = steady_s
        self._came: tuple[BlockRef, float, float] | None = None

    def begin(self, head: BlockRef) -> float:
        """The head has just come. Returns the time of day."""
        now_s = self.now_s()
        self._came = head, now_s, self.steady_s()
        return now_s

    def taken_s(self) -> float:
        """Since it came."""
        return self.steady_s() - self._arrival()[2]

    def age_s(self) -> float:
        """Its age when it came, if the time of day says that it had any, and the time since."""
        head, now_s, _ = self._arrival()
        return max(0.0, now_s - head.timestamp_s) + self.taken_s()

    def chain_s(self) -> float:
        """The second that the chain has reached by now, as far as can be known: never before the head's own."""
        return self._arrival()[0].timestamp_s + self.age_s()

    def _arrival(self) -> tuple[BlockRef, float, float]:
        if self._came is None:
            raise Defect("the age of a head is asked for before one came")
        return self._came
