"""What a position is worth: the outputs of `getUserAccountData`, from stored balances.

Ported from GenericLogic.calculateUserAccountData and calculateAvailableBorrows, PoolLogic.executeGetUserAccountData.
All sums are per reserve, each rounded by itself:

    C = Σ ⌊balance·price/unit⌋       collateral, base currency
    W = Σ that · threshold           threshold-weighted, base·bps
    D = Σ debt·price/unit            floored up to 3.4, rounded up from 3.5
    health = W/D                     with W itself (exact), or C times ⌊W/C⌋ (floored to whole bps)
"""

from __future__ import annotations

from collections.abc import Mapping

from keeper.core.fixedmath import (
    mul_div_floor,
    percent_mul_floor,
    percent_mul_half_up,
    wad_div_half_up,
)
from keeper.core.lending import Exposure, Health, Position
from keeper.core.outcome import Reason, Skip
from keeper.core.units import BPS, NO_DEBT_HEALTH_WAD, Address
from keeper.protocols.aave_v3.profile import Features
from keeper.protocols.aave_v3.state import Accrued, EMode, ReserveAt

NOTHING: Mapping[int, int] = {}
NO_POSITION = Health(NO_DEBT_HEALTH_WAD, 0, 0, 0, 0, 0, 0)


def value_account(at: Accrued, position: Position, extra_debt_raw: Mapping[int, int] = NOTHING) -> Health | Skip:
    """The contract's valuation of a position; `Skip(unpriceable)` where a price that it reads is missing.

    `extra_debt_raw` is debt of the named reserves that is not a scaled balance: stable debt up to 3.1, and on 3.3 the
    debt in assets that the protocol mints. Live markets with such debt are refused; the arithmetic is here to be checked.
    Raises `ArithmeticError` where the contract's own arithmetic would revert.
    """
    if not position.collateral_enabled and not position.debt_scaled:
        return NO_POSITION
    emode = at.emode(position.category)
    if emode is not None and emode.price_base is None:
        return _unpriceable(f"price source of e-mode {position.category}")
    collateral_base = weighted_base_bps = borrowable_base_bps = debt_base = 0
    balance_of = at.balances.collateral_balance
    for reserve_id in position.collateral_enabled:
        scaled = position.collateral_scaled.get(reserve_id, 0)
        if not scaled and reserve_id not in at.state.reserves:
            continue  # a dropped reserve: the contract passes over it too
        leg = at[reserve_id]
        price_base = price_of(leg, emode)
        if price_base is None:
            return _missing_price(at, reserve_id)
        if not scaled or not leg.counts:
            continue
        value_base = mul_div_floor(balance_of(scaled, leg.income_index_ray), price_base, leg.unit)
        collateral_base += value_base
        weighted_base_bps += value_base * threshold_bps(leg, emode)
        borrowable_base_bps += value_base * ltv_bps(at.features, leg, emode)
    for reserve_id, scaled in position.debt_scaled.items():
        leg = at[reserve_id]
        price_base = debt_price_of(leg, emode)
        if price_base is None:
            return _missing_price(at, reserve_id)
        owed_raw = at.balances.debt_balance(scaled, leg.debt_index_ray) + extra_debt_raw.get(reserve_id, 0)
        debt_base += at.balances.debt_value(owed_raw, price_base, leg.unit)
    return _health(at, collateral_base, weighted_base_bps, borrowable_base_bps, debt_base)


def exposures_of(at: Accrued, position: Position) -> list[Exposure] | Skip:
    """W and D of the valuation by the oracle price that each leg hangs on; the same legs, rounded the same."""
    health = value_account(at, position)
    if isinstance(health, Skip):
        return health
    emode = at.emode(position.category)
    weighted_base_bps: dict[Address, int] = {}
    debt_base: dict[Address, int] = {}
    prices_base: dict[Address, int] = {}
    for reserve_id in position.collateral_enabled & position.collateral_scaled.keys():
        leg = at[reserve_id]
        price_base = price_of(leg, emode)
        if price_base is None or not leg.counts:
            continue
        key = price_key(at, leg, emode)
        balance_raw = at.balances.collateral_balance(position.collateral_scaled[reserve_id], leg.income_index_ray)
        value_base = mul_div_floor(balance_raw, price_base, leg.unit)
        prices_base[key] = price_base
        weighted_base_bps[key] = weighted_base_bps.get(key, 0) + value_base * threshold_bps(leg, emode)
    for reserve_id, scaled in position.debt_scaled.items():
        leg = at[reserve_id]
        price_base = debt_price_of(leg, emode)
        assert price_base is not None, "the position was valued"
        key = price_key(at, leg, emode)
        owed_raw = at.balances.debt_balance(scaled, leg.debt_index_ray)
        prices_base[key] = price_base
        debt_base[key] = debt_base.get(key, 0) + at.balances.debt_value(owed_raw, price_base, leg.unit)
    return [
        Exposure(key, price_base, weighted_base_bps.get(key, 0), debt_base.get(key, 0))
        for key, price_base in prices_base.items()
    ]


def price_key(at: Accrued, leg: ReserveAt, emode: EMode | None) -> Address:
    """What the oracle is asked for to price a leg, as `price_of` chooses."""
    if emode is not None and emode.price_base and leg.id in emode.members:
        assert emode.category.price_source is not None, "only a source gives an e-mode a price"
        return emode.category.price_source
    return at.state.market.by_id[leg.id].asset


def price_of(leg: ReserveAt, emode: EMode | None) -> int | None:
    """Price of a collateral in valuations: the e-mode's own where it has one (up to 3.1), the asset's otherwise."""
    if emode is not None and emode.price_base and leg.id in emode.members:
        return emode.price_base
    return leg.price_base


def debt_price_of(leg: ReserveAt, emode: EMode | None) -> int | None:
    """The same for debt. It differs only between two readings of a price that moves by the second."""
    if emode is not None and emode.debt_price_base and leg.id in emode.members:
        return emode.debt_price_base
    return leg.debt_price_base


def threshold_bps(leg: ReserveAt, emode: EMode | None) -> int:
    """Effective liquidation threshold of a collateral."""
    if emode is not None and leg.id in emode.members:
        return emode.category.liquidation_threshold_bps
    return leg.config.liquidation_threshold_bps


def bonus_bps(leg: ReserveAt, emode: EMode | None) -> int:
    """Effective liquidation bonus of a collateral, 100 % included."""
    if emode is not None and leg.id in emode.members:
        return emode.category.liquidation_bonus_bps
    return leg.config.liquidation_bonus_bps


def ltv_bps(features: Features, leg: ReserveAt, emode: EMode | None) -> int:
    """Effective loan-to-value of a collateral.

    Up to 3.5 an asset whose own loan-to-value is zero has none inside an e-mode either. From 3.6 the two are independent, and
    an e-mode may set single assets to zero; from 3.7 an isolated e-mode also does so to every asset outside of it.
    """
    own = leg.config.ltv_bps
    if emode is None:
        return own
    if leg.id in emode.members:
        if features >= Features.V3_6:
            return 0 if leg.id in emode.zero_ltv else emode.category.ltv_bps
        return emode.category.ltv_bps if own else 0
    return 0 if emode.category.isolated else own


def _health(
    at: Accrued, collateral_base: int, weighted_base_bps: int, borrowable_base_bps: int, debt_base: int
) -> Health:
    average_threshold_bps = weighted_base_bps // collateral_base if collateral_base else 0
    average_ltv_bps = borrowable_base_bps // collateral_base if collateral_base else 0
    if at.health_is_exact:
        available_base = percent_mul_floor(collateral_base, average_ltv_bps) - debt_base
    else:
        available_base = percent_mul_half_up(collateral_base, average_ltv_bps) - debt_base
    if not debt_base:
        health_wad = NO_DEBT_HEALTH_WAD
    elif at.health_is_exact:
        health_wad = wad_div_half_up(weighted_base_bps, debt_base) // BPS
    else:
        health_wad = wad_div_half_up(percent_mul_half_up(collateral_base, average_threshold_bps), debt_base)
    return Health(
        health_factor_wad=health_wad,
        collateral_base=collateral_base,
        debt_base=debt_base,
        available_borrows_base=max(0, available_base),
        liquidation_threshold_bps=average_threshold_bps,
        ltv_bps=average_ltv_bps,
        weighted_collateral_base_bps=weighted_base_bps,
    )


def _missing_price(at: Accrued, reserve_id: int) -> Skip:
    return _unpriceable(at.state.market.by_id[reserve_id].label)


def _unpriceable(what: str) -> Skip:
    return Skip(Reason.UNPRICEABLE, f"no price for {what}")
