"""`keeper run --once --live` on the real contracts: what it journals is what the chain says, to the wei."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from keeper.core.units import HEALTH_ONE_WAD, Address, address_from_hex, to_hex
from keeper.devnet import admin
from keeper.devnet.market import Bed
from keeper.store import JournalRow
from tests.devnet.chain_facts import allowances_raw, balances_raw, below_one, coins_wei, health_wad, mined_by, nonce
from tests.devnet.keeping import INVENTORY_WHOLE, Keeping, keeping

APPROVE, LIQUIDATION_CALL = "0x095ea7b3", "0x00a718a9"


async def crash(bed: Bed) -> dict[Address, int]:
    """Ether loses a fifth, bitcoin an eighth. Who is below 1 now, as the contract says."""
    await admin.set_answer(bed, "WETH", await bed.price_base("WETH") * 80 // 100)
    await admin.set_answer(bed, "WBTC", await bed.price_base("WBTC") * 88 // 100)
    return await below_one(bed, [opening.borrower for opening in bed.openings])


def verdicts(kept: Keeping) -> dict[str, str]:
    """By attempt."""
    return {row.attempt: row.fields["verdict"] for row in kept.events("decided") if row.attempt is not None}


async def test_a_crash_is_worked_off_and_every_figure_is_the_chains(bed: Bed, tmp_path: Path) -> None:
    kept = await keeping(bed, tmp_path, funded=True)
    assert kept.account is not None
    keeper, first_block = kept.account.address, await bed.chain.block_number() + 1
    held_raw, held_wei, used = await balances_raw(bed, keeper), await coins_wei(bed, keeper), await nonce(bed, keeper)
    sick = await crash(bed)
    assert len(sick) >= 10

    ended = await kept.run_once("--live", fresh=True)

    assert ended.code == 0, ended.err
    restored = kept.events("restored")
    assert len(restored) >= 5
    assert kept.events("not_restored", "reverted", "alert", "trouble") == []
    for row in restored:
        await assert_read_back(bed, row, verdicts(kept))
    reasons = {row.borrower for row in kept.events("refused")}
    for borrower in sick:
        done = [row for row in restored if row.borrower == to_hex(borrower)]
        assert done or to_hex(borrower) in reasons, f"nothing is known of {to_hex(borrower)}"

    # The wallet: exactly the journaled amounts, and nothing but gas of the native coin.
    moved, holds_raw = movements(restored), await balances_raw(bed, keeper)
    assert holds_raw == {token: before_raw + moved[token] for token, before_raw in held_raw.items()}
    mined = await mined_by(bed, keeper, first_block)
    assert held_wei - await coins_wei(bed, keeper) == sum(each.cost_wei for each in mined)

    # The nonces: none left out, none used twice, nothing that the journal does not know.
    assert [each.nonce for each in mined] == list(range(used, await nonce(bed, keeper)))
    liquidations = [each.hash for each in mined if each.selector == LIQUIDATION_CALL]
    assert liquidations == [call["transaction_hash"] for row in kept.events("sent") for call in row.fields["calls"]]
    # Each is followed by a task of its own, so what one block holds is noticed in any order.
    assert sorted(liquidations) == sorted(row.fields["transaction_hash"] for row in kept.events("mined"))
    approvals = [each for each in mined if each.selector == APPROVE]
    assert len(approvals) + len(liquidations) == len(mined)
    assert all(each.succeeded for each in mined)

    # The allowances: what was held at the start, less what was pulled.
    pulled_raw = repayments(restored)
    expected = {
        asset.token: INVENTORY_WHOLE * 10**asset.decimals - pulled_raw[asset.token]
        for asset in bed.deployment.assets.values()
    }
    assert await allowances_raw(bed, keeper) == expected


async def assert_read_back(bed: Bed, row: JournalRow, verdict_of: dict[str, str]) -> None:
    assert row.borrower is not None and row.attempt is not None
    fields = row.fields
    assert (fields["model_error_wad"], fields["amounts_match"], fields["disturbed"]) == ("0", True, False)
    after_wad = await health_wad(bed, address_from_hex(row.borrower), row.block_number)
    assert after_wad == int(fields["health_after_wad"])
    assert after_wad - int(fields["target_wad"]) == int(fields["overshoot_wad"])
    match verdict_of[row.attempt]:
        case "reaches_target":
            assert after_wad >= int(fields["target_wad"])
        case "reaches_safety":
            assert HEALTH_ONE_WAD <= after_wad < int(fields["target_wad"])
        case verdict:
            assert verdict == "improves"
            assert int(fields["health_before_wad"]) < after_wad < HEALTH_ONE_WAD


def movements(restored: Sequence[JournalRow]) -> Counter[Address]:
    """What the journal says came in and went out, by token."""
    moved: Counter[Address] = Counter()
    for row in restored:
        for event in row.fields["liquidations"]:
            moved[address_from_hex(event["collateral_asset"])] += int(event["received_raw"])
            moved[address_from_hex(event["debt_asset"])] -= int(event["repaid_raw"])
    return moved


def repayments(restored: Sequence[JournalRow]) -> Counter[Address]:
    pulled: Counter[Address] = Counter()
    for row in restored:
        for event in row.fields["liquidations"]:
            pulled[address_from_hex(event["debt_asset"])] += int(event["repaid_raw"])
    return pulled


async def test_the_second_run_finds_nothing_to_do(bed36: Bed, tmp_path: Path) -> None:
    """But for the allowances, which follow what is held at each start."""
    kept = await keeping(bed36, tmp_path, funded=True)
    assert kept.account is not None
    await crash(bed36)
    assert (await kept.run_once("--live")).code == 0
    first_block, recorded = await bed36.chain.block_number() + 1, kept.events()[-1].seq

    assert (await kept.run_once("--live")).code == 0

    assert {each.selector for each in await mined_by(bed36, kept.account.address, first_block)} <= {APPROVE}
    kinds = {row.kind for row in kept.events() if row.seq > recorded}
    assert kinds & {"decided", "sent", "mined", "restored"} == set()
    assert "stopped" in kinds


async def test_a_configured_allowance_is_never_passed(bed36: Bed, tmp_path: Path) -> None:
    """Whoever needs more stays with the reason, and the run says that work is left."""
    kept = await keeping(bed36, tmp_path, funded=True)
    assert kept.account is not None
    kept.signing["allowance_bound"] = "500"
    await crash(bed36)

    ended = await kept.run_once("--live")

    assert ended.code == 3
    assert "no_allowance" in {row.fields["reason"] for row in kept.events("refused")}
    pulled_raw = repayments(kept.events("restored"))
    assert await allowances_raw(bed36, kept.account.address) == {
        asset.token: 500 * 10**asset.decimals - pulled_raw[asset.token] for asset in bed36.deployment.assets.values()
    }
