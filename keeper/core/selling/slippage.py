"""How much worse than quoted a swap may turn out, from the depth that is there.

The rule: quote the same amount once more, right behind ours. What it brings less is what somebody of our size costs us who is
faster. That, and `least_bps` for what moves anyhow, may be lost; never more than `most_bps`. So in a deep pool the limit is
tight, in a thin one wide, and where the amount does not go through a second time it is the widest.
"""

from __future__ import annotations

from dataclasses import dataclass

from keeper.core.fixedmath import mul_div_ceil, mul_div_floor
from keeper.core.units import BPS


@dataclass(frozen=True, slots=True)
class SlippagePolicy:
    """Bounds of what may be lost against the quote. Raises ValueError unless 0 ≤ least ≤ most < 10,000."""

    least_bps: int = 10
    most_bps: int = 100

    def __post_init__(self) -> None:
        if not 0 <= self.least_bps <= self.most_bps < BPS:
            raise ValueError(f"slippage bounds {self.least_bps} and {self.most_bps} bps are not in order below {BPS}")

    def tolerance_bps(self, out_raw: int, again_out_raw: int | None) -> int:
        """For an amount that brings `out_raw`, and `again_out_raw` right after itself; None where it brings nothing then."""
        if again_out_raw is None or out_raw <= 0:
            return self.most_bps
        worse_bps = mul_div_ceil(max(0, out_raw - again_out_raw), BPS, out_raw)
        return min(self.most_bps, self.least_bps + worse_bps)


def lessened(amount_raw: int, bps: int) -> int:
    """Floored."""
    return mul_div_floor(amount_raw, BPS - bps, BPS)


def increased(amount_raw: int, bps: int) -> int:
    """Rounded up."""
    return mul_div_ceil(amount_raw, BPS + bps, BPS)
