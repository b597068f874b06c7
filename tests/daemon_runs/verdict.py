"""What must be true once all is quiet: by the chain's word, and from the store."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Mapping, Sequence

from keeper.core.units import Address, to_hex
from tests.crash.killing import planned_calls
from tests.daemon_runs.world import World
from tests.devnet.accounts import Money, assert_adds_up
from tests.devnet.chain_facts import Mined, below_one, mined_by, nonce
from tests.devnet.daemons import CLOSED, LIQUIDATION_CALL
from tests.devnet.keeping import Keeping

SETTLED_BY = ("restored", "not_restored")


async def at_rest(world: World, kept: Keeping) -> bool:
    """Nothing that was signed may still be mined, all that was sent is told, and who is below 1 has a reason."""
    if not kept.events("caught_up") or not set(kept.intents().values()) <= CLOSED:
        return False
    if not _told(kept) or await world.pooled():
        return False
    reasons = {row.borrower for row in kept.events("refused")}
    sick = await below_one(world.bed, [opening.borrower for opening in world.bed.openings])
    return all(to_hex(who) in reasons for who in sick)


async def unrest(world: World, kept: Keeping) -> str:
    """Why it does not come to rest."""
    rows = [f"{row.kind} {row.block_number} {row.borrower} {dict(row.fields)}" for row in kept.events()[-8:]]
    return "\n".join(
        [
            f"did not come to rest: intents {Counter(kept.intents().values())}, sent but untold {_untold(kept)},"
            f" waiting {[int(each['nonce'], 16) for each in await world.pooled()]},"
            f" nonces {[await nonce(world.bed, keeper) for keeper in world.keepers]}; at last",
            *rows,
        ]
    )


def _untold(kept: Keeping) -> set[str | None]:
    told = {row.attempt for row in kept.events(*SETTLED_BY)}
    return {row.attempt for row in kept.events("sent")} - told


def _told(kept: Keeping) -> bool:
    return not _untold(kept)


async def problems_of(world: World, kept: Keeping, before: Mapping[Address, Money]) -> list[str]:
    """Never a double liquidation, never a hole among the nonces, never a rail passed, the report equal to the balances to
    the wei: over all signers, and of each."""
    every: list[Mined] = []
    problems: list[str] = []
    for keeper, had in before.items():
        mined = await mined_by(world.bed, keeper, world.floor_block)
        every += mined
        problems += await _holes(mined, world, keeper, had)
    problems += _doubles(every, kept)
    try:
        await assert_adds_up(world.bed, kept, before)
    except AssertionError as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        problems.append(f"the accounts: {error} in {where.name}: {where.line}")
    problems += [
        f"a stranger where there is none: {row.fields['detail']}"
        for row in kept.events("paused")
        if row.fields["cause"] == "foreign_nonce"
    ]
    problems += [f"a defect: {row.fields}" for row in kept.events("trouble") if row.severity == "alert"]
    return problems


def _doubles(mined: Sequence[Mined], kept: Keeping) -> list[str]:
    """Two of ours that are mined for one call of one plan; one that is not in the store."""
    planned = planned_calls(kept)
    unknown = [each.hash for each in mined if each.hash not in planned]
    counted = Counter(
        planned[each.hash] for each in mined if each.selector == LIQUIDATION_CALL and each.hash in planned
    )
    problems = [f"mined, but not in the store: {each}" for each in unknown]
    return problems + [
        f"call {call} of {attempt} mined {times} times" for (attempt, call), times in counted.items() if times > 1
    ]


async def _holes(mined: Sequence[Mined], world: World, keeper: Address, before: Money) -> list[str]:
    used = await nonce(world.bed, keeper)
    if [each.nonce for each in mined] != list(range(before.nonce, used)):
        return [f"nonces {[each.nonce for each in mined]} are mined, {used} are used"]
    waiting = [int(each["nonce"], 16) for each in await world.pooled()]
    return [f"nonces {waiting} still wait"] if waiting else []
