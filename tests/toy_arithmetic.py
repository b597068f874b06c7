"""The arithmetic of the toy lending protocol (see `tests.toy_market`): what a position is worth, what a call does.

Collateral is raw as stored; debt is scaled by an index that grows linearly. Units as in `keeper.core.lending`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from keeper.core.lending import (
    Health,
    Position,
    Quote,
    Refusal,
    Side,
)
from keeper.core.outcome import Reason, Skip
from keeper.core.screening import Fraction, ScreenColumn, ScreenTerms
from keeper.core.units import BPS, HEALTH_ONE_WAD, NO_DEBT_HEALTH_WAD, RAY, WAD, Address

CLOSE_FACTOR_HEALTH_WAD = 95 * WAD // 100
"""Above it the close factor binds; at or below it all of a debt may be repaid."""


@dataclass(frozen=True, slots=True)
class ToyReserve:
    id: int
    asset: Address
    unit: int
    threshold_bps: int = 8_000
    ltv_bps: int = 7_500
    bonus_bps: int = 10_500
    """100 % included; 0 where it cannot be liquidated."""
    active: bool = True
    paused: bool = False


@dataclass(frozen=True, slots=True)
class ToyRules:
    """What differs between releases of the toy."""

    name: str = "toy 1"
    close_factor_bps: int = BPS
    dust_base: int = 0
    """A call clears the debt, clears the collateral, or leaves at least this of each."""
    fee_bps: int = 0
    """The protocol's cut of the bonus."""
    floored: bool = False
    """Health from the average threshold floored to whole bps."""
    writes_off: bool = False
    """Debt that is left without collateral is written off by the call itself."""
    debt_rounds_up: bool = True


@dataclass(frozen=True, slots=True)
class ToyMarket:
    entry: Address
    pool: Address
    revision: int
    rules: ToyRules
    reserves: Mapping[int, ToyReserve]

    def by_asset(self, asset: Address) -> ToyReserve | None:
        return next((reserve for reserve in self.reserves.values() if reserve.asset == asset), None)


@dataclass(frozen=True, slots=True)
class ToyState:
    market: ToyMarket
    prices_base: Mapping[int, int | None]
    liquidity_raw: Mapping[int, int]
    index_ray: Mapping[int, int]
    """Of debt, at time 0."""
    rate_ray_s: Mapping[int, int]
    """What the index gains per second."""

    def owed_raw(self, position: Position, reserve_id: int, timestamp_s: int) -> int:
        scaled = position.debt_scaled.get(reserve_id, 0)
        return -(-scaled * self.debt_index_ray(reserve_id, timestamp_s) // RAY)

    def debt_index_ray(self, reserve_id: int, timestamp_s: int) -> int:
        return self.index_ray[reserve_id] + self.rate_ray_s[reserve_id] * timestamp_s

    def debt_value_base(self, reserve_id: int, raw: int, price_base: int) -> int:
        unit = self.market.reserves[reserve_id].unit
        return -(-raw * price_base // unit) if self.market.rules.debt_rounds_up else raw * price_base // unit


# -- arithmetic ------------------------------------------------------------------------------------------------------


def value_position(state: ToyState, position: Position, timestamp_s: int) -> Health | Skip:
    collateral_base = weighted = borrowable = debt_base = 0
    for reserve_id in sorted(position.collateral_enabled):
        price_base = state.prices_base[reserve_id]
        if price_base is None:
            return Skip(Reason.UNPRICEABLE, f"no price for reserve {reserve_id}")
        reserve = state.market.reserves[reserve_id]
        value_base = position.collateral_scaled.get(reserve_id, 0) * price_base // reserve.unit
        collateral_base += value_base
        weighted += value_base * reserve.threshold_bps
        borrowable += value_base * reserve.ltv_bps
    for reserve_id in position.debt_scaled:
        price_base = state.prices_base[reserve_id]
        if price_base is None:
            return Skip(Reason.UNPRICEABLE, f"no price for reserve {reserve_id}")
        debt_base += state.debt_value_base(reserve_id, state.owed_raw(position, reserve_id, timestamp_s), price_base)
    threshold_bps = weighted // collateral_base if collateral_base else 0
    ltv_bps = borrowable // collateral_base if collateral_base else 0
    counted = collateral_base * threshold_bps if state.market.rules.floored else weighted
    return Health(
        health_factor_wad=counted * WAD // (debt_base * BPS) if debt_base else NO_DEBT_HEALTH_WAD,
        collateral_base=collateral_base,
        debt_base=debt_base,
        available_borrows_base=max(0, collateral_base * ltv_bps // BPS - debt_base),
        liquidation_threshold_bps=threshold_bps,
        ltv_bps=ltv_bps,
        weighted_collateral_base_bps=weighted,
    )


def screen_terms_of(state: ToyState, columns: Sequence[ScreenColumn], timestamp_s: int) -> ScreenTerms:
    """One raw unit of collateral, one scaled unit of debt; one bp less of collateral where the average is floored."""
    weights: list[Fraction | None] = []
    floored = state.market.rules.floored
    for side, reserve_id, _ in columns:
        price_base, reserve = state.prices_base[reserve_id], state.market.reserves[reserve_id]
        index_ray = state.debt_index_ray(reserve_id, timestamp_s)
        if price_base is None or (index_ray < RAY if side is Side.DEBT else floored and not reserve.threshold_bps):
            weights.append(None)
        elif side is Side.DEBT:
            weights.append((index_ray * price_base * BPS, RAY * reserve.unit))
        else:
            weights.append((price_base * (reserve.threshold_bps - floored), reserve.unit))
    return ScreenTerms(weights, leg_margin_base_bps=BPS, row_margin_base_bps=0)


@dataclass(frozen=True, slots=True)
class PairTerms:
    """One pair of one position at one timestamp."""

    state: ToyState
    position: Position
    timestamp_s: int
    collateral: ToyReserve
    debt: ToyReserve
    collateral_price_base: int
    debt_price_base: int
    most_raw: int

    @property
    def balance_raw(self) -> int:
        return self.position.collateral_scaled.get(self.collateral.id, 0)

    @property
    def owed_raw(self) -> int:
        return self.state.owed_raw(self.position, self.debt.id, self.timestamp_s)

    def burned_scaled(self, repaid_raw: int) -> int:
        if repaid_raw == self.owed_raw:
            return self.position.debt_scaled[self.debt.id]
        return repaid_raw * RAY // self.state.debt_index_ray(self.debt.id, self.timestamp_s)

    def amounts(self, request_raw: int) -> tuple[int, int, int]:
        """(repaid, seized, fee), raw."""
        worth_up = self.debt_price_base * self.collateral.unit * self.collateral.bonus_bps
        worth_down = self.collateral_price_base * self.debt.unit * BPS
        repaid_raw = min(request_raw, self.most_raw)
        seized_raw = repaid_raw * worth_up // worth_down
        if seized_raw > self.balance_raw:
            seized_raw = self.balance_raw
            repaid_raw = min(repaid_raw, -(-self.balance_raw * worth_down // worth_up))
        bonus_raw = seized_raw - seized_raw * BPS // self.collateral.bonus_bps
        return repaid_raw, seized_raw, bonus_raw * self.state.market.rules.fee_bps // BPS

    def left_base(self, repaid_raw: int, seized_raw: int) -> tuple[int, int]:
        """Value of what is left of debt and collateral of the pair; 0 only where nothing is left."""
        owed_left_raw, balance_left_raw = self.owed_raw - repaid_raw, self.balance_raw - seized_raw
        owed_left_base = -(-owed_left_raw * self.debt_price_base // self.debt.unit)
        return owed_left_base, -(-balance_left_raw * self.collateral_price_base // self.collateral.unit)

    def refusal(self, request_raw: int) -> Refusal | None:
        repaid_raw, seized_raw, fee_raw = self.amounts(request_raw)
        if request_raw < 1 or not seized_raw or not self.burned_scaled(repaid_raw):
            return refused(Reason.SIMULATION_REVERTED, "NothingToDo")
        if seized_raw - fee_raw > self.state.liquidity_raw[self.collateral.id]:
            return refused(Reason.NO_COLLATERAL_LIQUIDITY, "NoLiquidity")
        owed_left_base, balance_left_base = self.left_base(repaid_raw, seized_raw)
        dust_base = self.state.market.rules.dust_base
        if owed_left_base and balance_left_base and min(owed_left_base, balance_left_base) < dust_base:
            return refused(Reason.DUST_GAP, "MustNotLeaveDust")
        return None

    def thresholds(self) -> set[int]:
        """Every request at which the answer may change: each condition is monotone in the request."""
        dust_base = self.state.market.rules.dust_base
        conditions: list[Callable[[int, int, int], bool]] = [
            lambda repaid, seized, fee: seized > 0,
            lambda repaid, seized, fee: self.burned_scaled(repaid) > 0,
            lambda repaid, seized, fee: seized - fee > self.state.liquidity_raw[self.collateral.id],
            lambda repaid, seized, fee: self.left_base(repaid, seized)[0] < dust_base,
            lambda repaid, seized, fee: self.left_base(repaid, seized)[0] == 0,
            lambda repaid, seized, fee: self.left_base(repaid, seized)[1] < dust_base,
            lambda repaid, seized, fee: self.left_base(repaid, seized)[1] == 0,
        ]
        return {1} | {
            _first(lambda x, met=met: met(*self.amounts(x)), self.most_raw)  # type: ignore[misc]
            for met in conditions
            if met(*self.amounts(self.most_raw))
        }

    def quote(self, request_raw: int) -> Quote | Refusal:
        refusal = self.refusal(request_raw)
        if refusal is not None:
            return refusal
        repaid_raw, seized_raw, fee_raw = self.amounts(request_raw)
        collateral = dict(self.position.collateral_scaled)
        debt = dict(self.position.debt_scaled)
        _reduce(collateral, self.collateral.id, seized_raw)
        _reduce(debt, self.debt.id, self.burned_scaled(repaid_raw))
        enabled = self.position.collateral_enabled
        if self.collateral.id not in collateral:
            enabled = enabled - {self.collateral.id}
        after = replace(
            self.position, collateral_scaled=collateral, debt_scaled=debt, collateral_enabled=frozenset(enabled)
        )
        health = value_position(self.state, after, self.timestamp_s)
        assert isinstance(health, Health), "a priced position stays priced"
        bad_debt_base = 0
        if self.state.market.rules.writes_off and not health.collateral_base:
            bad_debt_base = health.debt_base
            after = replace(after, debt_scaled={})
            written_off = value_position(self.state, after, self.timestamp_s)
            assert isinstance(written_off, Health), "a priced position stays priced"
            health = written_off
        received_raw = seized_raw - fee_raw
        return Quote(
            debt_to_cover_raw=request_raw,
            repaid_raw=repaid_raw,
            seized_raw=seized_raw,
            protocol_fee_raw=fee_raw,
            received_raw=received_raw,
            repaid_base=repaid_raw * self.debt_price_base // self.debt.unit,
            seized_base=seized_raw * self.collateral_price_base // self.collateral.unit,
            received_base=received_raw * self.collateral_price_base // self.collateral.unit,
            position_after=after,
            health_after=health,
            bad_debt_base=bad_debt_base,
        )


def terms_of(
    state: ToyState, position: Position, collateral_id: int, debt_id: int, timestamp_s: int
) -> PairTerms | Refusal:
    """One pair, or the pool's refusal of any amount."""
    health = value_position(state, position, timestamp_s)
    if isinstance(health, Skip):
        return Refusal(health, "NoPrice")
    collateral, debt = state.market.reserves[collateral_id], state.market.reserves[debt_id]
    if not (collateral.active and debt.active):
        return refused(Reason.RESERVE_INACTIVE, "ReserveInactive")
    if collateral.paused or debt.paused:
        return refused(Reason.RESERVE_PAUSED, "ReservePaused")
    if health.health_factor_wad >= HEALTH_ONE_WAD:
        return refused(Reason.HEALTHY_NOW, "HealthyNow")
    if collateral_id not in position.collateral_enabled:
        return refused(Reason.NOT_COLLATERAL, "NotCollateral")
    if not collateral.bonus_bps:
        return refused(Reason.ZERO_BONUS, "ZeroBonus")
    collateral_price_base, debt_price_base = state.prices_base[collateral_id], state.prices_base[debt_id]
    assert collateral_price_base is not None and debt_price_base is not None, "the position was valued"
    owed_raw = state.owed_raw(position, debt_id, timestamp_s)
    half = health.health_factor_wad > CLOSE_FACTOR_HEALTH_WAD
    most_raw = owed_raw * state.market.rules.close_factor_bps // BPS if half else owed_raw
    if not most_raw:
        return refused(Reason.SIMULATION_REVERTED, "NothingToDo")
    return PairTerms(
        state, position, timestamp_s, collateral, debt, collateral_price_base, debt_price_base, max(1, most_raw)
    )


def refused(reason: Reason, contract_error: str) -> Refusal:
    return Refusal(Skip(reason, contract_error), contract_error)


def _first(holds: Callable[[int], bool], high: int) -> int:
    """The least x in [1, high] where a monotone condition, true at `high`, holds."""
    low = 1
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _reduce(balances: dict[int, int], reserve_id: int, by: int) -> None:
    left = balances.pop(reserve_id) - by
    if left:
        balances[reserve_id] = left
