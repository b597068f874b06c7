"""Whether the demo succeeded, by the chain's own answers and the journal on disk: the keeper's word counts for nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from keeper.app.demo_record import Attempt, Record
from keeper.core.outcome import Reason, Verdict
from keeper.core.plan import Clip
from keeper.core.units import HEALTH_ONE_WAD, Address, address_from_hex, to_hex
from keeper.devnet.market import Bed
from keeper.devnet.openings import Opening
from keeper.store import StoreReader

LEAST_BORROWERS = 200
LEAST_SICK = 20
CASES = ("e-mode", "dust gap", "close factor", "sequence", "toxic", "bad debt")
"""What the demo must have shown."""


@dataclass(frozen=True, slots=True)
class Account:
    """One borrower as the pool's `getUserAccountData` answers at one block."""

    collateral_base: int
    debt_base: int
    health_wad: int

    @property
    def sick(self) -> bool:
        return self.health_wad < HEALTH_ONE_WAD


Accounts = Mapping[Address, Account]


@dataclass(frozen=True, slots=True)
class Readings:
    """What the chain says, read without the keeper."""

    crash: Accounts
    """Every borrower in the block of the crash."""
    final_block: int
    final: Accounts
    """Every borrower in the last block that the keeper judged."""
    after: Mapping[str, Account]
    """Per attempt that was included: its borrower in the inclusion block."""


async def read_accounts(bed: Bed, borrowers: Sequence[Address], block_number: int) -> dict[Address, Account]:
    """`getUserAccountData` of each borrower, pinned to one block. Raises DevnetError."""
    view = bed.contracts["Pool"].function("getUserAccountData")
    pool, block = to_hex(bed.deployment.pool), hex(block_number)
    calls = [("eth_call", [{"to": pool, "data": to_hex(view.encode((each,)))}, block]) for each in borrowers]
    answers = await bed.chain.batch(calls, "reading every borrower")
    found = {}
    for borrower, answer in zip(borrowers, answers, strict=True):
        collateral_base, debt_base, *_, health_wad = view.decode(bytes.fromhex(answer[2:]))
        found[borrower] = Account(collateral_base, debt_base, health_wad)
    return found


async def read_all(bed: Bed, record: Record, crash_block: int, final_block: int) -> Readings:
    """Everything that the check needs of the chain."""
    everybody = [opening.borrower for opening in bed.openings]
    by_block: dict[int, list[Attempt]] = {}
    for attempt in record.attempts.values():
        if attempt.inclusion_block is not None:
            by_block.setdefault(attempt.inclusion_block, []).append(attempt)
    after: dict[str, Account] = {}
    for number, attempts in by_block.items():
        read = await read_accounts(bed, [attempt.borrower for attempt in attempts], number)
        after |= {attempt.name: read[attempt.borrower] for attempt in attempts}
    return Readings(
        crash=await read_accounts(bed, everybody, crash_block),
        final_block=final_block,
        final=await read_accounts(bed, everybody, final_block),
        after=after,
    )


def reasons_on_file(store: Path, block_number: int) -> dict[Address, str]:
    """Who stands below 1 for what reason at that block, as the store says once the keeper has closed it."""
    with StoreReader.open(store) as reader:
        standing = reader.standing(only_open=True)
    return {
        address_from_hex(row.borrower): row.reason
        for row in standing
        if row.first_block <= block_number <= row.last_block
    }


def problems(record: Record, readings: Readings, reasons: Mapping[Address, str]) -> list[str]:
    """Everything that is not as it must be, each in one line with the borrower's name; empty when the demo succeeded."""
    found = [problem for attempt in record.attempts.values() for problem in _of_attempt(record, attempt, readings)]
    closed_list = {reason.value for reason in Reason}
    for borrower, account in readings.final.items():
        if account.sick and reasons.get(borrower) not in closed_list:
            found.append(
                f"{_who(record, borrower)} is below 1 in block {readings.final_block} without a reason on file"
            )
    handled = {attempt.borrower for attempt in record.attempts.values()} | set(record.reasons)
    for borrower, account in readings.crash.items():
        if account.sick and borrower not in handled:
            found.append(f"{_who(record, borrower)} was below 1 after the crash, and the keeper never judged it")
    return found


def _of_attempt(record: Record, attempt: Attempt, readings: Readings) -> list[str]:
    who = f"{_who(record, attempt.borrower)} (attempt {attempt.name})"
    account = readings.after.get(attempt.name)
    if account is None:
        return [f"{who} was never included"]
    found = []
    if attempt.verdict == Verdict.REACHES_TARGET and account.health_wad < attempt.target_wad:
        missed_wad = attempt.target_wad - account.health_wad
        why = f": {attempt.detail}" if attempt.detail else ""
        found.append(f"{who} misses its target by {missed_wad} wad in block {attempt.inclusion_block}{why}")
    if attempt.health_after_wad != account.health_wad:
        found.append(f"{who}: the keeper says health {attempt.health_after_wad}, the chain {account.health_wad}")
    if attempt.model_error_wad != 0:
        found.append(f"{who} has a model error of {attempt.model_error_wad} wad")
    if attempt.amounts_match is False:
        found.append(f"{who}: the amounts on the chain are not those of our arithmetic")
    return found


def shortfalls(
    record: Record, readings: Readings, reasons: Mapping[Address, str], openings: Sequence[Opening]
) -> list[str]:
    """What the demo should have shown and did not."""
    shown = cases(record, readings, reasons, openings)
    sick = sum(account.sick for account in readings.crash.values())
    found = [f"nobody showed the case {case!r}" for case in CASES if not shown[case]]
    if sick < LEAST_SICK:
        found.append(f"only {sick} borrowers went below 1; the demo shows at least {LEAST_SICK}")
    if len(openings) < LEAST_BORROWERS:
        found.append(f"only {len(openings)} borrowers; the demo has at least {LEAST_BORROWERS}")
    return found


def cases(
    record: Record, readings: Readings, reasons: Mapping[Address, str], openings: Sequence[Opening]
) -> dict[str, list[Address]]:
    """Who showed which of `CASES`, by what the journal and the chain say (not by how the demo made them); those made for
    a case come first."""
    modes = {opening.borrower: opening.emode_id for opening in openings}
    shown: dict[str, list[Address]] = {case: [] for case in CASES}
    for attempt in record.attempts.values():
        executed = len(attempt.repaid)
        if modes.get(attempt.borrower) and executed:
            shown["e-mode"].append(attempt.borrower)
        if Clip.DUST_JUMP in attempt.clips:
            shown["dust gap"].append(attempt.borrower)
        if Clip.CLOSE_FACTOR in attempt.clips:
            shown["close factor"].append(attempt.borrower)
        if executed > 1:
            shown["sequence"].append(attempt.borrower)
    for borrower, reason in reasons.items():
        account = readings.final[borrower]
        if reason == Reason.DUST_GAP:
            shown["dust gap"].append(borrower)
        if reason == Reason.TOXIC:
            # Worth more than the debt, and yet every call makes it worse; or worth less.
            solvent = account.collateral_base >= account.debt_base
            shown["toxic" if solvent else "bad debt"].append(borrower)
    order = record.sick()
    return {
        case: sorted(set(found), key=lambda borrower: (record.name(borrower) != case, order.index(borrower)))
        for case, found in shown.items()
    }


def _who(record: Record, borrower: Address) -> str:
    return f"{record.name(borrower)} {to_hex(borrower)}"
