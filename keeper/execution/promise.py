"""What a plan's verdict promises of the health factor afterwards."""

from __future__ import annotations

from keeper.core.outcome import Verdict
from keeper.core.plan import Plan
from keeper.core.units import HEALTH_ONE_WAD


def keeps_promise(plan: Plan, health_after_wad: int) -> bool:
    """Whether the measured health is what the plan's verdict said."""
    return is_kept(plan.verdict, plan.target_wad, plan.health_before.health_factor_wad, health_after_wad)


def is_kept(verdict: Verdict, target_wad: int, health_before_wad: int, health_after_wad: int) -> bool:
    """A toxic plan promises nothing."""
    match verdict:
        case Verdict.REACHES_TARGET:
            return health_after_wad >= target_wad
        case Verdict.REACHES_SAFETY:
            return health_after_wad >= HEALTH_ONE_WAD
        case Verdict.IMPROVES | Verdict.BAD_DEBT:
            return health_after_wad > health_before_wad
        case Verdict.TOXIC:
            return False
