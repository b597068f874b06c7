"""Discovery and probes, release by release, on scripted answers; the real contracts are in tests/protocols."""

from __future__ import annotations

import pytest

from keeper.core.block import CallResult
from keeper.core.errors import MalformedResponse, MarketError
from keeper.core.units import Address
from keeper.protocols.aave_v3 import selectors as s
from keeper.protocols.aave_v3.adapter import AaveV3
from keeper.protocols.aave_v3.market import Category, Market
from keeper.protocols.aave_v3.profile import KNOWN
from tests.unit.protocols.aave_v3.builders import CONFIGURATOR, ORACLE, POOL, PROVIDER, SENTINEL, address, make_reserve
from tests.unit.protocols.aave_v3.scripted import (
    NO_FUNCTION,
    RESERVE_DATA,
    Script,
    config_word,
    outputs,
    reserve_row,
    scripted_market,
)

REVISIONS = {
    "3.0.0": 1,
    "3.0.2": 3,
    "3.1": 4,
    "3.2": 5,
    "3.3": 7,
    "3.4": 8,
    "3.5": 9,
    "3.6": 10,
    "3.7": 11,
}


def discovered(script: Script) -> Market:
    return script.drive(AaveV3().discover(PROVIDER))


@pytest.mark.parametrize("release", KNOWN)
def test_each_release_is_recognised_by_its_functions(release: str) -> None:
    market = discovered(scripted_market(release, revision=REVISIONS[release]))
    assert market.profile.release == release
    assert (market.pool, market.configurator, market.oracle, market.sentinel) == (POOL, CONFIGURATOR, ORACLE, None)
    # By id, not by place in the list.
    assert [(one.id, one.asset, one.symbol) for one in market.reserves] == [
        (i, make_reserve(i).asset, f"T{i}") for i in (1, 3)
    ]
    assert [one.stable_debt_token is not None for one in market.reserves] == [release < "3.2"] * 2
    category = market.categories[7]
    assert set(market.categories) == {7}
    assert (category.ltv_bps, category.liquidation_threshold_bps, category.liquidation_bonus_bps) == (
        9000,
        9300,
        10_100,
    )
    assert category.collateral_bitmap == (0 if release < "3.2" else 0b1010)
    assert category.zero_ltv_bitmap == (0b1000 if release >= "3.6" else 0)
    assert category.isolated == (release >= "3.7")


@pytest.mark.parametrize("revision, expected", [(8, ["3.4", "3.5"]), (9, ["3.5", "3.4"]), (2, ["3.4", "3.5"])])
def test_3_4_and_3_5_have_the_same_functions_and_are_told_apart_by_borrowers(
    revision: int, expected: list[str]
) -> None:
    market = discovered(scripted_market("3.4", revision=revision))
    candidates = AaveV3().candidates(market)
    assert [one.profile.release for one in candidates] == expected
    assert len({AaveV3().rules_name(one) for one in candidates}) == 2


def test_it_takes_five_trips() -> None:
    trips = set()
    for release in KNOWN:
        script = scripted_market(release, revision=REVISIONS[release])
        discovered(script)
        trips.add(len(script.batches))
    assert trips == {5}


def test_lp09_an_unknown_revision_refuses() -> None:
    with pytest.raises(MarketError, match="revision 12"):
        discovered(scripted_market("3.7", revision=12))


def test_functions_that_no_release_combines_refuse() -> None:
    script = scripted_market("3.6", revision=10)
    script.set(POOL, s.GET_RESERVE_DEFICIT, (0,), NO_FUNCTION)
    with pytest.raises(MarketError, match="0xc952485d"):
        discovered(script)


def test_an_address_that_is_no_provider() -> None:
    with pytest.raises(MarketError, match="no Aave v3 PoolAddressesProvider"):
        discovered(Script())
    script = scripted_market("3.6", revision=10)
    script.say(PROVIDER, s.GET_POOL, (), ["address"], "0x" + "00" * 20)
    with pytest.raises(MarketError, match="names no pool"):
        discovered(script)


def test_a_pool_of_another_provider() -> None:
    script = scripted_market("3.6", revision=10)
    script.say(POOL, s.ADDRESSES_PROVIDER, (), ["address"], "0x" + "11" * 20)
    with pytest.raises(MarketError, match="another addresses provider"):
        discovered(script)


@pytest.mark.parametrize("release", KNOWN)
def test_constants_in_dollars_need_a_base_currency_of_8_decimals(release: str) -> None:
    script = scripted_market(release, revision=REVISIONS[release], unit=10**18)
    if release < "3.3":
        assert discovered(script).base_currency_unit == 10**18
    else:
        with pytest.raises(MarketError, match="8 decimals"):
            discovered(script)


@pytest.mark.parametrize("release", ["3.0.0", "3.0.2", "3.1"])
def test_outstanding_stable_debt_refuses_by_name(release: str) -> None:
    script = scripted_market(release, revision=REVISIONS[release])
    stable = make_reserve(3, stable=True).stable_debt_token
    assert stable is not None
    script.say(stable, s.TOTAL_SUPPLY, (), ["uint256"], 5)
    with pytest.raises(MarketError, match="5 of stable debt is outstanding in T3"):
        discovered(script)


@pytest.mark.parametrize("release", ["3.1", "3.2", "3.3", "3.4"])
def test_an_asset_that_the_protocol_mints_refuses_by_name_up_to_3_3(release: str) -> None:
    script = scripted_market(release, revision=REVISIONS[release])
    reserve = make_reserve(3, stable=release < "3.2")
    row = reserve_row(reserve, config_word(virtual=False))
    script.say(POOL, s.GET_RESERVE_DATA, (reserve.asset,), RESERVE_DATA, row)
    if release == "3.4":
        assert discovered(script).profile.release == "3.4"
    else:
        with pytest.raises(MarketError, match="T3 has no virtual accounting"):
            discovered(script)


def test_e_mode_price_sources_are_kept_and_refused_on_3_0_0() -> None:
    terms = (9000, 9300, 10_100, "0x" + "00" * 19 + "99", "seven")
    kinds = outputs("aave_v3/Pool", "getEModeCategoryData")
    for release in ("3.0.2", "3.0.0"):
        script = scripted_market(release, revision=1)
        script.say(POOL, s.GET_E_MODE_CATEGORY_DATA, (7,), kinds, terms)
        if release == "3.0.0":
            with pytest.raises(MarketError, match=r"price sources on 3\.0\.0"):
                discovered(script)
        else:
            assert discovered(script).categories[7] == Category(7, 9000, 9300, 10_100, price_source=address(0x99))


def test_a_sentinel_is_found() -> None:
    script = scripted_market("3.6", revision=10)
    script.say(PROVIDER, s.GET_PRICE_ORACLE_SENTINEL, (), ["address"], "0x" + SENTINEL.hex())
    assert discovered(script).sentinel == SENTINEL


@pytest.mark.parametrize("release", KNOWN)
def test_lp07_no_answer_of_discovery_can_be_cut_short(release: str) -> None:
    """Each answer in turn loses its last byte: an error every time, except where the answer is a mere name or a probe."""
    whole = scripted_market(release, revision=REVISIONS[release])
    market = discovered(whole)
    asked = {(one.target, one.calldata) for batch in whole.batches for one in batch}
    optional = (s.SYMBOL, s.HANDLE_REPAYMENT, *(one.calldata[:4] for one in whole.batches[1][4:]))
    cut_short = 0
    for key, result in whole.answers.items():
        if key not in asked or key[1][:4] in optional:
            continue
        if key[1][:4] in (s.GET_E_MODE_CATEGORY_COLLATERAL_CONFIG, s.GET_E_MODE_CATEGORY_DATA) and key[1][-1] > 8:
            continue  # two hundred and fifty of a kind
        script = scripted_market(release, revision=REVISIONS[release])
        cut = result.returndata[: -1 if key[1][:4] != s.GET_E_MODE_CATEGORY_DATA else 100]
        script.answers[key] = CallResult(ok=True, returndata=cut)
        with pytest.raises((MalformedResponse, MarketError)):
            discovered(script)
        cut_short += 1
    assert cut_short > 10
    assert market.reserves


def test_two_reserves_of_one_id_are_malformed() -> None:
    script = scripted_market("3.6", revision=10)
    row = reserve_row(make_reserve(3), config_word())
    row[7] = 1
    script.say(POOL, s.GET_RESERVE_DATA, (make_reserve(3).asset,), RESERVE_DATA, row)
    with pytest.raises(MalformedResponse, match="same id"):
        discovered(script)


def test_an_old_tokens_bytes32_name_and_no_name_at_all() -> None:
    script = scripted_market("3.6", revision=10)
    script.say(make_reserve(1).asset, s.SYMBOL, (), ["bytes32"], b"MKR")
    script.set(make_reserve(3).asset, s.SYMBOL, (), NO_FUNCTION)
    market = discovered(script)
    assert [one.symbol for one in market.reserves] == ["MKR", None]
    assert market.by_id[3].label == "0x" + Address(make_reserve(3).asset).hex()
