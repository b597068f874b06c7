"""What a liquidation call does: amounts, refusals that depend on the amount, and the position it leaves behind.

Ported from LiquidationLogic.executeLiquidationCall and _calculateAvailableCollateralToLiquidate, with the underlying
paid out (receiveAToken = false). Up to the bonus, with prices p and units u of collateral (c) and debt (d):

    base   = ⌊p_d·x·u_c ÷ (p_c·u_d)⌋
    seized = base·bonus, or all of the collateral if that is less; then the repayment is recomputed from it
    fee    = share of (seized − seized÷bonus): comes out of the liquidator's bonus only
"""

from __future__ import annotations

from dataclasses import dataclass

from keeper.core.errors import Defect
from keeper.core.fixedmath import mul_div_floor, require_uint256
from keeper.core.lending import Position, Quote, Refusal
from keeper.core.outcome import Reason, Skip
from keeper.protocols.aave_v3.profile import Features
from keeper.protocols.aave_v3.refusals import PANIC_ARITHMETIC, WITHOUT_DATA, refuse, refuse_otherwise
from keeper.protocols.aave_v3.terms import LEAST_LEFTOVER_BASE, Terms
from keeper.protocols.aave_v3.valuation import debt_price_of, value_account


@dataclass(frozen=True, slots=True)
class Seizure:
    """The amounts of one accepted call, raw units."""

    repaid_raw: int
    seized_raw: int
    fee_raw: int
    leaves_no_collateral: bool
    """From 3.3: the contract then writes off every debt that is left."""

    @property
    def received_raw(self) -> int:
        return self.seized_raw - self.fee_raw


def amounts(terms: Terms, debt_raw: int) -> tuple[int, int, int]:
    """(repaid, seized, fee) for a repayment that the close factor allows. Raises ArithmeticError where the contract does."""
    arithmetic = terms.arithmetic
    collateral, debt = terms.collateral, terms.debt
    base_raw = require_uint256(terms.debt_price_base * debt_raw * collateral.unit) // (
        terms.collateral_price_base * debt.unit
    )
    repaid_raw, seized_raw = debt_raw, arithmetic.add_bonus(base_raw, terms.bonus_bps)
    if seized_raw > terms.balance_raw:
        seized_raw = terms.balance_raw
        worth_raw = require_uint256(terms.collateral_price_base * seized_raw * debt.unit) // (
            terms.debt_price_base * collateral.unit
        )
        repaid_raw = arithmetic.debt_needed(worth_raw, terms.bonus_bps)
    if not terms.fee_bps:
        return repaid_raw, seized_raw, 0
    bonus_raw = seized_raw - arithmetic.remove_bonus(seized_raw, terms.bonus_bps)
    return repaid_raw, seized_raw, arithmetic.protocol_fee(bonus_raw, terms.fee_bps)


def seize(terms: Terms, debt_to_cover_raw: int) -> Seizure | Refusal:
    """The amounts of a request, or the contract's refusal, in the order in which the contract finds it."""
    try:
        repaid_raw, seized_raw, fee_raw = amounts(terms, min(debt_to_cover_raw, terms.most_raw))
        if terms.at.features >= Features.V3_3 and _leaves_dust(terms, repaid_raw, seized_raw):
            return refuse(Reason.DUST_GAP, "MustNotLeaveDust")
        clears = _leaves_nothing(terms, seized_raw, fee_raw)
        return _burns(terms, repaid_raw, seized_raw, fee_raw, clears) or Seizure(
            repaid_raw, seized_raw, fee_raw, clears
        )
    except ArithmeticError:
        return refuse_otherwise(WITHOUT_DATA, "arithmetic")


def _leaves_dust(terms: Terms, repaid_raw: int, seized_raw: int) -> bool:
    """From 3.3: clear the debt, clear the collateral, or leave at least 1 000 of each."""
    owed_left_raw, balance_left_raw = terms.owed_raw - repaid_raw, terms.balance_raw - seized_raw
    if owed_left_raw <= 0 or balance_left_raw <= 0:
        return False
    owed_left_base = terms.at.balances.debt_value(owed_left_raw, terms.debt_price_base, terms.debt.unit)
    balance_left_base = mul_div_floor(balance_left_raw, terms.collateral_price_base, terms.collateral.unit)
    return owed_left_base < LEAST_LEFTOVER_BASE or balance_left_base < LEAST_LEFTOVER_BASE


def _leaves_nothing(terms: Terms, seized_raw: int, fee_raw: int) -> bool:
    """From 3.3: whether the seized value is all of the position's collateral value. 3.7 values what leaves in scaled units."""
    if terms.at.features < Features.V3_3:
        return False
    if terms.at.features >= Features.V3_7:
        seized_raw = terms.at.balances.collateral_balance(
            _consumed_scaled(terms, seized_raw, fee_raw), terms.collateral.income_index_ray
        )
    seized_base = mul_div_floor(seized_raw, terms.collateral_price_base, terms.collateral.unit)
    return seized_base == terms.health.collateral_base


def _burns(terms: Terms, repaid_raw: int, seized_raw: int, fee_raw: int, clears: bool) -> Refusal | None:
    """The reverts behind the checks: token burns of nothing, and collateral that is not there to be paid out."""
    balances = terms.at.balances
    received_raw = seized_raw - fee_raw
    burned_raw = terms.owed_raw if clears else repaid_raw
    if not balances.debt_burn_scaled(burned_raw, terms.debt.debt_index_ray):
        return refuse_otherwise("InvalidBurnAmount", "the repayment is less than one unit of scaled debt")
    # With one asset on both sides the repayment raises the virtual balance first, but the tokens arrive only at the end.
    if received_raw > terms.collateral.state.liquidity_raw:
        return refuse(Reason.NO_COLLATERAL_LIQUIDITY, PANIC_ARITHMETIC)
    burned_scaled = balances.collateral_burn_scaled(received_raw, terms.collateral.income_index_ray)
    if not burned_scaled:
        return refuse_otherwise("InvalidBurnAmount", "the repayment seizes less than one unit of scaled collateral")
    if terms.at.features is Features.V3_0_0 and fee_raw:
        fee_scaled = balances.collateral_burn_scaled(fee_raw, terms.collateral.income_index_ray)
        if burned_scaled + fee_scaled > terms.collateral_scaled:
            return refuse_otherwise(PANIC_ARITHMETIC, "the protocol fee is a unit more than what is left")
    return None


def _consumed_scaled(terms: Terms, seized_raw: int, fee_raw: int) -> int:
    """Scaled collateral that leaves the borrower: payout, then fee, the latter capped by what remains."""
    to_scaled = terms.at.balances.collateral_burn_scaled
    index_ray = terms.collateral.income_index_ray
    paid_scaled = to_scaled(seized_raw - fee_raw, index_ray)
    return paid_scaled + min(to_scaled(fee_raw, index_ray), terms.collateral_scaled - paid_scaled)


def quote(terms: Terms, debt_to_cover_raw: int) -> Quote | Refusal:
    """What the call does to liquidator and borrower, or its refusal."""
    seizure = seize(terms, debt_to_cover_raw)
    if isinstance(seizure, Refusal):
        return seizure
    after = _position_after(terms, seizure)
    health_after = value_account(terms.at, after)
    if isinstance(health_after, Skip):
        raise Defect(f"a priced position lost a price in its own liquidation: {health_after.detail}")
    collateral_price_base, collateral_unit = terms.collateral_price_base, terms.collateral.unit
    return Quote(
        debt_to_cover_raw=debt_to_cover_raw,
        repaid_raw=seizure.repaid_raw,
        seized_raw=seizure.seized_raw,
        protocol_fee_raw=seizure.fee_raw,
        received_raw=seizure.received_raw,
        repaid_base=seizure.repaid_raw * terms.debt_price_base // terms.debt.unit,
        seized_base=seizure.seized_raw * collateral_price_base // collateral_unit,
        received_base=seizure.received_raw * collateral_price_base // collateral_unit,
        position_after=after,
        health_after=health_after,
        bad_debt_base=_bad_debt_base(terms, seizure) if seizure.leaves_no_collateral else 0,
    )


def _position_after(terms: Terms, seizure: Seizure) -> Position:
    before, collateral_id, debt_id = terms.position, terms.collateral.id, terms.debt.id
    consumed_scaled = _consumed_scaled(terms, seizure.seized_raw, seizure.fee_raw)
    collateral_scaled = dict(before.collateral_scaled)
    _set(collateral_scaled, collateral_id, terms.collateral_scaled - consumed_scaled)
    if seizure.leaves_no_collateral:
        debt_scaled = {i: scaled for i, scaled in before.debt_scaled.items() if not _is_written_off(terms, i)}
    else:
        debt_scaled = dict(before.debt_scaled)
        burned_scaled = terms.at.balances.debt_burn_scaled(seizure.repaid_raw, terms.debt.debt_index_ray)
        _set(debt_scaled, debt_id, before.debt_scaled[debt_id] - burned_scaled)
    enabled = before.collateral_enabled
    if _clears_flag(terms, seizure, consumed_scaled):
        enabled = enabled - {collateral_id}
    return Position(before.borrower, collateral_scaled, debt_scaled, enabled, before.category)


def _clears_flag(terms: Terms, seizure: Seizure, consumed_scaled: int) -> bool:
    """Whether the reserve stops being collateral of the borrower."""
    features = terms.at.features
    if features >= Features.V3_7:
        return consumed_scaled == terms.collateral_scaled or seizure.leaves_no_collateral
    if features is Features.V3_0_0:
        return seizure.received_raw == terms.balance_raw
    return seizure.seized_raw == terms.balance_raw


def _is_written_off(terms: Terms, reserve_id: int) -> bool:
    """Bad debt is written off in the debt asset itself and in every other active reserve."""
    return reserve_id == terms.debt.id or terms.at[reserve_id].config.active


def _bad_debt_base(terms: Terms, seizure: Seizure) -> int:
    """Value of the debt that is written off; each reserve rounded as in valuations."""
    balances = terms.at.balances
    left_raw = terms.owed_raw - seizure.repaid_raw
    total_base = balances.debt_value(left_raw, terms.debt_price_base, terms.debt.unit)
    for reserve_id, scaled in terms.position.debt_scaled.items():
        if reserve_id == terms.debt.id or not _is_written_off(terms, reserve_id):
            continue
        leg = terms.at[reserve_id]
        price_base = debt_price_of(leg, terms.emode)
        if price_base is None:
            raise Defect(f"a valued position has no price for reserve {reserve_id}")
        total_base += balances.debt_value(balances.debt_balance(scaled, leg.debt_index_ray), price_base, leg.unit)
    return total_base


def _set(balances: dict[int, int], reserve_id: int, scaled: int) -> None:
    """Store a balance; a zero one is absent."""
    if scaled < 0:
        raise Defect(f"reserve {reserve_id} would be left with {scaled}")
    if scaled:
        balances[reserve_id] = scaled
    else:
        balances.pop(reserve_id, None)
