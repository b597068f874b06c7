"""Random liquidatable positions for property tests, on every release."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from keeper.core.lending import Position
from keeper.core.units import RAY
from keeper.protocols.aave_v3.market import Category
from keeper.protocols.aave_v3.profile import KNOWN, Features
from keeper.protocols.aave_v3.state import ReserveState, State
from tests.unit.protocols.aave_v3.builders import NOW_S, make_config, make_position, make_reserve_state, make_state

releases = st.sampled_from(sorted(KNOWN))
RELEASES = sorted(KNOWN)
prices = st.one_of(st.integers(1, 10**6), st.integers(10**6, 10**14))
indexes = st.one_of(st.just(RAY), st.integers(RAY, 4 * RAY))
DAY_S = 86_400


@dataclass(frozen=True)
class Case:
    """A position with one or two collaterals and one or two debts; pair (0, 1) is the one looked at."""

    state: State
    position: Position
    timestamp_s: int = NOW_S


@st.composite
def reserve_states(draw: st.DrawFn, decimals: int, category: int = 0) -> ReserveState:
    threshold = draw(st.integers(1, 9500))
    # As the contracts require at configuration: threshold × bonus is at most 100 %.
    bonus = draw(st.integers(10_001, min(15_000, 100_000_000 // threshold)))
    return make_reserve_state(
        make_config(
            ltv_bps=draw(st.integers(0, threshold)),
            liquidation_threshold_bps=threshold,
            liquidation_bonus_bps=bonus,
            decimals=decimals,
            protocol_fee_bps=draw(st.sampled_from([0, 1, 1000, 2500, 10_000])),
            category=category,
        ),
        price_base=draw(prices),
        liquidity_index_ray=draw(indexes),
        liquidity_rate_ray=draw(st.integers(0, RAY)),
        variable_borrow_index_ray=draw(indexes),
        variable_borrow_rate_ray=draw(st.integers(0, RAY)),
        last_update_s=NOW_S - draw(st.integers(0, 30 * DAY_S)),
    )


@st.composite
def cases(draw: st.DrawFn, release: str | None = None, *, most_units: int = 10**30) -> Case:
    """Values of both sides stay comparable, so that every rule gets its turn: debts from dust to whales, collateral around
    the point where it is exhausted."""
    release = release or draw(releases)
    features = KNOWN[release].features
    category = draw(st.sampled_from([0, 0, 1]))
    in_category = category if features < Features.V3_2 else 0
    decimals = [draw(st.sampled_from([0, 2, 6, 8, 18])) for _ in range(4)]
    reserves = {i: draw(reserve_states(decimals[i], draw(st.sampled_from([0, in_category])))) for i in range(4)}
    emode = Category(1, 9000, 9300, 10_100, collateral_bitmap=draw(st.integers(0, 15)))
    value_base = draw(st.one_of(st.integers(1, 10**9), st.integers(10**9, 10**12), st.integers(10**12, 10**16)))

    def scaled(reserve_id: int, worth_base: int) -> int:
        price = reserves[reserve_id].price_base
        assert price is not None
        unit: int = 10 ** decimals[reserve_id]
        return max(1, min(most_units, worth_base * unit // price))

    ratio_percent = draw(st.integers(40, 300))
    collateral = {0: scaled(0, value_base * ratio_percent // 100)}
    debt = {1: scaled(1, value_base)}
    if draw(st.booleans()):
        collateral[2] = scaled(2, value_base * draw(st.integers(0, 60)) // 100)
    if draw(st.booleans()):
        debt[draw(st.sampled_from([0, 3]))] = scaled(3, value_base * draw(st.integers(1, 100)) // 100)
    state = make_state(release, reserves, [emode] if category else [])
    return Case(state, make_position(collateral, debt, category=category))
