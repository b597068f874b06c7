"""What the executor contract is told: liquidations, swaps, who lends, and until when it holds. See contracts/Executor.vy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag

from keeper.core.errors import Defect
from keeper.core.swap import StepKind, SwapStep
from keeper.core.units import Address

MOST_LIQUIDATIONS = 8
MOST_SWAPS = 8
MOST_CALLDATA_BYTES = 6_144
"""Of all routers' calldata together."""


class ExecutorRole(IntFlag):
    """What the contract may call an address as."""

    MARKET = 1
    MORPHO = 2
    POOL_V3 = 4
    PAIR_V2 = 8
    ROUTER = 16
    """Never together with another one."""


class LoanSource(IntEnum):
    """Where the debt asset comes from."""

    INVENTORY = 1
    MARKET = 2
    """The market's own flash loan, for its premium."""
    MORPHO = 4
    """Free."""
    POOL_V3 = 8
    """For the pool's fee. It cannot be a pool that is swapped in."""


@dataclass(frozen=True, slots=True)
class LiquidationStep:
    """One borrower's call. Left out on chain when the scaled debt is no longer this one."""

    collateral_asset: Address
    borrower: Address
    debt_token: Address
    """The market's variable debt token of the debt asset."""
    debt_scaled: int
    debt_to_cover_raw: int
    receive_a_token: bool = False
    target_wad: int = 0
    """Health that must be reached, or all of it reverts; 0: not looked at."""


@dataclass(frozen=True, slots=True)
class Loan:
    """`lender`: the market itself, Morpho, or a pool; None for the inventory."""

    source: LoanSource
    lender: Address | None = None
    lends_token0: bool = False
    """Of a pool: whether the debt asset is its first token."""


@dataclass(frozen=True, slots=True)
class ExecutorPlan:
    """One transaction of the executor. Raises `Defect` for what the contract cannot take."""

    market: Address
    """The pool of the lending market."""
    debt_asset: Address
    liquidations: tuple[LiquidationStep, ...]
    swaps: tuple[SwapStep, ...]
    """In order. Each sells no more than what this very transaction brought in of its token."""
    loan: Loan
    latest_s: int
    """Last block timestamp at which it may be mined."""
    least_gain_raw: int
    """By which the executor's balance of the debt asset must have grown at the end; below 0: may have shrunk."""

    def __post_init__(self) -> None:
        if not 0 < len(self.liquidations) <= MOST_LIQUIDATIONS or len(self.swaps) > MOST_SWAPS:
            raise Defect(f"the executor takes 1 to {MOST_LIQUIDATIONS} liquidations and up to {MOST_SWAPS} swaps")
        calldata_bytes = sum(len(swap.calldata) for swap in self.swaps)
        if calldata_bytes > MOST_CALLDATA_BYTES:
            raise Defect(f"{calldata_bytes} bytes of router calldata are more than {MOST_CALLDATA_BYTES}")
        if any(swap.calldata and swap.kind is not StepKind.ROUTER for swap in self.swaps):
            raise Defect("only a router is called with calldata")
        if (self.loan.lender is None) != (self.loan.source is LoanSource.INVENTORY):
            raise Defect("a loan has a lender, the inventory has none")
        if self.loan.source is LoanSource.MARKET and self.loan.lender != self.market:
            raise Defect("a market's own flash loan comes from that market")

    @property
    def needed_raw(self) -> int:
        """What is borrowed when nobody is left out."""
        return sum(each.debt_to_cover_raw for each in self.liquidations)
