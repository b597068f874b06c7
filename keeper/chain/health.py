"""How one endpoint has been doing lately: how fast, how reliable, how far behind, and whether it rests."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from keeper.core.errors import ChainError, RateLimited

FIRST_BACKOFF_S = 0.1
FIRST_LIMITED_PAUSE_S = 0.5
"""Limits are mostly per second: a shorter pause only runs into them again."""
LONGEST_COOLING_S = 60.0
DISBELIEVED_S = 30.0
"""Who named a head that cannot be is asked last for so long."""

WINDOW = 64
"""Latencies of each method that are remembered."""
ENOUGH_FOR_P95 = 10
ENOUGH_FOR_EWMA = 3
EWMA_WEIGHT = 0.2
FORGET_S = 60.0
"""Older slowness, failures and lag are forgotten, so that an endpoint that was passed over is tried again."""
LAST_OUTCOMES = 32
ENOUGH_OUTCOMES = 8
FLAKY_SHARE = 0.25

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class EndpointHealth:
    """One endpoint for a page or a log. Latencies are of its slowest method lately; None where too little is known."""

    label: str
    rest_s: float
    ewma_s: float | None
    p95_s: float | None
    errors: dict[str, int]
    """Failures since the start, by class."""
    head_block: int | None
    lag_blocks: int
    flaky: bool


class Latency:
    """How long one method takes: a bounded window of the latest answers, and their moving average."""

    def __init__(self) -> None:
        self._samples_s: deque[float] = deque(maxlen=WINDOW)
        self._average_s = 0.0
        self._noted_s = -math.inf

    def note(self, elapsed_s: float, now_s: float) -> None:
        if now_s - self._noted_s > FORGET_S:
            self._average_s = elapsed_s
        self._samples_s.append(elapsed_s)
        self._average_s += EWMA_WEIGHT * (elapsed_s - self._average_s)
        self._noted_s = now_s

    def ewma_s(self, now_s: float) -> float | None:
        """None when unknown, or known too long ago to hold it against anybody."""
        known = len(self._samples_s) >= ENOUGH_FOR_EWMA and now_s - self._noted_s <= FORGET_S
        return self._average_s if known else None

    def p95_s(self) -> float | None:
        if len(self._samples_s) < ENOUGH_FOR_P95:
            return None
        return sorted(self._samples_s)[math.ceil(0.95 * len(self._samples_s)) - 1]


class Health:
    """Kept by the line of an endpoint, read by whoever chooses between lines."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self.limited = False
        """Its latest failure was a rate limit."""
        self.errors: Counter[str] = Counter()
        self.head_block: int | None = None
        self._clock = clock
        self._latencies: dict[str, Latency] = {}
        self._outcomes: deque[tuple[float, bool]] = deque(maxlen=LAST_OUTCOMES)
        self._failures = 0
        self._cooling_until_s = -math.inf
        self._ill_since_s = -math.inf
        self._lag_blocks, self._lag_noted_s = 0, -math.inf
        self._disbelieved_until_s = -math.inf

    # -- what happened -------------------------------------------------------------------------------------------
    def answered(self, name: str, elapsed_s: float) -> None:
        now_s = self._clock()
        self._latency(name).note(elapsed_s, now_s)
        self._outcomes.append((now_s, True))

    def kept_waiting(self, name: str, elapsed_s: float) -> None:
        """Nothing came within `elapsed_s`, which is more than is usual: the answer would have taken at least that."""
        self._latency(name).note(elapsed_s, self._clock())

    def recovered(self) -> None:
        self._failures, self._cooling_until_s, self.limited = 0, -math.inf, False

    def failed(self, error: ChainError, begun_s: float) -> None:
        """Remember a failure of a request begun at `begun_s`: the endpoint rests for a while that doubles each time.
        Requests that were under way together count as one failure."""
        now_s = self._clock()
        self.errors[type(error).__name__] += 1
        self._outcomes.append((now_s, False))
        if begun_s >= self._ill_since_s:
            self._failures += 1
            self._ill_since_s = now_s
        self.limited = isinstance(error, RateLimited)
        first_s = FIRST_LIMITED_PAUSE_S if self.limited else FIRST_BACKOFF_S
        pause_s = min(first_s * 2.0 ** (self._failures - 1), LONGEST_COOLING_S)
        if isinstance(error, RateLimited) and error.retry_after_s is not None:
            pause_s = error.retry_after_s
        self._cooling_until_s = max(self._cooling_until_s, now_s + pause_s)

    def at_head(self, block_number: int, lag_blocks: int) -> None:
        """It names this block as its newest, so many behind what was known then."""
        self.head_block = block_number
        self._lag_blocks, self._lag_noted_s = lag_blocks, self._clock()

    def misled(self) -> None:
        """It named a head that cannot be: it rests for long, however well it answers otherwise."""
        self.head_block = None
        self._disbelieved_until_s = self._clock() + DISBELIEVED_S

    def forget_lag(self) -> None:
        """It was measured against a head that cannot be."""
        self._lag_blocks = 0

    # -- what follows --------------------------------------------------------------------------------------------
    def rest_s(self) -> float:
        """How long it should still be left alone; 0 when it is well."""
        return max(0.0, self._cooling_until_s - self._clock(), self._disbelieved_until_s - self._clock())

    @property
    def disbelieved(self) -> bool:
        return self._disbelieved_until_s > self._clock()

    @property
    def lag_blocks(self) -> int:
        return self._lag_blocks if self._clock() - self._lag_noted_s <= FORGET_S else 0

    @property
    def flaky(self) -> bool:
        """A good part of what it was asked lately failed."""
        since_s = self._clock() - FORGET_S
        lately = [well for at_s, well in self._outcomes if at_s >= since_s]
        return len(lately) >= ENOUGH_OUTCOMES and lately.count(False) >= FLAKY_SHARE * len(lately)

    def ewma_s(self, name: str) -> float | None:
        latency = self._latencies.get(name)
        return latency.ewma_s(self._clock()) if latency is not None else None

    def p95_s(self, name: str) -> float | None:
        latency = self._latencies.get(name)
        return latency.p95_s() if latency is not None else None

    def shown(self, label: str) -> EndpointHealth:
        averages_s = [seconds for name in self._latencies if (seconds := self.ewma_s(name)) is not None]
        p95s_s = [seconds for name in self._latencies if (seconds := self.p95_s(name)) is not None]
        return EndpointHealth(
            label=label,
            rest_s=self.rest_s(),
            ewma_s=max(averages_s, default=None),
            p95_s=max(p95s_s, default=None),
            errors=dict(self.errors),
            head_block=self.head_block,
            lag_blocks=self.lag_blocks,
            flaky=self.flaky,
        )

    def _latency(self, name: str) -> Latency:
        return self._latencies.setdefault(name, Latency())
