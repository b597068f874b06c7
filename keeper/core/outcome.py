"""What came of a candidate: reasons, verdicts, skips. Closed lists: a new member is a design decision."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a borrower below 1 has no order."""

    HEALTHY_NOW = "healthy_now"
    TOXIC = "toxic"
    DUST_GAP = "dust_gap"
    RESERVE_INACTIVE = "reserve_inactive"
    RESERVE_PAUSED = "reserve_paused"
    GRACE_PERIOD = "grace_period"
    SEQUENCER_SENTINEL = "sequencer_sentinel"
    NO_COLLATERAL_LIQUIDITY = "no_collateral_liquidity"
    NOT_COLLATERAL = "not_collateral"
    ZERO_BONUS = "zero_bonus"
    SELF_LIQUIDATION = "self_liquidation"
    UNPRICEABLE = "unpriceable"
    UNPROFITABLE = "unprofitable"
    NO_INVENTORY = "no_inventory"
    NO_ALLOWANCE = "no_allowance"
    NO_ROUTE = "no_route"
    """No venue sells the collateral for the debt asset within its limits."""
    FEE_CAP = "fee_cap"
    BELOW_MINIMUM = "below_minimum"
    FILTERED = "filtered"
    RESERVED = "reserved"
    STALE_HEAD = "stale_head"
    MARKET_UNVERIFIED = "market_unverified"
    CANNOT_SIMULATE = "cannot_simulate"
    SIMULATION_REVERTED = "simulation_reverted"
    NODES_DISAGREE = "nodes_disagree"
    PAUSED = "paused"
    """Nothing is sent until a person, or the end of a kill file, lifts the pause."""
    OVER_LIMIT = "over_limit"
    """The order alone is more than the operator allows."""


class Verdict(StrEnum):
    """How far a plan can bring a borrower, under the protocol's rules."""

    REACHES_TARGET = "reaches_target"
    REACHES_SAFETY = "reaches_safety"
    """At least 1 but below the target: the most the rules allow."""
    IMPROVES = "improves"
    TOXIC = "toxic"
    """Health is at or below threshold × bonus on every usable pair: each call makes it worse."""
    BAD_DEBT = "bad_debt"
    """Toxic, and all collateral together is already worth less than the debt."""


@dataclass(frozen=True, slots=True)
class Skip:
    """A "no" with its reason. `detail` adds the numbers; for `simulation_reverted` it is the decoded error."""

    reason: Reason
    detail: str = ""
    verdict: Verdict | None = None
