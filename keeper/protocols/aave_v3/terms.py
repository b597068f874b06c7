"""What one (collateral, debt) pair of a position offers before an amount is chosen, or why the contract refuses it.

Ported from ValidationLogic.validateLiquidationCall and the head of LiquidationLogic.executeLiquidationCall, in the order
in which they check.
"""

from __future__ import annotations

from dataclasses import dataclass

from keeper.core.fixedmath import mul_div_floor, percent_mul_half_up
from keeper.core.lending import Health, Position, Refusal
from keeper.core.outcome import Reason, Skip
from keeper.core.units import HEALTH_ONE_WAD, WAD
from keeper.protocols.aave_v3.math import SeizureArithmetic, seizure_arithmetic
from keeper.protocols.aave_v3.profile import Features
from keeper.protocols.aave_v3.refusals import PANIC_ARITHMETIC, PANIC_DIVISION, WITHOUT_DATA, refuse, refuse_otherwise
from keeper.protocols.aave_v3.state import Accrued, EMode, ReserveAt
from keeper.protocols.aave_v3.valuation import bonus_bps, value_account

CLOSE_FACTOR_BPS = 5000
CLOSE_FACTOR_HEALTH_WAD = 95 * WAD // 100
"""Above it (strictly) only part of the debt may be repaid; at or below it the sentinel has no say either."""
USD_8_DECIMALS = 10**8
FULL_CLOSE_BASE = 2000 * USD_8_DECIMALS
"""From 3.3: a reserve's debt, or the chosen collateral, below this may be cleared at once."""
LEAST_LEFTOVER_BASE = FULL_CLOSE_BASE // 2


@dataclass(frozen=True, slots=True)
class Terms:
    """One pair at one timestamp."""

    at: Accrued
    position: Position
    emode: EMode | None
    health: Health
    collateral: ReserveAt
    debt: ReserveAt
    collateral_price_base: int
    debt_price_base: int
    collateral_scaled: int
    balance_raw: int
    """The borrower's collateral."""
    owed_raw: int
    """The borrower's debt in the debt asset."""
    bonus_bps: int
    fee_bps: int
    most_raw: int
    """The contract clips a larger request to this."""
    arithmetic: SeizureArithmetic


def pair_terms(
    at: Accrued, position: Position, collateral_id: int, debt_id: int, health: Health | Skip | None = None
) -> Terms | Refusal:
    """The pair's terms, or the contract's refusal of any amount. The liquidator is not looked at here. `health` is the
    position's, where it is known already."""
    if health is None:
        health = value_account(at, position)
    if isinstance(health, Skip):
        return Refusal(health, WITHOUT_DATA)
    collateral, debt = at[collateral_id], at[debt_id]
    refusal = _validate(at, position, health, collateral, debt)
    if refusal is not None:
        return refusal
    emode = at.emode(position.category)
    prices = _liquidation_prices(collateral, debt, emode)
    if isinstance(prices, Refusal):
        return prices
    bonus = bonus_bps(collateral, emode)
    fee_bps = collateral.config.protocol_fee_bps
    if not bonus:
        # Nothing can be seized: the fee divides by the bonus, or a burn of nothing fails.
        return refuse(Reason.ZERO_BONUS, WITHOUT_DATA if fee_bps else "InvalidBurnAmount")
    if not collateral.state.liquidity_raw:
        return refuse(Reason.NO_COLLATERAL_LIQUIDITY, PANIC_ARITHMETIC)
    scaled = position.collateral_scaled.get(collateral_id, 0)
    balance_raw = at.balances.collateral_balance(scaled, collateral.income_index_ray)
    owed_raw = at.balances.debt_balance(position.debt_scaled[debt_id], debt.debt_index_ray)
    return Terms(
        at=at,
        position=position,
        emode=emode,
        health=health,
        collateral=collateral,
        debt=debt,
        collateral_price_base=prices[0],
        debt_price_base=prices[1],
        collateral_scaled=scaled,
        balance_raw=balance_raw,
        owed_raw=owed_raw,
        bonus_bps=bonus,
        fee_bps=fee_bps,
        most_raw=_most_raw(at, health, collateral, debt, prices, balance_raw, owed_raw),
        arithmetic=seizure_arithmetic(at.features),
    )


def _validate(
    at: Accrued, position: Position, health: Health, collateral: ReserveAt, debt: ReserveAt
) -> Refusal | None:
    health_wad = health.health_factor_wad
    if not (collateral.config.active and debt.config.active):
        return refuse(Reason.RESERVE_INACTIVE, "ReserveInactive")
    if collateral.config.paused or debt.config.paused:
        return refuse(Reason.RESERVE_PAUSED, "ReservePaused")
    if not at.state.liquidation_allowed and health_wad >= CLOSE_FACTOR_HEALTH_WAD:
        return refuse(Reason.SEQUENCER_SENTINEL, "PriceOracleSentinelCheckFailed")
    # Strict: the second in which the period ends still belongs to it. Reads 0 before 3.1, where there is none.
    grace_until_s = max(collateral.state.grace_until_s, debt.state.grace_until_s)
    if grace_until_s >= at.timestamp_s:
        return refuse(Reason.GRACE_PERIOD, "LiquidationGraceSentinelCheckFailed", f"until {grace_until_s}")
    if health_wad >= HEALTH_ONE_WAD:
        return refuse(Reason.HEALTHY_NOW, "HealthFactorNotBelowThreshold")
    if collateral.id not in position.collateral_enabled or not collateral.counts:
        return refuse(Reason.NOT_COLLATERAL, "CollateralCannotBeLiquidated")
    if not position.debt_scaled.get(debt.id):
        return refuse_otherwise("SpecifiedCurrencyNotBorrowedByUser")
    return None


def _liquidation_prices(collateral: ReserveAt, debt: ReserveAt, emode: EMode | None) -> tuple[int, int] | Refusal:
    """Prices of collateral and debt inside a liquidation.

    Up to 3.1 an e-mode's own price stands for the debt always, as if every debt were of the category, and for the
    collateral if that belongs to it. An answer of 0 is used as it is, where valuations fall back to the asset's price.
    """
    collateral_price, debt_price = collateral.price_base, debt.debt_price_base
    if emode is not None and emode.has_price_source:
        debt_price = emode.debt_price_base
        if collateral.id in emode.members:
            collateral_price = emode.price_base
    if not collateral_price:
        return refuse(Reason.UNPRICEABLE, PANIC_DIVISION)
    if not debt_price:
        return refuse(Reason.UNPRICEABLE, "InvalidBurnAmount")
    return collateral_price, debt_price


def _most_raw(
    at: Accrued,
    health: Health,
    collateral: ReserveAt,
    debt: ReserveAt,
    prices: tuple[int, int],
    balance_raw: int,
    owed_raw: int,
) -> int:
    """The close factor, in raw units of the debt.

    Up to 3.2: half of this reserve's debt above health 0.95, else all of it. From 3.3: half of the whole position's debt,
    and only if this debt and this collateral are both worth 2 000 or more.
    """
    all_of_it = health.health_factor_wad <= CLOSE_FACTOR_HEALTH_WAD
    if at.features < Features.V3_3:
        return percent_mul_half_up(owed_raw, 2 * CLOSE_FACTOR_BPS if all_of_it else CLOSE_FACTOR_BPS)
    collateral_price_base, debt_price_base = prices
    balance_base = mul_div_floor(balance_raw, collateral_price_base, collateral.unit)
    owed_base = at.balances.debt_value(owed_raw, debt_price_base, debt.unit)
    if all_of_it or balance_base < FULL_CLOSE_BASE or owed_base < FULL_CLOSE_BASE:
        return owed_raw
    half_base = percent_mul_half_up(health.debt_base, CLOSE_FACTOR_BPS)
    return mul_div_floor(half_base, debt.unit, debt_price_base) if owed_base > half_base else owed_raw


class TermsMemo:
    """The pairs looked at last. A planner quotes one pair at two timestamps a hundred times over.

    Keyed by identity: a state seen at a timestamp and a position are both immutable, and the memo keeps them alive.
    """

    def __init__(self, limit: int = 64) -> None:
        self._limit = limit
        self._known: dict[tuple[int, int, int, int], tuple[Accrued, Position, Terms | Refusal]] = {}
        self._valued: tuple[Accrued, Position, Health | Skip] | None = None
        """The position valued last: all its pairs stand on that."""

    def find(self, at: Accrued, position: Position, collateral_id: int, debt_id: int) -> Terms | Refusal:
        key = (id(at), id(position), collateral_id, debt_id)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= self._limit:
                self._known.clear()
            health = self._health(at, position)
            known = self._known[key] = (at, position, pair_terms(at, position, collateral_id, debt_id, health))
        return known[2]

    def _health(self, at: Accrued, position: Position) -> Health | Skip:
        if self._valued is None or self._valued[0] is not at or self._valued[1] is not position:
            self._valued = (at, position, value_account(at, position))
        return self._valued[2]
