"""An ordered list of endpoints as one: choice by health, fail-over, hedged reads. Reads are repeated; writes never are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from keeper.chain.blocks import BlockId, decode_header, header_entry
from keeper.chain.deadlines import is_read, name_of
from keeper.chain.failover import Lines, Read, Sheet
from keeper.chain.health import EndpointHealth
from keeper.chain.hedging import HedgeBudget
from keeper.chain.line import UNWELL, Endpoint, Line, Observer, monotonic_s
from keeper.chain.rpc import Entry, Params
from keeper.concurrency import Group
from keeper.core.block import BlockRef
from keeper.core.errors import ChainError, ConfigError, Defect, MalformedResponse
from keeper.core.hexdata import decode_object, decode_quantity

HEDGED_SHARE = 0.05
UNKNOWN_P95_SHARE = 0.25
"""Of an exchange's deadline: where too few answers are known to say what is unusual."""
TOLERATED_LAG_BLOCKS = 3
SLOW_FACTOR = 3.0
SLOW_FLOOR_S = 0.05
"""An endpoint is slow when its average exceeds that of the quickest by this factor and by this much."""


@dataclass(frozen=True, slots=True)
class EndpointHead:
    """One endpoint's newest block, or why it could not be had."""

    label: str
    header: BlockRef | None
    error: ChainError | None


class Endpoints:
    """Asks the best endpoint; the next one when it is in trouble.

    * The best one is well (not resting after trouble), offers the method, follows the head, seldom fails and is not
      much slower than the others; the configured order decides between those that are alike.
    * A read (`eth_*` and its like) is tried up to `attempts` times within `deadline_s`: on a timeout, a broken
      connection, a malformed answer or a rate limit the endpoint rests and the next is asked; on an unknown block or
      method the next is asked too. A revert, any other JSON-RPC error and a refused log range come back at once.
    * A read that takes longer than the endpoint's 95th percentile for it is also put to the next one; the first good
      answer wins. At most `hedged_share` of the reads are. Ranges of logs are not: they are narrowed instead.
    * A write (`eth_send*`), and anything that is no known read, goes to one endpoint, once. What went wrong is raised
      as it is; a timeout or a broken connection then means *unknown*.
    * One exchange is answered by one endpoint: the members of a batch never mix two nodes' views.
    * `chain_id` is checked on every endpoint before its first answer counts; one of another chain is never asked again.
      With None the first endpoint's word is taken.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        chain_id: int | None,
        *,
        attempts: int = 4,
        deadline_s: float = 30.0,
        hedged_share: float = HEDGED_SHARE,
        observer: Observer | None = None,
    ) -> None:
        if not endpoints:
            raise ConfigError("no RPC endpoint is configured")
        self.chain_id = chain_id
        self.tolerated_lag_blocks = TOLERATED_LAG_BLOCKS
        self._lines = [Line(endpoint, observer) for endpoint in endpoints]
        self._attempts = max(attempts, len(self._lines) + 1)
        self._deadline_s = deadline_s
        self._hedges = HedgeBudget(hedged_share)

    @property
    def labels(self) -> tuple[str, ...]:
        """Scheme and host of each endpoint, in order."""
        return tuple(line.label for line in self._lines)

    @property
    def lines(self) -> Sequence[Line]:
        return self._lines

    async def __aenter__(self) -> Endpoints:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        for line in self._lines:
            await line.rpc.close()

    async def check(self) -> int:
        """The chain id, asked of every endpoint: for the start. Raises `WrongChain` when any one is of another chain, and
        the last trouble when none answers. A back-up that is merely out of reach is forgiven."""
        trouble: ChainError = ChainError("no endpoint was asked")
        for line in self._lines:
            try:
                await self.know_chain(line)
            except UNWELL as error:
                line.health.failed(error, monotonic_s())
                trouble = error
        if self.chain_id is None or not any(line.chain_checked for line in self._lines):
            raise trouble
        return self.chain_id

    async def request(self, method: str, params: Params = ()) -> Any:
        """The `result` of one call. Raises a `ChainError`."""
        [answer] = await self.batch([(method, params)])
        return raised(answer)

    async def batch(self, entries: Sequence[Entry]) -> list[Any | ChainError]:
        """Results in the order asked, a failed member as its error in its place. A write must come alone."""
        if not entries:
            return []
        if all(is_read(method) for method, _ in entries):
            self._hedges.earn()
            return await self.read(self, entries)
        if len(entries) > 1:
            raise Defect(f"a write goes alone, not in a batch: {[method for method, _ in entries]}")
        return await self._write(entries)

    # -- all of them -------------------------------------------------------------------------------------------------
    async def heads(self) -> list[EndpointHead]:
        """What each endpoint calls its newest block."""
        return await self.headers("latest")

    async def headers(self, block: BlockId) -> list[EndpointHead]:
        """A block as each endpoint has it, in configured order; asked of all at once, without retries."""
        async with Group() as group:
            asked = [group.create_task(self._header_of(line, block)) for line in self._lines]
        return [each.result() for each in asked]

    def distrust(self, label: str, why: ChainError) -> None:
        """What an endpoint says was found to be stale or wrong: it rests as after any failure, longer each time."""
        for line in self._lines:
            if line.label == label:
                line.health.failed(why, monotonic_s())

    def disbelieve(self, head: BlockRef) -> list[str]:
        """Nobody has the parent of this head: whoever named it rests for long, unless there is nobody else to ask, and nobody
        is behind on its account. Returns who is put to rest now."""
        liars = [line for line in self._lines if line.health.head_block == head.number]
        for line in self._lines:
            line.health.forget_lag()
        if len(liars) == len(self._lines):
            return []
        put_to_rest = [line.label for line in liars if not line.health.disbelieved]
        for line in liars:
            line.health.misled()
        return put_to_rest

    def offers(self, method: str) -> bool:
        """Whether any endpoint may offer the method: all but those that have said lately that they do not."""
        return any(not line.lacks([(method, ())]) for line in self.usable())

    def health(self) -> tuple[EndpointHealth, ...]:
        return tuple(line.health.shown(line.label) for line in self._lines)

    # -- for reads ---------------------------------------------------------------------------------------------------
    async def read(self, lines: Lines, entries: Sequence[Entry]) -> list[Any | ChainError]:
        """One read of these of our lines, repeated and failed over as any."""
        return await Read(lines, entries, self._attempts).run(self._deadline_s)

    async def know_chain(self, line: Line) -> None:
        """Check the line's chain once. Raises `WrongChain`, or why it could not be asked."""
        self.chain_id = await line.check_chain(self.chain_id)

    def usable(self) -> list[Line]:
        """The lines of the right chain, in order. Raises `WrongChain` when there is none."""
        usable = [line for line in self._lines if line.wrong_chain is None]
        if not usable:
            raise self._lines[0].wrong_chain or Defect("no endpoint is left")
        return usable

    def rank(self, line: Line, entries: Sequence[Entry]) -> tuple[int, ...]:
        """What is held against a line, the worst first."""
        lagging = line.health.lag_blocks > self.tolerated_lag_blocks
        return line.lacks(entries), lagging, line.health.flaky, self._is_slow(line, name_of(entries))

    def hedge_after_s(self, line: Line, entries: Sequence[Entry]) -> float | None:
        """After so long an answer of this line is unusually late; None where there is nobody else to ask."""
        if len(self._lines) == 1:
            return None
        usual_s = line.health.p95_s(name_of(entries))
        return UNKNOWN_P95_SHARE * line.deadline_s(entries) if usual_s is None else usual_s

    def may_hedge(self) -> bool:
        return self._hedges.spend()

    def note_head(self, line: Line, method: str, answer: object) -> None:
        """A line has named its newest block."""
        number = _block_number(method, answer)
        if number is not None:
            others = [
                each.health.head_block or 0 for each in self._lines if each is not line and not each.health.rest_s()
            ]
            line.health.at_head(number, max(0, max(others, default=0) - number))

    def _is_slow(self, line: Line, name: str) -> bool:
        averages_s = {each: each.health.ewma_s(name) for each in self._lines}
        known_s = [seconds for seconds in averages_s.values() if seconds is not None]
        own_s = averages_s[line]
        return own_s is not None and own_s > max(SLOW_FACTOR * min(known_s), min(known_s) + SLOW_FLOOR_S)

    async def _header_of(self, line: Line, block: BlockId) -> EndpointHead:
        sheet = Sheet(line, [header_entry(block)])
        begun_s = monotonic_s()
        error: ChainError | None
        try:
            error = line.wrong_chain or await sheet.ask(self)
            if error is None and sheet.answers is not None:
                [answer] = sheet.answers
                return EndpointHead(line.label, decode_header(raised(answer), block), None)
        except ChainError as trouble:
            error = trouble
        if isinstance(error, UNWELL):
            line.health.failed(error, begun_s)
        return EndpointHead(line.label, None, error or MalformedResponse(f"{line.label}: no answer"))

    async def _write(self, entries: Sequence[Entry]) -> list[Any | ChainError]:
        trouble: ChainError | None = None
        # Not by rank: transactions of one account that change endpoints in between arrive there with a gap before them.
        for line in sorted(self.usable(), key=lambda line: (line.health.rest_s() > 0, line.lacks(entries))):
            try:
                await self.know_chain(line)
            except ChainError as error:
                # Nothing has been sent yet, so the next endpoint may do it.
                trouble = error
                continue
            answers: list[Any | ChainError] = []
            await line.answer(entries, answers)
            return answers
        raise trouble or Defect("no endpoint was asked")


def raised(answer: Any | ChainError) -> Any:
    """A member's result; its error is raised."""
    if isinstance(answer, ChainError):
        raise answer
    return answer


def _block_number(method: str, answer: object) -> int | None:
    """None for an answer that is none: whoever asked will find that out and say so."""
    try:
        return decode_quantity(
            answer if method == "eth_blockNumber" else decode_object(answer, "newest block").get("number"), "its number"
        )
    except MalformedResponse:
        return None
