"""Which arithmetic a deployment runs: three independent switches, and the combinations that are known.

Releases change features, rounding and the health formula at different times, and forks mix them, so a market carries one
`Profile` that start-up verification has checked against the chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum


class Features(IntEnum):
    """Liquidation rules by release; ordered, so `features >= Features.V3_3` reads as it should."""

    V3_0_0 = 300
    """aToken `BalanceTransfer` is unscaled, the fee transfer is not capped, a net seizure of all clears the flag."""
    V3_0 = 301
    """3.0.1 and 3.0.2: half or all of one reserve's debt."""
    V3_1 = 310
    """Virtual balances, grace period."""
    V3_2 = 320
    """No stable debt; e-modes are bitmaps."""
    V3_3 = 330
    """Close factor over the whole position, dust rule, bad debt is written off."""
    V3_4 = 340
    """Custom errors, no self-liquidation, a more precise compound formula."""
    V3_5 = 350
    """Repayment for an exhausted collateral is rounded up."""
    V3_6 = 360
    """Collateral without a threshold of its own counts; e-mode loan-to-value can be zero per asset."""
    V3_7 = 370
    """Floor and ceiling in the seized amounts; bad debt decided on scaled amounts; no sentinel."""


class Rounding(Enum):
    """How balances, scaled amounts and debt values round."""

    HALF_UP = "half-up"
    """To the nearest everywhere; values are floored."""
    EXPLICIT = "explicit"
    """Against the account: collateral down, debt and its value up."""


class HealthFormula(Enum):
    """What stands in the numerator of health."""

    FLOORED = "floored"
    """Collateral × average threshold, the average floored to whole bps."""
    EXACT = "exact"
    """The sum of collateral × threshold itself."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One deployment's arithmetic."""

    release: str
    """Name of the release that has this combination."""
    features: Features
    rounding: Rounding
    health_formula: HealthFormula


def _profile(release: str, features: Features, *, since_3_5: bool = False) -> Profile:
    if since_3_5:
        return Profile(release, features, Rounding.EXPLICIT, HealthFormula.EXACT)
    return Profile(release, features, Rounding.HALF_UP, HealthFormula.FLOORED)


KNOWN = {
    profile.release: profile
    for profile in (
        _profile("3.0.0", Features.V3_0_0),
        _profile("3.0.2", Features.V3_0),
        _profile("3.1", Features.V3_1),
        _profile("3.2", Features.V3_2),
        _profile("3.3", Features.V3_3),
        _profile("3.4", Features.V3_4),
        _profile("3.5", Features.V3_5, since_3_5=True),
        _profile("3.6", Features.V3_6, since_3_5=True),
        _profile("3.7", Features.V3_7, since_3_5=True),
    )
}
"""By release. 3.0.1 is "3.0.2" and 3.2.1 is "3.2": no difference for a liquidator."""
