"""What stands behind the oracle's price sources: the feeds whose rounds they are made of, and who writes those.

A source is a feed's proxy, or an adapter over one or more of them (a cap, a ratio, a discount, a peg). Whoever is asked
for, its known getters are followed until a contract has none: that one is written to, by transmitters who may be
contracts themselves (forwarders). A source of another kind leads nowhere: its price is still read at every head, only
its age and its pending updates are not known.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from keeper.core.block import Call, CallResult
from keeper.core.errors import MalformedResponse
from keeper.core.prices import PriceFeeds
from keeper.core.units import Address, to_hex
from keeper.protocols.aave_v3 import selectors as s
from keeper.protocols.aave_v3.market import Market
from keeper.protocols.aave_v3.reads import NO_ADDRESS, price_keys
from keeper.protocols.aave_v3.words import address_list, address_result, call

MOST_STEPS = 6
"""From a source to what is written to: an adapter over an adapter over a proxy is three."""
MOST_CONTRACTS = 1_000
COMPONENTS = (
    s.AGGREGATOR,
    s.ASSET_TO_USD_AGGREGATOR,
    s.BASE_TO_USD_AGGREGATOR,
    s.RATIO_PROVIDER,
    s.ASSET_TO_PEG,
    s.PEG_TO_BASE,
    s.BASE_TO_PEG,
)
WRITERS = (s.TRANSMITTERS, s.GET_TRANSMITTERS)
_PROBES = (s.LATEST_ROUND_DATA, *WRITERS, *COMPONENTS)

Found_co = TypeVar("Found_co", covariant=True)
Reading = Generator[Sequence[Call], Sequence[CallResult], Found_co]


@dataclass(frozen=True, slots=True)
class _Contract:
    """One contract on the way from a source to what is written to."""

    has_rounds: bool
    writers: tuple[Address, ...]
    components: tuple[Address, ...]
    aggregators: tuple[Address, ...]
    """Of the components those that it names as its aggregator: they are written to, whether or not they answer."""
    links: Mapping[Call, bytes]
    """Its getters that led on, with what they answered."""


def discover_feeds(market: Market) -> Reading[PriceFeeds]:
    """Yields batches of calls, is sent their results, returns the feeds. Raises `MalformedResponse`."""
    keys = price_keys(market)
    answers = yield [call(market.oracle, s.GET_SOURCE_OF_ASSET, key) for key in keys]
    sources = {
        key: address_result(answer, f"getSourceOfAsset({to_hex(key)})")
        for key, answer in zip(keys, answers, strict=True)
    }
    known = yield from _walk([source for source in sources.values() if source != NO_ADDRESS])
    updated_by: dict[Address, set[Address]] = {}
    for key, source in sources.items():
        for target in _targets(source, known):
            updated_by.setdefault(target, set()).add(key)
    return PriceFeeds(
        updated_by={target: frozenset(moved) for target, moved in updated_by.items()},
        rounds_of={key: tuple(dict.fromkeys(_rounds(source, known))) for key, source in sources.items()},
        labels={key: _label(market, key) for key in keys},
        links={asked: answer for contract in known.values() for asked, answer in contract.links.items()},
    )


def _walk(sources: Sequence[Address]) -> Reading[dict[Address, _Contract]]:
    known: dict[Address, _Contract] = {}
    waiting = list(dict.fromkeys(sources))
    for _ in range(MOST_STEPS):
        if not waiting or len(known) > MOST_CONTRACTS:
            break
        answers = yield [call(contract, probe) for contract in waiting for probe in _PROBES]
        width = len(_PROBES)
        for place, contract in enumerate(waiting):
            known[contract] = _decode(contract, answers[place * width : (place + 1) * width])
        found = (component for contract in waiting for component in known[contract].components)
        waiting = [component for component in dict.fromkeys(found) if component not in known]
    return known


def _decode(contract: Address, answers: Sequence[CallResult]) -> _Contract:
    rounds, writers, parts = answers[0], answers[1 : 1 + len(WRITERS)], answers[1 + len(WRITERS) :]
    components = [_named(part) for part in parts]
    named = [bool(_listed(answer)) for answer in writers] + [component is not None for component in components]
    return _Contract(
        has_rounds=rounds.ok and len(rounds.returndata) == 160,
        writers=tuple(writer for answer in writers for writer in _listed(answer)),
        components=tuple(dict.fromkeys(component for component in components if component is not None)),
        aggregators=tuple(component for component in components[:1] if component is not None),
        links={
            call(contract, probe): answer.returndata
            for probe, answer, led_on in zip((*WRITERS, *COMPONENTS), answers[1:], named, strict=True)
            if led_on
        },
    )


def _targets(
    contract: Address, known: Mapping[Address, _Contract], named: bool = False, steps: int = MOST_STEPS
) -> list[Address]:
    """Where updates of a price are sent: contracts without components that are feeds, by their own answer or another's
    word (`named`), and whoever writes to them. `steps`: contracts may name each other in a circle."""
    found = known.get(contract)
    if found is None or not steps:
        return [contract] if named else []
    if not found.components:
        return [contract, *found.writers] if named or found.has_rounds else []
    return [
        target
        for component in found.components
        for target in _targets(component, known, component in found.aggregators, steps - 1)
    ]


def _rounds(contract: Address, known: Mapping[Address, _Contract], steps: int = MOST_STEPS) -> list[Address]:
    """The feeds nearest to a source that say when they were updated. What names its aggregator is one, also while it does not
    answer: then the age is not known, which is not the same as that there is none."""
    found = known.get(contract)
    if found is None or not steps:
        return []
    if found.has_rounds:
        return [contract]
    below = [feed for component in found.components for feed in _rounds(component, known, steps - 1)]
    return below or ([contract] if found.aggregators else [])


def _named(answer: CallResult) -> Address | None:
    """A contract that a getter names; None where there is no such getter."""
    if not answer.ok or not answer.returndata:
        return None
    try:
        address = address_result(answer, "a price source's getter")
    except MalformedResponse:
        return None  # a function of the same selector that is no such getter
    return None if address == NO_ADDRESS else address


def _listed(answer: CallResult) -> list[Address]:
    if not answer.ok or not answer.returndata:
        return []
    try:
        return address_list(answer, "a feed's transmitters")
    except MalformedResponse:
        return []  # as above


def _label(market: Market, key: Address) -> str:
    reserve = market.by_asset.get(key)
    return reserve.label if reserve is not None else f"the e-mode price source {to_hex(key)}"
