"""Which profiles a deployment may have, from the functions that its pool has.

Revision numbers are comparable on Aave's own deployments only, so they order the candidates and bound what is known; the
functions decide what is possible. What is true is decided elsewhere: by recomputing the health of real borrowers.
"""

from __future__ import annotations

from collections.abc import Sequence

from keeper.core.block import Call, CallResult
from keeper.core.errors import MarketError
from keeper.core.units import Address, to_hex
from keeper.protocols.aave_v3 import selectors as s
from keeper.protocols.aave_v3.profile import KNOWN, Profile
from keeper.protocols.aave_v3.words import call

NEWEST_REVISION = 11
"""Of the pool, 3.7. A higher one is code that nobody has compared with this adapter."""
ROUNDING_REVISION = 9
"""Of the pool, 3.5: the functions are those of 3.4."""

_PROBES = (
    (s.GET_IS_E_MODE_CATEGORY_ISOLATED, ("3.7",)),
    (s.GET_E_MODE_CATEGORY_LTVZERO_BITMAP, ("3.6",)),
    (s.RESERVE_INTEREST_RATE_STRATEGY, ("3.5", "3.4")),
    (s.GET_RESERVE_DEFICIT, ("3.3",)),
    (s.GET_E_MODE_CATEGORY_COLLATERAL_BITMAP, ("3.2",)),
    (s.GET_LIQUIDATION_GRACE_PERIOD, ("3.1",)),
)
"""Functions of the pool, newest first, with the releases that brought them. All take one word or none."""


def encode_probes(pool: Address) -> list[Call]:
    return [call(pool, selector, 0) for selector, _ in _PROBES]


def candidates(pool_revision: int, answers: Sequence[CallResult]) -> tuple[Profile, ...]:
    """Profiles that the pool's functions allow, likeliest first; `is_first_release` tells 3.0.0 from 3.0.2. Raises
    `MarketError` for code newer than is known, and for functions that no release combines."""
    if pool_revision > NEWEST_REVISION:
        raise MarketError(f"pool revision {pool_revision} is unknown: {NEWEST_REVISION} is the newest that is")
    present = [answer.ok and len(answer.returndata) == 32 for answer in answers]
    if sorted(present) != present:
        missing = [to_hex(selector) for (selector, _), there in zip(_PROBES, present, strict=True) if not there]
        raise MarketError(f"no known release of the pool lacks {', '.join(missing)} and has what came after")
    if True not in present:
        return (KNOWN["3.0.2"],)
    releases = _PROBES[present.index(True)][1]
    if len(releases) > 1 and pool_revision < ROUNDING_REVISION:
        releases = releases[::-1]
    return tuple(KNOWN[release] for release in releases)


def encode_first_release_probe(a_token: Address) -> Call:
    """The pool of 3.0.0 has every function of 3.0.1, but its aTokens take another `handleRepayment`."""
    return call(a_token, s.HANDLE_REPAYMENT, 0, 0, 0)


def is_first_release(answer: CallResult) -> bool:
    """The function refuses everybody but the pool, with an error; where it does not exist, the revert has no data."""
    return not answer.ok and not answer.returndata
