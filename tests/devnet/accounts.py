"""The keeper's books against the chain: what the report says, and whether a rail was passed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keeper.app.railing import limits_of
from keeper.core.ledger import Stake
from keeper.core.rails import DAY_S, HOUR_S, Limit, Limits, whole
from keeper.core.report import Booked
from keeper.core.units import Address, to_hex
from keeper.devnet.market import Bed
from keeper.store import StoreReader
from tests.devnet.chain_facts import balances_raw, coins_wei, nonce
from tests.devnet.keeping import Keeping


@dataclass(frozen=True)
class Money:
    """What an account has, and how many transactions it has made."""

    tokens_raw: Mapping[Address, int]
    native_wei: int
    nonce: int


async def money_of(bed: Bed, kept: Keeping) -> Mapping[Address, Money]:
    """By signer."""
    owners = [account.address for account in kept.accounts]
    return {
        owner: Money(await balances_raw(bed, owner), await coins_wei(bed, owner), await nonce(bed, owner))
        for owner in owners
    }


async def assert_adds_up(bed: Bed, kept: Keeping, before: Mapping[Address, Money]) -> Mapping[str, Any]:
    """The money before, and the report, are the money now: of every signer, every token and the native coin, to the wei; and no
    rail was passed on the way. Returns the report."""
    assert "sent" not in kept.intents().values(), "what may still be mined is in no report"
    ended = await kept.run("report", "--format", "json", "--store", str(kept.store))
    assert ended.code == 0, ended.err
    told: Mapping[str, Any] = json.loads(ended.out)
    after = await money_of(bed, kept)
    for signer, had in before.items():
        _assert_adds_up(told, signer, had, after[signer])
    assert_no_rail_passed(kept)
    return told


def _assert_adds_up(told: Mapping[str, Any], signer: Address, before: Money, after: Money) -> None:
    own = {
        part: [line for line in told[part] if line["signer"].lower() == to_hex(signer)]
        for part in ("accounts", "days", "attempts")
    }
    if not own["accounts"]:
        assert before == after, "nothing of it is in the report"
        return
    [account] = own["accounts"]
    changes = {token.lower(): int(raw) for token, raw in account["tokens"].items()}
    assert {token: raw + changes.pop(to_hex(token), 0) for token, raw in before.tokens_raw.items()} == after.tokens_raw
    assert changes == {}, "no token but the market's own moved"
    assert before.native_wei + int(account["native_change_wei"]) == after.native_wei
    for part in ("days", "attempts"):
        assert sum(int(line["cost_wei"]) for line in own[part]) == -int(account["native_change_wei"])
        for token, raw in account["tokens"].items():
            assert sum(int(line["tokens"].get(token, 0)) for line in own[part]) == int(raw)
    assert sum(line["transactions"] for line in own["attempts"]) == after.nonce - before.nonce


def assert_no_rail_passed(kept: Keeping) -> None:
    """Over every hour and every day that ends with a mined transaction, by what they really cost: of all signers together,
    and of each."""
    settings = kept.settings()
    with StoreReader.open(kept.store) as reader:
        accounts = reader.accounts()
    assert_within(accounts, limits_of(settings.rails))
    for signer in {each.entry.signer for each in accounts}:
        own = [each for each in accounts if each.entry.signer == signer]
        assert_within(own, limits_of(settings.chains["devnet"].rails))


def assert_within(accounts: Sequence[Booked], limits: Limits) -> None:
    for last in accounts:
        for span_s, name in ((HOUR_S, "per_hour"), (DAY_S, "per_day")):
            end_s = last.entry.timestamp_s
            spent = whole(_cost(each) for each in accounts if end_s - span_s < each.entry.timestamp_s <= end_s)
            for of, used in _uses(limits, [spent]):
                most: int | None = getattr(of, name)
                assert most is None or used <= most
        for of, used in _uses(limits, [_cost(last)]):
            assert of.per_transaction is None or used <= of.per_transaction


def _cost(account: Booked) -> Stake:
    """What has no value counts with its gas: it is not known to have lost more."""
    cost_wei = account.entry.cost_wei
    if account.value is None:
        return Stake(cost_wei, 0, 0)
    return Stake(cost_wei, account.value.notional_wad(), account.value.loss_wad(cost_wei))


def _uses(limits: Limits, stakes: Iterable[Stake]) -> Iterable[tuple[Limit, int]]:
    for stake in stakes:
        yield limits.gas_wei, stake.gas_wei
        yield limits.notional_wad, stake.notional_wad
        yield limits.loss_wad, stake.loss_wad
