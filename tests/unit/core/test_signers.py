"""Orders given out among signers: nobody spends what it has not, and no borrower has two signers at a time."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from keeper.core.signers import Need, Purse, assign
from keeper.core.units import Address

FIRST, SECOND, THIRD = (Address(bytes([number]) * 20) for number in (1, 2, 3))
USD, ETH = Address(b"\xaa" * 20), Address(b"\xee" * 20)


def purse(signer: Address, room: int = 5, gas_wei: int = 100, usd: int = 1_000) -> Purse:
    return Purse(signer, room, gas_wei, {USD: usd})


def need(number: int, calls: int = 1, gas_wei: int = 1, usd: int = 10) -> Need:
    return Need(Address(bytes([0xB0 + number]) * 20), calls, gas_wei, {USD: usd})


def test_the_load_is_spread_and_equals_go_by_the_configured_order() -> None:
    needs = [need(number) for number in range(5)]
    assert assign(needs, [purse(FIRST), purse(SECOND)], {}) == [FIRST, SECOND, FIRST, SECOND, FIRST]


def test_the_most_urgent_is_served_first_and_who_goes_without_takes_nothing() -> None:
    needs = [need(0, usd=600), need(1, usd=600), need(2, usd=400)]
    assert assign(needs, [purse(FIRST)], {}) == [FIRST, None, FIRST]


def test_a_borrower_with_an_open_transaction_stays_with_its_signer_or_waits() -> None:
    both = [purse(FIRST), purse(SECOND, room=9)]
    assert assign([need(0)], both, {}) == [SECOND]
    assert assign([need(0)], both, {need(0).borrower: FIRST}) == [FIRST]
    assert assign([need(0)], [purse(FIRST, room=0), both[1]], {need(0).borrower: FIRST}) == [None]
    assert assign([need(0)], both, {need(0).borrower: THIRD}) == [None]


def test_room_gas_and_money_must_suffice_for_the_whole_order() -> None:
    assert assign([need(0, calls=2)], [purse(FIRST, room=1), purse(SECOND, room=2)], {}) == [SECOND]
    assert assign([need(0, gas_wei=7)], [purse(FIRST, gas_wei=6), purse(SECOND, gas_wei=7)], {}) == [SECOND]
    assert assign([need(0, usd=7)], [purse(FIRST, usd=6), purse(SECOND, usd=7)], {}) == [SECOND]
    assert assign([Need(FIRST, 1, 1, {ETH: 1})], [purse(FIRST)], {}) == [None]


PURSES = st.lists(
    st.builds(
        purse, st.sampled_from([FIRST, SECOND, THIRD]), st.integers(0, 4), st.integers(0, 20), st.integers(0, 50)
    ),
    max_size=3,
    unique_by=lambda each: each.signer,
)
NEEDS = st.lists(
    st.builds(need, st.integers(0, 40), st.integers(1, 3), st.integers(0, 9), st.integers(0, 30)),
    max_size=12,
    unique_by=lambda each: each.borrower,
)


@given(purses=PURSES, needs=NEEDS, owners=st.lists(st.sampled_from([FIRST, SECOND, THIRD, None]), max_size=12))
def test_nobody_is_given_more_than_it_has_nor_anothers_borrower(
    purses: list[Purse], needs: list[Need], owners: list[Address | None]
) -> None:
    reserved = {each.borrower: owner for each, owner in zip(needs, owners, strict=False) if owner is not None}
    chosen = assign(needs, purses, reserved)
    assert assign(needs, purses, reserved) == chosen, "the same every time"
    calls: Counter[Address] = Counter()
    gas_wei: Counter[Address] = Counter()
    usd: Counter[Address] = Counter()
    for each, signer in zip(needs, chosen, strict=True):
        if signer is None:
            continue
        assert reserved.get(each.borrower, signer) == signer
        calls[signer] += each.calls
        gas_wei[signer] += each.gas_wei
        usd[signer] += each.pulls_raw[USD]
    for held in purses:
        assert calls[held.signer] <= held.room
        assert gas_wei[held.signer] <= held.gas_money_wei
        assert usd[held.signer] <= held.funds_raw[USD]
    if None in chosen and not reserved:
        first = needs[chosen.index(None)]
        assert not any(assign([first], [each], {})[0] for each in _left(needs, chosen, purses, chosen.index(None)))


def _left(needs: list[Need], chosen: object, purses: list[Purse], until: int) -> list[Purse]:
    """What each has before the need at `until`."""
    assert isinstance(chosen, list)
    left = []
    for held in purses:
        mine = [each for each, signer in zip(needs[:until], chosen, strict=False) if signer == held.signer]
        left.append(
            Purse(
                held.signer,
                held.room - sum(each.calls for each in mine),
                held.gas_money_wei - sum(each.gas_wei for each in mine),
                {USD: held.funds_raw[USD] - sum(each.pulls_raw[USD] for each in mine)},
            )
        )
    return left
