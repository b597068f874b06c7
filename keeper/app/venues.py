"""The configured venues of one chain, and its objective, as the rooms that use them want them."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from keeper.core.errors import ConfigError
from keeper.core.selling.objective import MaxProfit, Objective, Restore, Solvency
from keeper.core.selling.slippage import SlippagePolicy
from keeper.core.swap import Selling
from keeper.core.units import Address, address_from_hex
from keeper.routes.discover import V2Factory, V3Factory
from keeper.routes.kyber import CHAIN_NAMES, Kyber, KyberVenue
from keeper.routes.pools import PoolsVenue
from keeper.routes.watching import WatchedPools
from keeper.settings.routes import Objective as ObjectiveSettings
from keeper.settings.routes import Routes

_KYBER_URL = "https://aggregator-api.kyberswap.com/"


def asked_of(routes: Routes, chain: str, chain_id: int, executor: Address | None) -> list[KyberVenue]:
    """The venues that must be asked, as they are configured. Raises `ConfigError` for what cannot be on this chain."""
    return [_kyber(routes, chain, chain_id, executor)] if "kyber" in routes.venues else []


def ways_of(routes: Routes) -> tuple[Selling, ...]:
    """What becomes of the collateral, in the configured order."""
    keeping = [Selling(name) for name in routes.venues if name in (Selling.HOLD, Selling.HOLD_A_TOKEN)]
    return tuple(keeping) if len(keeping) == len(routes.venues) else (Selling(routes.sell), *keeping)


def slippage_of(routes: Routes) -> SlippagePolicy:
    return SlippagePolicy(routes.least_slippage_bps, routes.most_slippage_bps)


def pools_of(routes: Routes, wrapped_native: Address | None) -> PoolsVenue:
    """Without any where they are no venue, though some may be named for another day."""
    factories: list[V3Factory | V2Factory] = [V3Factory(address_from_hex(each)) for each in routes.v3_factories]
    factories += [V2Factory(address_from_hex(each.address), each.fee_bps) for each in routes.v2_factories]
    if "pools" not in routes.venues:
        factories = []
    through: Sequence[Address] = [address_from_hex(each) for each in routes.through]
    if not through and wrapped_native is not None:
        through = [wrapped_native]
    return PoolsVenue(WatchedPools(factories, through), slippage_of(routes))


def _kyber(routes: Routes, chain: str, chain_id: int, executor: Address | None) -> KyberVenue:
    where = f"chains.{chain}.routes.kyber"
    if routes.kyber is None or executor is None:
        raise ConfigError(f'{where}: the venue "kyber" needs chains.{chain}.executor, which its calldata pays')
    if routes.kyber.url is not None:
        url = routes.kyber.url.get_secret_value()
    elif chain_id in CHAIN_NAMES:
        url = _KYBER_URL + CHAIN_NAMES[chain_id]
    else:
        raise ConfigError(f"{where}: chain {chain_id} is none that we know it to serve; name its url")
    routers = frozenset(address_from_hex(each) for each in routes.kyber.routers)
    return KyberVenue(Kyber(url, routers, executor, routes.kyber.deadline_s), slippage_of(routes))


def objective_of(settings: ObjectiveSettings, min_profit: Decimal, base_unit: int, lost_today_base: int) -> Objective:
    """With what is left of today's allowance, where there is one."""
    if settings.kind == "solvency":
        allowed_base = int(settings.most_loss_per_day * base_unit)
        return Solvency(max(0, allowed_base - lost_today_base))
    least_base = int(min_profit * base_unit)
    return MaxProfit(max(1, least_base)) if settings.kind == "max_profit" else Restore(least_base)
