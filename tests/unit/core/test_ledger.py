"""What transfer logs say of our balances, what an order stakes, and how the report adds up."""

from __future__ import annotations

from dataclasses import replace

from keeper.core.block import Log
from keeper.core.ledger import TRANSFER_TOPIC, CallValue, Entry, Movement, Purpose, movements_of
from keeper.core.report import Booked, by_attempt, by_day, moved_raw, worth_of
from keeper.core.stakes import stakes_of
from keeper.core.units import WAD, Address, Hash32
from tests.unit.execution.builders import order

US, OTHER, TOKEN, COIN = (Address(bytes([number]) * 20) for number in (1, 2, 7, 3))


def transfer(token: Address, sender: Address, receiver: Address, amount_raw: int, **changes: object) -> Log:
    topics = (TRANSFER_TOPIC, sender.rjust(32, b"\0"), receiver.rjust(32, b"\0"))
    log = Log(token, topics, amount_raw.to_bytes(32, "big"), 5, Hash32(bytes(32)), Hash32(bytes(32)), 0)
    return replace(log, **changes)  # type: ignore[arg-type]


def entry(attempt: str, day: int, cost_wei: int, *moved: Movement, succeeded: bool = True) -> Entry:
    return Entry(
        chain_id=1,
        signer=US,
        transaction_hash=Hash32(bytes(32)),
        nonce=0,
        attempt=attempt,
        purpose=Purpose.LIQUIDATION,
        borrower=OTHER,
        call_index=0,
        block_number=5,
        block_hash=Hash32(bytes(32)),
        timestamp_s=86_400 * day + 5,
        succeeded=succeeded,
        gas_used=cost_wei - 1,
        gas_price_wei=1,
        l1_fee_wei=1,
        movements=moved,
    )


def test_only_our_own_transfers_count_and_what_comes_back_is_no_change() -> None:
    logs = [
        transfer(TOKEN, US, OTHER, 70),
        transfer(COIN, OTHER, US, 40),
        transfer(TOKEN, OTHER, OTHER, 999),
        transfer(COIN, US, OTHER, 40),
        transfer(TOKEN, US, US, 5),
        transfer(TOKEN, OTHER, US, 2**255),
    ]
    assert movements_of(logs, [US]) == (Movement(TOKEN, 2**255 - 70),)
    assert movements_of(logs[:2], [US]) == (Movement(COIN, 40), Movement(TOKEN, -70))
    assert movements_of(logs, [US, OTHER]) == (), "between our own accounts"


def test_other_logs_are_no_transfers() -> None:
    plain = transfer(TOKEN, OTHER, US, 1)
    odd = [
        replace(plain, topics=(bytes(32), *plain.topics[1:])),
        replace(plain, topics=(*plain.topics, bytes(32))),  # of a token that cannot be divided
        replace(plain, topics=plain.topics[:2]),
        replace(plain, data=b""),
        replace(plain, data=bytes(64)),
    ]
    assert movements_of(odd, [US]) == ()


def test_a_stake_is_all_gas_and_what_is_repaid_beyond_what_is_brought() -> None:
    of = order(calls=2)
    [first, second] = stakes_of(of.plan, (100, 200), 3, 2 * WAD, 10**8)
    quote = of.plan.calls[0].at_latest
    assert (first.gas_wei, second.gas_wei) == (300, 600)
    assert first.notional_wad == (quote.repaid_base + 1) * 10**10
    lacking_base = max(0, quote.repaid_base + 1 - quote.received_base)
    assert first.loss_wad == (600 + lacking_base) * 10**10


def test_a_stake_holds_the_data_fee_of_each_transaction() -> None:
    of = order(calls=2)
    plain, posted = (stakes_of(of.plan, (100, 200), 3, 2 * WAD, 10**8, fee_wei) for fee_wei in (0, 50))
    for one, other in zip(plain, posted, strict=True):
        assert other.gas_wei - one.gas_wei == 50
        assert other.loss_wad - one.loss_wad == 50 * 2 * 10**10
        assert other.notional_wad == one.notional_wad


def test_values_are_rounded_against_us() -> None:
    worth = worth_of(entry("a", 0, 10), CallValue(received_base=10, repaid_base=5, native_price_base=3, base_unit=7))
    assert worth.received_wad == 10 * WAD // 7
    assert worth.repaid_wad == 5 * WAD // 7 + 1
    assert worth.gas_wad == WAD // 7 + 1, "10 wei are worth less than one unit: one unit"
    assert (worth.received_wei, worth.repaid_wei, worth.gas_wei) == (10 * WAD // 3, 5 * WAD // 3 + 1, 10)
    assert worth.net_wad == worth.revenue_wad - worth.gas_wad


def test_attempts_and_days_add_up_to_the_same() -> None:
    value = CallValue(300, 200, 10**8, 10**8)
    booked = [
        Booked(entry("allowance", 0, 5), None),
        Booked(entry("1-aa", 0, 7, Movement(TOKEN, -4), Movement(COIN, 9)), value),
        Booked(entry("1-aa", 0, 8, succeeded=False), None),
        Booked(entry("2-bb", 1, 9, Movement(TOKEN, 4), Movement(COIN, 1)), value),
    ]
    attempts, days = by_attempt(booked), by_day(booked)
    assert [(line.attempt, line.day, line.transactions, line.reverted, line.unvalued) for line in attempts] == [
        ("allowance", 0, 1, 0, 1),
        ("1-aa", 0, 2, 1, 1),
        ("2-bb", 1, 1, 0, 0),
    ]
    assert [(line.day, line.transactions, line.cost_wei, line.moved_raw) for line in days] == [
        (0, 3, 20, {COIN: 9, TOKEN: -4}),
        (1, 1, 9, {COIN: 1, TOKEN: 4}),
    ]
    assert moved_raw(booked) == {COIN: 10}
    assert attempts[0].worth is None, "never 0"
    assert days[0].worth == attempts[1].worth == worth_of(booked[1].entry, value)
