"""Two starts, one book, on the real contracts: borrowers read at the head, or every log replayed from the first block."""

from __future__ import annotations

import random
from pathlib import Path

from keeper.core.checkpoint import Start
from keeper.core.lending import Position
from keeper.core.units import Address
from keeper.devnet import actions, upgrades
from keeper.devnet.market import Bed
from keeper.store import Store
from tests.protocols.following import Following
from tests.protocols.onchain import cases

ACTORS = 12


async def lived_in(bed: Bed, actions_wanted: int) -> None:
    """Some history of everything that accounts do."""
    rng = random.Random(f"starts {bed.deployment.version}")
    actors = actions.new_accounts(ACTORS, seed=6)
    await actions.equip(bed, actors)
    accounts = [*actors, *(opening.borrower for opening in bed.openings[:20])]
    done = 0
    while done < actions_wanted:
        done += not (await actions.random_action(rng, bed, accounts)).refused


def rows(following: Following) -> dict[Address, Position]:
    book = following.follower.book
    return {account: book.position(account) for account in book.accounts()}


async def test_both_starts_give_the_chains_book(bed: Bed) -> None:
    await lived_in(bed, cases(200, 3_000))
    replayed, read = Following(bed, start=Start.LOGS, log_span=37), Following(bed)
    await read.start()
    result = await replayed.started()
    assert result.notices == []
    assert result.origin == f"logs, proven at block {(await read.newest()).number}"
    assert rows(replayed) == rows(read)
    assert rows(replayed) == await replayed.chain_rows()
    assert len(rows(read)) >= 60
    await lived_in(bed, 30)
    await replayed.advance()
    await read.advance()
    assert rows(replayed) == rows(read) == await read.chain_rows()


async def test_a_token_whose_code_was_replaced_is_taken_by_snapshot(bed: Bed) -> None:
    """The births of all proxies are among the logs too, and do not count."""
    await lived_in(bed, 20)
    await upgrades.upgrade_a_token(bed, "WETH")
    await lived_in(bed, 20)
    following = Following(bed, start=Start.LOGS)
    result = await following.started()
    assert result.origin.startswith("snapshot, proven at block ")
    (notice,) = result.notices
    assert "cannot be replayed (Upgraded of 0x" in notice
    assert bed.asset("WETH").a_token.hex() in notice
    assert rows(following) == await following.chain_rows()


async def test_a_saved_book_is_proven_and_taken_up(bed: Bed, tmp_path: Path) -> None:
    async with Store.open(tmp_path / "keeper.db") as store:
        first = Following(bed, checkpoints=store)
        await first.start()
        await lived_in(bed, 40)
        second = Following(bed, checkpoints=store)
        result = await second.started()
        assert result.origin.startswith("saved at block ")
        assert result.origin.endswith(", proven at that block")
        assert rows(second) == await second.chain_rows()
