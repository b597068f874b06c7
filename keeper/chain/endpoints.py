"""An ordered list of endpoints as one: fail-over, back-off, deadlines. Reads are repeated; writes never are."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

from keeper.chain.failover import Read
from keeper.chain.line import UNWELL, Endpoint, Line, Observer, monotonic_s
from keeper.chain.rpc import Entry, Params
from keeper.core.errors import ChainError, ConfigError, Defect

_READ_PREFIXES = ("eth_", "net_", "web3_", "debug_", "trace_", "txpool_")


class Endpoints:
    """Asks the first endpoint that is well; the next one when it is in trouble.

    * A read (`eth_*` and its like) is tried up to `attempts` times within `deadline_s`: on a timeout, a broken
      connection, a malformed answer or a rate limit the endpoint rests and the next is asked; on an unknown block or
      method the next is asked too. A revert, any other JSON-RPC error and a refused log range come back at once.
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
        observer: Observer | None = None,
    ) -> None:
        if not endpoints:
            raise ConfigError("no RPC endpoint is configured")
        self.chain_id = chain_id
        self._lines = [Line(endpoint, observer) for endpoint in endpoints]
        self._attempts = max(attempts, len(self._lines) + 1)
        self._deadline_s = deadline_s

    @property
    def labels(self) -> tuple[str, ...]:
        """Scheme and host of each endpoint, in order."""
        return tuple(line.rpc.label for line in self._lines)

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
                line.fell_ill(error, monotonic_s())
                trouble = error
        if self.chain_id is None or not any(line.chain_checked for line in self._lines):
            raise trouble
        return self.chain_id

    async def request(self, method: str, params: Params = ()) -> Any:
        """The `result` of one call. Raises a `ChainError`."""
        [answer] = await self.batch([(method, params)])
        if isinstance(answer, ChainError):
            raise answer
        return answer

    async def batch(self, entries: Sequence[Entry]) -> list[Any | ChainError]:
        """Results in the order asked, a failed member as its error in its place. A write must come alone."""
        if not entries:
            return []
        if all(_is_read(method) for method, _ in entries):
            return await Read(self, entries, self._attempts).run(self._deadline_s)
        if len(entries) > 1:
            raise Defect(f"a write goes alone, not in a batch: {[method for method, _ in entries]}")
        return await self._write(entries)

    async def know_chain(self, line: Line) -> None:
        """Check the line's chain once. Raises `WrongChain`, or why it could not be asked."""
        self.chain_id = await line.check_chain(self.chain_id)

    def usable(self) -> list[Line]:
        """The lines of the right chain, in order. Raises `WrongChain` when there is none."""
        usable = [line for line in self._lines if line.wrong_chain is None]
        if not usable:
            raise self._lines[0].wrong_chain or Defect("no endpoint is left")
        return usable

    async def _write(self, entries: Sequence[Entry]) -> list[Any | ChainError]:
        trouble: ChainError | None = None
        for line in sorted(self.usable(), key=lambda line: line.rest_s(monotonic_s()) > 0):
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


def _is_read(method: str) -> bool:
    return method.startswith(_READ_PREFIXES) and not method.startswith("eth_send")
