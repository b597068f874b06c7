"""Everything about a market that stands until its configuration changes, from its `PoolAddressesProvider`.

Five batches of reads: the provider's addresses, the pool's shape, every reserve, every e-mode, and what the release
needs besides. All 255 possible e-modes are asked for, whatever the release: ids may have gaps, a position may be in a category
that no reserve belongs to, and one batch at discovery is cheaper than a stop rule that could be wrong.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from keeper.core.block import Call, CallResult
from keeper.core.errors import MalformedResponse, MarketError, NoMarket
from keeper.core.units import Address, to_hex
from keeper.protocols.aave_v3 import selectors as s
from keeper.protocols.aave_v3.market import Category, Market, Reserve, ReserveConfig
from keeper.protocols.aave_v3.probe import candidates, encode_first_release_probe, encode_probes, is_first_release
from keeper.protocols.aave_v3.profile import KNOWN, Features, Profile
from keeper.protocols.aave_v3.reads import NO_ADDRESS, RESERVE_WORDS, decode_config
from keeper.protocols.aave_v3.terms import USD_8_DECIMALS
from keeper.protocols.aave_v3.words import (
    WORD,
    address_list,
    address_result,
    bounded,
    call,
    split,
    text_result,
    to_address,
    to_bool,
    words,
)

Found_co = TypeVar("Found_co", covariant=True)
Reading = Generator[Sequence[Call], Sequence[CallResult], Found_co]

CATEGORY_IDS = range(1, 256)
MOST_RESERVES = 128


@dataclass(frozen=True, slots=True)
class _Addresses:
    pool: Address
    configurator: Address
    oracle: Address
    sentinel: Address | None


@dataclass(frozen=True, slots=True)
class _Shape:
    revision: int
    unit: int
    assets: tuple[Address, ...]
    profiles: tuple[Profile, ...]

    @property
    def features(self) -> Features:
        return self.profiles[0].features


@dataclass(frozen=True, slots=True)
class _Listed:
    reserve: Reserve
    config: ReserveConfig


def discover(provider: Address) -> Reading[Market]:
    """Yields batches of calls, is sent their results, returns the market, not yet verified.

    Raises `NoMarket` for what is no addresses provider, `MarketError` for every market that must not be trusted, by name;
    `MalformedResponse` for answers that are not what the contracts promise.
    """
    addresses = yield from _read_addresses(provider)
    shape = yield from _read_shape(provider, addresses)
    listed = yield from _read_reserves(addresses.pool, shape)
    categories = yield from _read_categories(addresses.pool, shape.features)
    if shape.features < Features.V3_2:
        shape = yield from _check_old_release(listed, categories, shape)
    _check_minted_assets(shape.features, listed)
    return Market(
        provider=provider,
        pool=addresses.pool,
        configurator=addresses.configurator,
        oracle=addresses.oracle,
        sentinel=addresses.sentinel,
        base_currency_unit=shape.unit,
        pool_revision=shape.revision,
        profile=shape.profiles[0],
        candidates=shape.profiles,
        reserves=tuple(one.reserve for one in listed),
        categories={category.id: category for category in categories},
    )


def _read_addresses(provider: Address) -> Reading[_Addresses]:
    selectors = (s.GET_POOL, s.GET_POOL_CONFIGURATOR, s.GET_PRICE_ORACLE, s.GET_PRICE_ORACLE_SENTINEL)
    answers = yield [call(provider, selector) for selector in selectors]
    if any(not answer.ok or len(answer.returndata) != WORD for answer in answers):
        raise NoMarket(f"{to_hex(provider)} is no Aave v3 PoolAddressesProvider")
    pool, configurator, oracle, sentinel = (address_result(answer, "addresses provider") for answer in answers)
    if NO_ADDRESS in (pool, configurator, oracle):
        raise MarketError(f"the addresses provider {to_hex(provider)} names no pool, configurator or oracle")
    return _Addresses(pool, configurator, oracle, None if sentinel == NO_ADDRESS else sentinel)


def _read_shape(provider: Address, addresses: _Addresses) -> Reading[_Shape]:
    pool = addresses.pool
    own_provider, revision_answer, unit_answer, list_answer, *probes = yield [
        call(pool, s.ADDRESSES_PROVIDER),
        call(pool, s.POOL_REVISION),
        call(addresses.oracle, s.BASE_CURRENCY_UNIT),
        call(pool, s.GET_RESERVES_LIST),
        *encode_probes(pool),
    ]
    if not own_provider.ok or address_result(own_provider, "ADDRESSES_PROVIDER") != provider:
        raise MarketError(f"the pool {to_hex(pool)} belongs to another addresses provider than {to_hex(provider)}")
    (revision,) = words(revision_answer, 1, "POOL_REVISION")
    (unit,) = words(unit_answer, 1, "BASE_CURRENCY_UNIT")
    assets = address_list(list_answer, "getReservesList")
    if not assets:
        raise MarketError(f"the pool {to_hex(pool)} lists no reserve")
    if len(assets) > MOST_RESERVES:
        raise MalformedResponse(f"getReservesList: {len(assets)} reserves, {MOST_RESERVES} is the contract's most")
    shape = _Shape(revision, unit, tuple(assets), candidates(revision, probes))
    if shape.features >= Features.V3_3 and unit != USD_8_DECIMALS:
        raise MarketError(
            f"the base currency of {to_hex(pool)} has unit {unit}: since 3.3 the pool's constants mean dollars of 8 decimals"
        )
    return shape


def _read_reserves(pool: Address, shape: _Shape) -> Reading[list[_Listed]]:
    answers = yield [
        *(call(pool, s.GET_RESERVE_DATA, asset) for asset in shape.assets),
        *(call(asset, s.SYMBOL) for asset in shape.assets),
    ]
    count = len(shape.assets)
    listed = [
        _decode_reserve(asset, row, symbol, shape.features)
        for asset, row, symbol in zip(shape.assets, answers[:count], answers[count:], strict=True)
    ]
    if len({one.reserve.id for one in listed}) != count:
        raise MalformedResponse("getReserveData: two reserves have the same id")
    return sorted(listed, key=lambda one: one.reserve.id)


def _decode_reserve(asset: Address, answer: CallResult, symbol: CallResult, features: Features) -> _Listed:
    what = f"getReserveData({to_hex(asset)})"
    row = words(answer, RESERVE_WORDS, what)
    stable = to_address(row[9], what)
    reserve = Reserve(
        id=row[7],
        asset=asset,
        a_token=to_address(row[8], what),
        variable_debt_token=to_address(row[10], what),
        stable_debt_token=stable if features < Features.V3_2 and stable != NO_ADDRESS else None,
        symbol=text_result(symbol),
    )
    if reserve.id >= MOST_RESERVES or NO_ADDRESS in (reserve.a_token, reserve.variable_debt_token):
        raise MalformedResponse(f"{what}: id {reserve.id}, or a token is missing")
    return _Listed(reserve, decode_config(row[0], features))


def _read_categories(pool: Address, features: Features) -> Reading[list[Category]]:
    """Every e-mode that has terms; the others are the contract's empty category."""
    if features < Features.V3_2:
        answers = yield [call(pool, s.GET_E_MODE_CATEGORY_DATA, i) for i in CATEGORY_IDS]
        return [
            one for i, answer in zip(CATEGORY_IDS, answers, strict=True) if (one := _decode_old_category(i, answer))
        ]
    answers = yield [call(pool, s.GET_E_MODE_CATEGORY_COLLATERAL_CONFIG, i) for i in CATEGORY_IDS]
    categories = []
    for i, answer in zip(CATEGORY_IDS, answers, strict=True):
        terms = words(answer, 3, f"e-mode {i}")
        if any(terms):
            categories.append(Category(i, terms[0], terms[1], terms[2]))
    return (yield from _read_members(pool, features, categories)) if categories else []


def _decode_old_category(category_id: int, answer: CallResult) -> Category | None:
    """`getEModeCategoryData` up to 3.1: one dynamic tuple (ltv, threshold, bonus, price source, label)."""
    what = f"e-mode {category_id}"
    head_words = 5
    if not answer.ok or len(answer.returndata) < (1 + head_words) * WORD:
        raise MalformedResponse(f"{what}: {len(answer.returndata)} bytes are no category")
    offset, ltv, threshold, bonus, source, _ = split(answer.returndata[: (1 + head_words) * WORD], 1 + head_words, what)
    if offset != WORD:
        raise MalformedResponse(f"{what}: not a tuple")
    price_source = to_address(source, what)
    if not (ltv or threshold or bonus or source):
        return None
    return Category(
        category_id, ltv, threshold, bonus, price_source=None if price_source == NO_ADDRESS else price_source
    )


def _read_members(pool: Address, features: Features, categories: Sequence[Category]) -> Reading[list[Category]]:
    """Bitmaps and flags of each e-mode, as far as the release has them."""
    selectors = [s.GET_E_MODE_CATEGORY_COLLATERAL_BITMAP]
    if features >= Features.V3_6:
        selectors.append(s.GET_E_MODE_CATEGORY_LTVZERO_BITMAP)
    if features >= Features.V3_7:
        selectors.append(s.GET_IS_E_MODE_CATEGORY_ISOLATED)
    answers = yield [call(pool, selector, category.id) for selector in selectors for category in categories]
    columns = [answers[i : i + len(categories)] for i in range(0, len(answers), len(categories))]
    found = []
    for place, category in enumerate(categories):
        what = f"e-mode {category.id}"
        row = [words(column[place], 1, what)[0] for column in columns] + [0] * (3 - len(columns))
        found.append(
            replace(
                category,
                collateral_bitmap=bounded(row[0], 128, what),
                zero_ltv_bitmap=bounded(row[1], 128, what),
                isolated=to_bool(row[2], what),
            )
        )
    return found


def _check_old_release(listed: Sequence[_Listed], categories: Sequence[Category], shape: _Shape) -> Reading[_Shape]:
    """Up to 3.1: refuse stable debt; up to 3.0.2: tell 3.0.0 apart, and refuse what its two builds do differently."""
    stable = [one.reserve for one in listed if one.reserve.stable_debt_token is not None]
    *supplies, probe = yield [
        *(call(one.stable_debt_token or NO_ADDRESS, s.TOTAL_SUPPLY) for one in stable),
        encode_first_release_probe(listed[0].reserve.a_token),
    ]
    for reserve, answer in zip(stable, supplies, strict=True):
        (owed_raw,) = words(answer, 1, f"stable debt of {reserve.label}")
        if owed_raw:
            raise MarketError(f"{owed_raw} of stable debt is outstanding in {reserve.label}")
    if shape.features >= Features.V3_1 or not is_first_release(probe):
        return shape
    if any(category.price_source for category in categories):
        raise MarketError("e-mode price sources on 3.0.0: its builds disagree on their use in liquidations")
    return replace(shape, profiles=(KNOWN["3.0.0"],))


def _check_minted_assets(features: Features, listed: Sequence[_Listed]) -> None:
    """3.1 to 3.3: an asset that the protocol mints itself has debt that is not its scaled balance times the index."""
    if not Features.V3_1 <= features <= Features.V3_3:
        return
    for one in listed:
        if not one.config.virtual_accounting:
            raise MarketError(f"{one.reserve.label} has no virtual accounting: its debt cannot be derived before 3.4")
