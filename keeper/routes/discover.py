"""Which pools there are between some tokens, as the factories say."""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass
from itertools import combinations

from keeper.core.block import Call, CallResult
from keeper.core.errors import QuoteError
from keeper.core.lending import Reads
from keeper.core.units import Address
from keeper.routes.answers import address_of, call, signed, words
from keeper.routes.selectors import GET_PAIR, GET_POOL, TICK_SPACING
from keeper.routes.v2_pair import V2Watch
from keeper.routes.v3_pool import V3Token
from keeper.routes.v3_reads import V3Watch

FEES = (100, 500, 3_000, 10_000)
_NONE = Address(bytes(20))
_BATCH = 250
Watch = V3Watch | V2Watch


@dataclass(frozen=True, slots=True)
class V3Factory:
    address: Address
    fees: tuple[int, ...] = FEES
    """The tiers that are asked for, in millionths."""


@dataclass(frozen=True, slots=True)
class V2Factory:
    address: Address
    fee_bps: int = 30
    margin_bps: int = 5
    """What is asked of its pairs less than they would give: see `V2Pair`."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """One question to a factory: is there a pool of this kind between the two?"""

    factory: V3Factory | V2Factory
    tokens: tuple[Address, Address]
    fee: int

    def call(self) -> Call:
        if isinstance(self.factory, V2Factory):
            return call(self.factory.address, GET_PAIR, *self.tokens)
        return call(self.factory.address, GET_POOL, *self.tokens, self.fee)


def discover_pools(
    factories: Sequence[V3Factory | V2Factory], ends: Collection[Address], through: Collection[Address]
) -> Reads[list[Watch]]:
    """Every pool that a route of at most two hops can use: between any two of `ends`, or between one of them and a token that
    routes may lead through. A factory that answers nonsense is `QuoteError`."""
    asked = [
        _Asked(factory, tokens, fee)
        for tokens in _couples(ends, through)
        for factory in factories
        for fee in (factory.fees if isinstance(factory, V3Factory) else (factory.fee_bps,))
    ]
    found = yield from _in_batches([each.call() for each in asked])
    there = []
    for each, result in zip(asked, found, strict=True):
        what = f"factory 0x{each.factory.address.hex()}"
        pool = address_of(words(result, 1, what)[0], what)
        if pool != _NONE:
            there.append((each, pool))
    spacings = yield from _in_batches([call(pool, TICK_SPACING) for each, pool in there if _is_v3(each)])
    watches: list[Watch] = []
    answers = iter(spacings)
    for each, pool in there:
        if isinstance(each.factory, V2Factory):
            watches.append(V2Watch(pool, *each.tokens, each.fee, each.factory.margin_bps))
            continue
        what = f"pool 0x{pool.hex()} tick spacing"
        spacing = signed(words(next(answers), 1, what)[0], 24, what)
        if spacing < 1:
            raise QuoteError(f"{what}: {spacing}")
        watches.append(V3Watch(V3Token(pool, *each.tokens, each.fee, spacing)))
    return watches


def _is_v3(asked: _Asked) -> bool:
    return isinstance(asked.factory, V3Factory)


def _couples(ends: Collection[Address], through: Collection[Address]) -> list[tuple[Address, Address]]:
    """As pools order them, each once."""
    between = {(min(pair), max(pair)) for pair in combinations(set(ends), 2)}
    by_way = {(min(end, way), max(end, way)) for end in ends for way in through if end != way}
    return sorted(between | by_way)


def _in_batches(calls: Sequence[Call]) -> Generator[Sequence[Call], Sequence[CallResult], list[CallResult]]:
    found: list[CallResult] = []
    for start in range(0, len(calls), _BATCH):
        found += yield calls[start : start + _BATCH]
    return found
