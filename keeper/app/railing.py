"""Rails from settings: limits as integers, one purse for the process, one set of rails for each signer."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from keeper.app.ground import Ground
from keeper.core.rails import Limit, Limits
from keeper.core.units import WAD, Address
from keeper.pipeline.railing import Railing
from keeper.pipeline.rails import Rails, SharedPurse
from keeper.ports import Journal, Kept
from keeper.settings import Settings
from keeper.settings.rails import Gas, Loss, Notional, SharedRails
from keeper.settings.rails import Rails as RailSettings


def purse_of(settings: Settings, kept: Kept) -> SharedPurse:
    return SharedPurse(kept, limits_of(settings.rails), settings.rails.kill_file)


def railing_of(ground: Ground, purse: SharedPurse, kept: Kept, journal: Journal, signers: Sequence[Address]) -> Railing:
    rails, told = ground.chain.rails, set[int]()
    limits, least_wei = limits_of(rails), int(rails.least_native * WAD)
    name, chain_id = ground.name, ground.chain_id
    return Railing(
        {each: Rails(name, chain_id, each, limits, least_wei, purse, kept, journal, told) for each in signers}
    )


def limits_of(rails: RailSettings | SharedRails) -> Limits:
    percent = rails.revert_rate_percent
    deviation = rails.price_deviation_percent if isinstance(rails, RailSettings) else None
    return Limits(
        gas_wei=_limit(rails.gas),
        notional_wad=_limit(rails.notional),
        loss_wad=_limit(rails.loss),
        reverts_in_a_row=rails.reverts_in_a_row,
        revert_rate_bps=None if percent is None else int(percent * 100),
        revert_rate_least=rails.revert_rate_least,
        price_deviation_bps=None if deviation is None else int(deviation * 100),
    )


def _limit(limit: Gas | Notional | Loss) -> Limit:
    return Limit(_wad(limit.per_transaction), _wad(limit.per_hour), _wad(limit.per_day))


def _wad(bound: Decimal | None) -> int | None:
    return None if bound is None else int(bound * WAD)
