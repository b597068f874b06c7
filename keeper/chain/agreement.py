"""The last word before money moves, taken from several endpoints of different hosts: equal, or none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keeper.chain.deadlines import is_read
from keeper.chain.endpoints import Endpoints, raised
from keeper.chain.failover import OPEN
from keeper.chain.line import Line
from keeper.chain.rpc import Entry, Params
from keeper.chain.translate import reverted
from keeper.concurrency import Group
from keeper.core.errors import ChainError, ConfigError, Defect, MethodUnavailable, NodesDisagree

MOST_SHOWN_CHARS = 80
_CALL_FIELDS = ("status", "returnData", "gasUsed")
_LOG_FIELDS = ("address", "topics", "data")

Answers = list[Any | ChainError]


class Agreement:
    """An `Rpc` for reads alone: each is put to `count` hosts at once, to one more for each that has no answer.

    Raises `NodesDisagree`, naming who said what, when two answers differ or too few come. What counts of a simulation is
    what its calls did (status, bytes, gas, logs): nodes differ in how they describe a block that will never be. Two
    endpoints of one host are one voice.
    """

    def __init__(self, pool: Endpoints, count: int) -> None:
        hosts = {line.host for line in pool.lines}
        if count > len(hosts):
            raise ConfigError(
                f"rpc.agreement = {count} needs as many rpc_url of different hosts, there {_are(len(hosts))}: add an endpoint"
                " of another provider or lower it"
            )
        self._pool = pool
        self._count = count

    async def request(self, method: str, params: Params = ()) -> Any:
        """The `result` of one call, as all of them have it."""
        [answer] = await self.batch([(method, params)])
        return raised(answer)

    async def batch(self, entries: Sequence[Entry]) -> Answers:
        """Results in the order asked, an error that all agree on (a revert) in its place."""
        if not all(is_read(method) for method, _ in entries):
            raise Defect("a write is never asked of several nodes")
        if not entries:
            return []
        waiting = self._voices(entries)
        heard: dict[str, Answers] = {}
        silent: list[ChainError] = []
        while len(heard) < self._count and waiting:
            asked = waiting[: self._count - len(heard)]
            waiting = waiting[len(asked) :]
            for voice, answers in await self._ask(asked, entries):
                if isinstance(answers, ChainError):
                    silent.append(answers)
                else:
                    heard[voice.label] = answers
        self._compare(entries, heard, silent)
        return next(iter(heard.values()))

    def _voices(self, entries: Sequence[Entry]) -> list[OneHost]:
        """The hosts, that of the best endpoint first."""
        lines = sorted(self._pool.usable(), key=lambda line: (line.health.rest_s() > 0, self._pool.rank(line, entries)))
        return [OneHost(self._pool, host) for host in dict.fromkeys(line.host for line in lines)]

    async def _ask(
        self, voices: Sequence[OneHost], entries: Sequence[Entry]
    ) -> list[tuple[OneHost, Answers | ChainError]]:
        async with Group() as group:
            asked = [(voice, group.create_task(voice.answer(entries))) for voice in voices]
        return [(voice, task.result()) for voice, task in asked]

    def _compare(self, entries: Sequence[Entry], heard: dict[str, Answers], silent: Sequence[ChainError]) -> None:
        if len(heard) < self._count:
            if not heard and silent and all(isinstance(error, MethodUnavailable) for error in silent):
                raise silent[0]
            why = "; ".join(map(str, silent))
            answered = " and ".join(heard) or "nobody"
            raise NodesDisagree(f"{self._count} nodes must agree on {entries[0][0]}, {answered} answered: {why}")
        (first, said), *others = heard.items()
        for other, answers in others:
            for (method, _), one, two in zip(entries, said, answers, strict=True):
                difference = _difference(_essence(method, one), _essence(method, two))
                if difference is not None:
                    raise NodesDisagree(f"{first} and {other} disagree on {method}: {difference}")


class OneHost:
    """The lines of one host, for a read that no other host may answer (`Lines` of `keeper.chain.failover`)."""

    def __init__(self, pool: Endpoints, host: str) -> None:
        self._pool = pool
        self._host = host
        self.label = self.usable()[0].label

    async def answer(self, entries: Sequence[Entry]) -> Answers | ChainError:
        """The trouble instead, when this host has no answer to all of it."""
        try:
            answers = await self._pool.read(self, entries)
        except ChainError as error:
            return error
        return next((answer for answer in answers if isinstance(answer, OPEN)), answers)

    def usable(self) -> list[Line]:
        return [line for line in self._pool.usable() if line.host == self._host]

    def rank(self, line: Line, entries: Sequence[Entry]) -> tuple[int, ...]:
        return self._pool.rank(line, entries)

    async def know_chain(self, line: Line) -> None:
        await self._pool.know_chain(line)

    def hedge_after_s(self, line: Line, entries: Sequence[Entry]) -> float | None:
        return None

    def may_hedge(self) -> bool:
        return False

    def note_head(self, line: Line, method: str, answer: object) -> None:
        self._pool.note_head(line, method, answer)


def _are(count: int) -> str:
    return "is 1" if count == 1 else f"are {count}"


def _essence(method: str, answer: Any | ChainError) -> Any:
    """What must be equal."""
    if isinstance(answer, ChainError):
        revert_data = reverted(answer)
        return ("reverted", revert_data.hex()) if revert_data is not None else ("failed", type(answer).__name__)
    if method != "eth_simulateV1" or not isinstance(answer, list):
        return answer
    return [
        [_call_essence(call) for call in block["calls"]]
        if isinstance(block, dict) and isinstance(block.get("calls"), list)
        else block
        for block in answer
    ]


def _call_essence(call: Any) -> Any:
    if not isinstance(call, dict):
        return call
    logs = call.get("logs") or []
    return [
        *(call.get(name) for name in _CALL_FIELDS),
        [[log.get(name) for name in _LOG_FIELDS] if isinstance(log, dict) else log for log in logs],
    ]


def _difference(one: Any, two: Any) -> str | None:
    """The first place where two answers differ, in few words; None when they are equal."""
    if one == two:
        return None
    if isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        return next(found for pair in zip(one, two, strict=True) if (found := _difference(*pair)) is not None)
    return f"{_shown(one)} against {_shown(two)}"


def _shown(value: Any) -> str:
    """Hex alone: any other text is foreign, and may hold our URL."""
    if isinstance(value, str) and not (value[:2] == "0x" and value.isalnum()):
        return f"text of {len(value)} characters"
    text = str(value) if isinstance(value, str | int | tuple | None) else f"a {type(value).__name__}"
    return text if len(text) <= MOST_SHOWN_CHARS else f"{text[:MOST_SHOWN_CHARS]}…"
