"""Where the book and the chain disagree at one block: each difference by what it is, whose, ours and the chain's. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from keeper.core.block import BlockRef
from keeper.core.lending import Health, Position, ReserveTotals
from keeper.core.units import Address, Hash32, to_hex


@dataclass(frozen=True, slots=True)
class Difference:
    """One number that is not the chain's. Both numbers are in the unit that ends `what`."""

    what: str
    borrower: Address | None
    """None for what belongs to a reserve as a whole."""
    reserve_id: int | None
    """None for what belongs to an account as a whole."""
    ours: int | None
    chain: int | None
    """None where that side has no number: a health that cannot be computed."""

    @property
    def is_row(self) -> bool:
        """A stored number: reading the row again repairs it."""
        return self.what in ROW_PARTS

    @property
    def is_total(self) -> bool:
        return self.what in (DEBT_TOTAL, COLLATERAL_TOTAL)

    def __str__(self) -> str:
        of = f" of {to_hex(self.borrower)}" if self.borrower is not None else ""
        reserve = f" in reserve {self.reserve_id}" if self.reserve_id is not None else ""
        return f"{self.what}{of}{reserve}: ours {self.ours}, the chain's {self.chain}"


COLLATERAL, DEBT, ENABLED, CATEGORY = "collateral_scaled", "debt_scaled", "collateral_enabled", "category"
ROW_PARTS = frozenset({COLLATERAL, DEBT, ENABLED, CATEGORY})
DEBT_TOTAL, COLLATERAL_TOTAL = "total_debt_scaled", "total_collateral_scaled"
COLLATERAL_INDEX, DEBT_INDEX = "collateral_index_ray", "debt_index_ray"
HEALTH_PARTS = tuple(field.name for field in fields(Health) if field.name != "weighted_collateral_base_bps")
"""What the chain's own valuation reports; the exact numerator is not among it."""


def row_differences(ours: Position, chain: Position) -> list[Difference]:
    """Every stored number of one account that is not the same."""
    found: list[Difference] = []
    for what, left, right in (
        (COLLATERAL, ours.collateral_scaled, chain.collateral_scaled),
        (DEBT, ours.debt_scaled, chain.debt_scaled),
    ):
        for reserve_id in sorted(left.keys() | right.keys()):
            if left.get(reserve_id, 0) != right.get(reserve_id, 0):
                both = left.get(reserve_id, 0), right.get(reserve_id, 0)
                found.append(Difference(what, ours.borrower, reserve_id, *both))
    for reserve_id in sorted(ours.collateral_enabled ^ chain.collateral_enabled):
        is_ours = reserve_id in ours.collateral_enabled
        found.append(Difference(ENABLED, ours.borrower, reserve_id, int(is_ours), int(not is_ours)))
    if ours.category != chain.category:
        found.append(Difference(CATEGORY, ours.borrower, None, ours.category, chain.category))
    return found


def health_differences(borrower: Address, ours: Health | None, chain: Health | None) -> list[Difference]:
    """Every output of the valuation that is not the same; None where that side cannot value the account. Where the chain can
    and we cannot, an answer that we need was kept from us: nobody would ever look at the account."""
    if ours is None or chain is None:
        left, right = (side.health_factor_wad if side is not None else None for side in (ours, chain))
        return [] if left == right else [Difference("health_factor_wad", borrower, None, left, right)]
    return [
        Difference(what, borrower, None, left, right)
        for what in HEALTH_PARTS
        if (left := getattr(ours, what)) != (right := getattr(chain, what))
    ]


def same_health(ours: Health | None, chain: Health | None) -> bool:
    """Every output of the chain's valuation, without a difference; so is that neither side has one."""
    return not health_differences(Address(b""), ours, chain)


def reserve_differences(
    reserve_id: int, held_scaled: tuple[int, int], indexes_ray: tuple[int, int], chain: ReserveTotals
) -> list[Difference]:
    """`held_scaled` is the book's (collateral, debt) of the reserve. Every debtor is in the book, so its debt must be all that
    there is; holders of collateral alone are not, so its collateral is at most that."""
    found: list[Difference] = []
    collateral_scaled, debt_scaled = held_scaled
    if debt_scaled != chain.debt_scaled:
        found.append(Difference(DEBT_TOTAL, None, reserve_id, debt_scaled, chain.debt_scaled))
    if collateral_scaled > chain.collateral_scaled:
        found.append(Difference(COLLATERAL_TOTAL, None, reserve_id, collateral_scaled, chain.collateral_scaled))
    for what, ours_ray, chain_ray in zip(
        (COLLATERAL_INDEX, DEBT_INDEX), indexes_ray, (chain.collateral_index_ray, chain.debt_index_ray), strict=True
    ):
        if ours_ray != chain_ray:
            found.append(Difference(what, None, reserve_id, ours_ray, chain_ray))
    return found


@dataclass(frozen=True, slots=True)
class LoggedChange:
    """One log that touched a row or a reserve, and what it said."""

    block_number: int
    transaction_hash: Hash32
    log_index: int
    text: str


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A difference as the journal keeps it: with what may have caused it, and what is done about it."""

    difference: Difference
    block: BlockRef
    logs: tuple[LoggedChange, ...]
    """The latest that touched the row since it was last known to be right (or the reserve), as far as they are remembered."""
    logs_from_block: int | None
    """Nothing from this block on has been forgotten; None when no log was seen yet."""
    repair: str
    held_until_s: int | None
    """Mismatches have repeated: nothing is liquidated before this time, whatever the repair finds."""


def in_words(differences: Sequence[Difference]) -> str:
    """The first, and how many more there are."""
    more = len(differences) - 1
    return f"{differences[0]}{f' (and {more} more)' if more else ''}"
