"""What a plan's verdict promises of the health factor afterwards."""

from __future__ import annotations

from keeper.core.outcome import Verdict
from keeper.core.plan import Plan
from keeper.core.units import HEALTH_ONE_WAD


def keeps_promise(plan: Plan, health_after_wad: int) -> bool:
    """Whether the measured health is what the verdict said. A toxic plan promises nothing."""
    match plan.verdict:
        case Verdict.REACHES_TARGET:
            return health_after_wad >= plan.target_wad
        case Verdict.REACHES_SAFETY:
            return health_after_wad >= HEALTH_ONE_WAD
        case Verdict.IMPROVES | Verdict.BAD_DEBT:
            return health_after_wad > plan.health_before.health_factor_wad
        case Verdict.TOXIC:
            return False
