"""What reasons, verdicts and clips mean, in plain words. Closed tables: a test keeps them complete."""

from __future__ import annotations

from collections.abc import Mapping

from keeper.core.intent import IntentStatus
from keeper.core.outcome import Reason, Verdict
from keeper.core.plan import Clip
from keeper.core.standing import ORDERED

REASONS: Mapping[str, str] = {
    ORDERED: "An order stands: a liquidation is under way, or would be if this run were live.",
    Reason.HEALTHY_NOW: "By the time of the next block its health is 1 or more, so the contract would refuse.",
    Reason.TOXIC: "Every call would leave it worse off than before: the bonus takes more than the repayment gives back.",
    Reason.DUST_GAP: "Each size that would help leaves a remainder so small that the contract refuses it.",
    Reason.RESERVE_INACTIVE: "The market has switched off the collateral's or the debt's reserve.",
    Reason.RESERVE_PAUSED: "The market has paused the collateral's or the debt's reserve.",
    Reason.GRACE_PERIOD: "The reserve was unpaused lately, and until its grace period ends nobody may liquidate.",
    Reason.SEQUENCER_SENTINEL: "The chain's sequencer was down, and the market's sentinel does not allow liquidations yet.",
    Reason.NO_COLLATERAL_LIQUIDITY: "The pool does not hold enough of the collateral to pay it out: it is lent to others.",
    Reason.NOT_COLLATERAL: "None of what it supplied counts as collateral, so there is nothing to seize.",
    Reason.ZERO_BONUS: "The market pays no bonus on this collateral and does not let it be seized.",
    Reason.SELF_LIQUIDATION: "The borrower is the keeper's own account, which may not liquidate itself.",
    Reason.UNPRICEABLE: "A price that it needs is missing, zero or too old, and no price is ever guessed.",
    Reason.UNPROFITABLE: "What it would bring does not pay for the repayment and the gas.",
    Reason.NO_INVENTORY: "The keeper's account does not hold enough of the debt asset.",
    Reason.NO_ALLOWANCE: "The market may not take enough of the debt asset from the keeper's account: approve it.",
    Reason.NO_ROUTE: "No venue sells so much of the collateral for the debt asset within its limits.",
    Reason.FEE_CAP: "Gas costs more at the moment than the configured cap.",
    Reason.BELOW_MINIMUM: "It is smaller than the configured minimum.",
    Reason.FILTERED: "The configuration leaves this borrower or asset out.",
    Reason.RESERVED: "The keeper's money or this borrower is already taken by another order.",
    Reason.STALE_HEAD: "The newest block was too old to act on.",
    Reason.MARKET_UNVERIFIED: "The market is not verified: our arithmetic did not reproduce the chain's.",
    Reason.CANNOT_SIMULATE: "The node could not try the call out, and nothing is sent untried.",
    Reason.NODES_DISAGREE: "The nodes that must agree before anything is sent said different things.",
    Reason.PAUSED: "The keeper is paused: it watches, and sends nothing until `keeper resume`.",
    Reason.OVER_LIMIT: "The order is more than the limits of the configuration allow it to be.",
    Reason.SIMULATION_REVERTED: "The node tried the call out, and the contract refused it.",
}
"""By `Reason` value, and `ordered`."""

NORMAL_TO_LAST: frozenset[str] = frozenset(
    {
        Reason.HEALTHY_NOW,
        Reason.TOXIC,
        Reason.DUST_GAP,
        Reason.RESERVE_INACTIVE,
        Reason.RESERVE_PAUSED,
        Reason.GRACE_PERIOD,
        Reason.SEQUENCER_SENTINEL,
        Reason.NO_COLLATERAL_LIQUIDITY,
        Reason.NOT_COLLATERAL,
        Reason.ZERO_BONUS,
        Reason.SELF_LIQUIDATION,
        Reason.UNPROFITABLE,
        Reason.FEE_CAP,
        Reason.BELOW_MINIMUM,
        Reason.FILTERED,
    }
)
"""Reasons that may hold for days without anything being wrong with the keeper. The others call for a look."""

VERDICTS: Mapping[Verdict, str] = {
    Verdict.REACHES_TARGET: "it reaches the target",
    Verdict.REACHES_SAFETY: "it gets to 1 or above but not to the target: the most the rules allow",
    Verdict.IMPROVES: "it gets better but stays below 1: the most the rules allow",
    Verdict.TOXIC: "every call would make it worse",
    Verdict.BAD_DEBT: "all its collateral together is worth less than its debt",
}

CLIPS: Mapping[Clip, str] = {
    Clip.CLOSE_FACTOR: "the most that one call may repay",
    Clip.DUST_JUMP: "the next size that leaves no forbidden remainder",
    Clip.COLLATERAL: "all of this collateral is used up",
    Clip.DEBT: "this debt is repaid in full",
    Clip.LIQUIDITY: "all that the pool can pay out",
    Clip.BELOW_ONE: "kept below 1, so that the next call is still allowed",
}

INTENTS: Mapping[IntentStatus, str] = {
    IntentStatus.INTENDED: "written down; it may or may not have left",
    IntentStatus.SENT: "a node has it",
    IntentStatus.UNKNOWN: "whether a node has it is not known; its nonce is held until that is clear",
    IntentStatus.LOST: "no node knows it, and its nonce is free for another",
    IntentStatus.MINED: "mined",
    IntentStatus.REVERTED: "mined, and reverted",
    IntentStatus.REFUSED: "refused by the node; it never left",
    IntentStatus.DROPPED: "gone: another transaction used its nonce",
}

ENDINGS: Mapping[str, str] = {
    "changed": "then something else held",
    "not_below_one": "then it was no longer below 1",
    "gap": "then nobody judged for a while",
}
"""By `Ended` value of the store."""


def verdict_words(verdict: str) -> str:
    """A verdict of a newer keeper is shown by its name."""
    return f"{VERDICTS[Verdict(verdict)]} ({verdict})" if verdict in list(Verdict) else verdict


def reason_sentence(reason: str) -> str:
    """A reason of a newer keeper is shown by its name."""
    return REASONS.get(reason, f"Reason: {reason}.")
