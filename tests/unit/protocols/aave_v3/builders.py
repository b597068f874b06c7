"""Values for tests: markets, states and positions without a chain. Roles get fixed addresses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from keeper.core.block import BlockRef
from keeper.core.lending import Position
from keeper.core.units import RAY, Address, Hash32
from keeper.protocols.aave_v3.market import Category, Market, Reserve, ReserveConfig
from keeper.protocols.aave_v3.profile import KNOWN
from keeper.protocols.aave_v3.state import ReserveState, State

NOW_S = 1_800_000_000


def address(number: int) -> Address:
    return Address(number.to_bytes(20, "big"))


BORROWER = address(0xB0)
LIQUIDATOR = address(0x11)
PROVIDER, POOL, CONFIGURATOR, ORACLE, SENTINEL = (address(0xA000 + i) for i in range(5))


def make_reserve(reserve_id: int, *, stable: bool = False) -> Reserve:
    base = 0x10000 + 0x100 * reserve_id
    return Reserve(
        id=reserve_id,
        asset=address(base),
        a_token=address(base + 1),
        variable_debt_token=address(base + 2),
        stable_debt_token=address(base + 3) if stable else None,
        symbol=f"T{reserve_id}",
    )


def make_config(
    *,
    ltv_bps: int = 7500,
    liquidation_threshold_bps: int = 8000,
    liquidation_bonus_bps: int = 10500,
    decimals: int = 18,
    active: bool = True,
    paused: bool = False,
    protocol_fee_bps: int = 1000,
    category: int = 0,
    virtual_accounting: bool = True,
) -> ReserveConfig:
    return ReserveConfig(
        ltv_bps,
        liquidation_threshold_bps,
        liquidation_bonus_bps,
        decimals,
        active,
        paused,
        protocol_fee_bps,
        category,
        virtual_accounting,
    )


def make_reserve_state(
    config: ReserveConfig | None = None,
    *,
    price_base: int | None = 10**8,
    liquidity_index_ray: int = RAY,
    liquidity_rate_ray: int = 0,
    variable_borrow_index_ray: int = RAY,
    variable_borrow_rate_ray: int = 0,
    last_update_s: int = NOW_S,
    liquidity_raw: int = 10**40,
    grace_until_s: int = 0,
) -> ReserveState:
    return ReserveState(
        config or make_config(),
        liquidity_index_ray,
        liquidity_rate_ray,
        variable_borrow_index_ray,
        variable_borrow_rate_ray,
        last_update_s,
        liquidity_raw,
        grace_until_s,
        price_base,
    )


def make_block(timestamp_s: int = NOW_S, number: int = 100) -> BlockRef:
    return BlockRef(
        number, Hash32(number.to_bytes(32, "big")), Hash32((number - 1).to_bytes(32, "big")), timestamp_s, 1, 1
    )


def make_market(
    release: str, reserves: Sequence[Reserve], categories: Sequence[Category] = (), *, sentinel: Address | None = None
) -> Market:
    return Market(
        provider=PROVIDER,
        pool=POOL,
        configurator=CONFIGURATOR,
        oracle=ORACLE,
        sentinel=sentinel,
        base_currency_unit=10**8,
        pool_revision=1,
        profile=KNOWN[release],
        candidates=(KNOWN[release],),
        reserves=tuple(reserves),
        categories={category.id: category for category in categories},
    )


def make_state(
    release: str,
    reserves: Mapping[int, ReserveState],
    categories: Sequence[Category] = (),
    *,
    category_prices_base: Mapping[int, int | None] | None = None,
    liquidation_allowed: bool = True,
    timestamp_s: int = NOW_S,
) -> State:
    market = make_market(release, [make_reserve(i) for i in sorted(reserves)], categories)
    return State(market, make_block(timestamp_s), dict(reserves), category_prices_base or {}, liquidation_allowed)


def make_position(
    collateral_scaled: Mapping[int, int],
    debt_scaled: Mapping[int, int],
    *,
    enabled: Sequence[int] | None = None,
    category: int = 0,
) -> Position:
    flags = frozenset(collateral_scaled if enabled is None else enabled)
    return Position(BORROWER, dict(collateral_scaled), dict(debt_scaled), flags, category)
