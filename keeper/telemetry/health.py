"""`/health`: 200 only while every chain's applied block advances and at least one of its markets is verified."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from aiohttp import web

from keeper.core.block import BlockRef
from keeper.core.errors import ConfigError
from keeper.core.units import Address, to_hex
from keeper.telemetry.redact import Redactor


class MarketState(StrEnum):
    STARTING = "starting"
    VERIFIED = "verified"
    REFUSED = "refused"
    """It cannot be trusted; nothing is done there."""
    STOPPED = "stopped"
    """Our own invariant broke there."""


class Status(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"
    """Running, but a market is refused or stopped, a signer sends nothing because of a pause, or the store cannot write."""
    STALLED = "stalled"
    """A chain does not advance, or none of its markets is verified."""


@dataclass(slots=True)
class ChainHealth:
    """What the pipeline of one chain tells about itself."""

    clock: Callable[[], float]
    redactor: Redactor
    applied: BlockRef | None = None
    head: BlockRef | None = None
    open_orders: int = 0
    paused: str | None = None
    """Why nothing is sent, in words."""
    paused_signers: Mapping[Address, str] = field(default_factory=dict)
    """Who sends nothing, with why; the others do."""
    max_age_s: float | None = None
    """The applied block may be as old as this; None: as the board says for all chains."""
    _advanced_at: float | None = None
    _markets: dict[Address, tuple[MarketState, str]] = field(default_factory=dict)
    _error: tuple[str, float] | None = None

    def note_head(self, block: BlockRef) -> None:
        self.head = block

    def note_applied(self, block: BlockRef) -> None:
        """The book now stands at `block`. The same block again is no progress."""
        if self.applied is None or block.hash != self.applied.hash:
            self._advanced_at = self.clock()
        self.applied = block

    def note_market(self, market: Address, state: MarketState, why: str = "") -> None:
        self._markets[market] = (state, why)

    def note_error(self, error: BaseException) -> None:
        self._error = (self.redactor.clean(f"{type(error).__name__}: {error}"), self.clock())

    def age_s(self) -> float | None:
        """Since the applied block last advanced; None before the first."""
        return None if self._advanced_at is None else self.clock() - self._advanced_at

    def status(self, max_age_s: float) -> Status:
        max_age_s = self.max_age_s or max_age_s
        states = [state for state, _ in self._markets.values()]
        age_s = self.age_s()
        if age_s is None or age_s > max_age_s or MarketState.VERIFIED not in states:
            return Status.STALLED
        broken = any(state in (MarketState.REFUSED, MarketState.STOPPED) for state in states)
        return Status.DEGRADED if broken or self.paused is not None or self.paused_signers else Status.OK

    def body(self, max_age_s: float) -> dict[str, Any]:
        age_s = self.age_s()
        return {
            "status": self.status(max_age_s).value,
            "applied_block": self.applied.number if self.applied is not None else None,
            "head_block": self.head.number if self.head is not None else None,
            "age_s": round(age_s, 1) if age_s is not None else None,
            "max_age_s": self.max_age_s or max_age_s,
            "markets": {
                to_hex(market): {"state": state.value, "why": self.redactor.clean(why)}
                for market, (state, why) in self._markets.items()
            },
            "open_orders": self.open_orders,
            "paused": self.redactor.clean(self.paused) if self.paused is not None else None,
            "paused_signers": {to_hex(signer): self.redactor.clean(why) for signer, why in self.paused_signers.items()},
            "last_error": self._error[0] if self._error is not None else None,
            "last_error_age_s": round(self.clock() - self._error[1], 1) if self._error is not None else None,
        }


class HealthBoard:
    """All chains. `store_trouble` answers why the store cannot write at the moment, or None."""

    def __init__(
        self,
        redactor: Redactor,
        *,
        max_age_s: float,
        store_trouble: Callable[[], str | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redactor = redactor
        self._max_age_s = max_age_s
        self._store_trouble = store_trouble
        self._clock = clock
        self._chains: dict[str, ChainHealth] = {}

    def chain(self, name: str) -> ChainHealth:
        """The chain's board, made when first asked for: from then on it must advance."""
        if name not in self._chains:
            self._chains[name] = ChainHealth(self._clock, self._redactor)
        return self._chains[name]

    def report(self) -> tuple[Status, dict[str, Any]]:
        statuses = {chain.status(self._max_age_s) for chain in self._chains.values()}
        trouble = self._store_trouble()
        if Status.STALLED in statuses or not statuses:
            status = Status.STALLED
        elif Status.DEGRADED in statuses or trouble is not None:
            status = Status.DEGRADED
        else:
            status = Status.OK
        chains = {name: chain.body(self._max_age_s) for name, chain in self._chains.items()}
        store = self._redactor.clean(trouble) if trouble is not None else None
        return status, {"status": status.value, "store_trouble": store, "chains": chains}


@asynccontextmanager
async def serve_health(board: HealthBoard, *, port: int, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """Serve `/health`; yields the port (0 asks for a free one). Raises `ConfigError` when it cannot be bound."""

    async def answer(_: web.Request) -> web.Response:
        status, body = board.report()
        code = 503 if status is Status.STALLED else 200
        return web.json_response(body, status=code, headers={"Cache-Control": "no-store"})

    app = web.Application()
    app.router.add_get("/health", answer)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise ConfigError(
                f"health page: cannot listen on {host} port {port} ({error.strerror}): set another port or free this one"
            ) from None
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
