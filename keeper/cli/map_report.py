"""The liquidation map of one market: debt that falls below 1 as prices drop. From a look at the market, no output here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keeper.cli.render import checksum, plain_text, short_address
from keeper.core.errors import ConfigError
from keeper.core.units import Address
from keeper.stress.shock import Curve, curve, volatile_collateral
from keeper.stress.snapshot import Snapshot, take_snapshot

if TYPE_CHECKING:
    from keeper.app.looking import MarketLook

TOGETHER = "together"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the person asked for."""

    assets: Sequence[str] = ()
    """Only these, each alone; empty: every price that holds somebody up."""
    shock: Sequence[str] = ()
    """These together; empty: chosen by rule."""


@dataclass(frozen=True, slots=True)
class Named:
    """A curve and what falls in it."""

    name: str
    curve: Curve


@dataclass(frozen=True, slots=True)
class MarketMap:
    look: MarketLook
    snapshot: Snapshot[Any]
    together: Named
    alone: Sequence[Named]
    """The most debt at the deepest drop first."""

    @property
    def debt_base(self) -> int:
        return sum(each.health.debt_base for each in self.snapshot.exposed)


def maps_of(looks: Sequence[MarketLook], wanted: Wanted) -> list[MarketMap]:
    """Raises `ConfigError` for an asset that no market has, or one market twice by that name."""
    for option, texts in (("--asset", wanted.assets), ("--shock", wanted.shock)):
        for text in texts:
            if not any(_keys(look, text, option) for look in looks):
                known = ", ".join(sorted({plain_text(name) for look in looks for name in look.names.values()}))
                raise ConfigError(f"{option} {text}: no such asset here; known are {known}")
    return [_map_of(look, wanted) for look in looks]


def _map_of(look: MarketLook, wanted: Wanted) -> MarketMap:
    snapshot = take_snapshot(look.adapter, look.state, look.positions, look.block.timestamp_s)
    falling = snapshot.collateral_keys()
    if wanted.assets:
        falling = frozenset(key for text in wanted.assets for key in _keys(look, text, "--asset"))
    together = volatile_collateral(snapshot, look.base_unit)
    if wanted.shock:
        together = frozenset(key for text in wanted.shock for key in _keys(look, text, "--shock"))
    alone = [Named(price_name(look, key), curve(look.adapter, snapshot, frozenset((key,)))) for key in falling]
    alone.sort(key=lambda named: (-named.curve.points[-1].fresh_debt_base, named.name))
    return MarketMap(look, snapshot, Named(TOGETHER, curve(look.adapter, snapshot, together)), alone)


def names_in(look: MarketLook, keys: Iterable[Address]) -> str:
    """``WBTC, WETH``."""
    return ", ".join(sorted(price_name(look, key) for key in keys)) or "nothing"


def price_name(look: MarketLook, key: Address) -> str:
    name = look.names.get(key)
    return short_address(key) if name is None else plain_text(name)


def _keys(look: MarketLook, text: str, option: str) -> list[Address]:
    """The market's price by a name or an address: one or none."""
    found = [key for key, name in look.names.items() if text.lower() in (name.lower(), "0x" + key.hex())]
    if len(found) > 1:
        same = ", ".join(checksum(key) for key in sorted(found))
        raise ConfigError(
            f"{option} {text}: the market has {len(found)} assets of this name, name one by address: {same}"
        )
    return found


# -- JSON --------------------------------------------------------------------------------------------------------------
def market_object(look: MarketLook, snapshot: Snapshot[Any]) -> dict[str, Any]:
    """What every answer says of its market; integers as decimal strings."""
    return {
        "chain": look.chain,
        "market": checksum(look.market),
        "block_number": str(look.block.number),
        "block_hash": "0x" + look.block.hash.hex(),
        "block_timestamp_s": str(look.block.timestamp_s),
        "base_unit": str(look.base_unit),
        "borrowers": str(snapshot.borrowers),
        "unpriceable": [checksum(borrower) for borrower in snapshot.unpriceable],
    }


def map_object(found: MarketMap) -> dict[str, Any]:
    """The stable contract of docs/COMMANDS.md."""
    return market_object(found.look, found.snapshot) | {
        "debt_base": str(found.debt_base),
        "together": _curve_object(found, found.together),
        "alone": [_curve_object(found, named) for named in found.alone],
    }


def _curve_object(found: MarketMap, named: Named) -> dict[str, Any]:
    prices = found.snapshot.prices_base()
    return {
        "prices": [
            {
                "price_key": checksum(key),
                "name": price_name(found.look, key),
                "price_now_base": str(prices[key]) if key in prices else None,
            }
            for key in sorted(named.curve.price_keys)
        ],
        "points": [
            {
                "drop_bps": str(point.drop_bps),
                "borrowers": str(point.borrowers),
                "debt_base": str(point.debt_base),
                "fresh_borrowers": str(point.fresh_borrowers),
                "fresh_debt_base": str(point.fresh_debt_base),
                "unpriceable": str(point.unpriceable),
            }
            for point in named.curve.points
        ],
    }
