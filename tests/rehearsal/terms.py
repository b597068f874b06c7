"""What a rehearsal is asked for, and the limits that it holds the keeper to."""

from __future__ import annotations

from dataclasses import dataclass

CHAIN_ID = 11155111
"""Sepolia's: what is signed here is signed for a network where nothing has a price."""
WINDOW_S = 24
"""How long a plan must hold: two blocks of Ethereum, which is what the default comes to there."""
CALLS_PER_S = 10
LOG_RANGE = 500
STATE_DEPTH = 128


@dataclass(frozen=True)
class Terms:
    """One rehearsal; the same terms play the same prices, newcomers and faults in the same order."""

    seconds: int
    """From the first judged head to the last."""
    borrowers: int = 200
    actors: int = 30
    """Accounts that come to borrow, repay, move and withdraw while it lasts."""
    seed: int = 7
    block_s: int = 2
    step_s: float = 10.0
    """Between two price moves."""
    moves: tuple[int, int, int] = (2, 3, 2)
    """Price moves of a day: before the fall, after it, and on the way back."""
    first_life_share: float = 0.85
    """Then the daemon is stopped and started again."""
    spell_every_s: float = 40.0
    """Of bad weather."""
    settle_blocks: int = 12
    """After the last day, so that nothing is under way at the end."""
    sample_every_blocks: int = 3
    newcomers: int = 6
    """New borrowers of each of the two waves."""
    approved: bool = False
    """The pool may pull the keeper's tokens already: no approvals at start, one of which takes a block."""
    answer_within_s: float = 30.0
    """A borrower below 1 for so long must have an order or a reason in the journal."""
    limited_share: float = 0.02
    """So many of the requests may come above the endpoint's limit: on a busy machine they arrive in bunches."""
    stop_within_s: float = 15.0
    memory_slope_mb_per_minute: float = 1.0
    warm_up_s: float = 300.0
    """Memory is judged from then on."""


SHORT = Terms(
    seconds=5,
    borrowers=60,
    actors=6,
    block_s=1,
    step_s=1.5,
    moves=(1, 2, 1),
    first_life_share=1.0,
    spell_every_s=10.0,
    settle_blocks=10,
    answer_within_s=15.0,
    limited_share=0.1,
    sample_every_blocks=2,
    newcomers=0,
    approved=True,
    memory_slope_mb_per_minute=float("inf"),
    warm_up_s=0.0,
)
"""Too short to say anything about memory."""

LONG = Terms(seconds=1_800)
