"""No sequence of orders passes a rail: against a book of its own kept in the test, over restarts and reorgs."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from keeper.core.ledger import CallValue, Stake
from keeper.core.outcome import Skip
from keeper.core.rails import DAY_S, HOUR_S, NOTHING, REORG_S, Limit, Limits, Trip, added, judge, spent_by, whole
from keeper.core.spending import Lift, OnItsWay, Settled
from keeper.core.units import WAD, Address

SIGNER = Address(b"\x01" * 20)
LIMITS = Limits(
    gas_wei=Limit(30, 100, 250),
    notional_wad=Limit(300, 1_000, 2_500),
    loss_wad=Limit(20, 60, 150),
    reverts_in_a_row=4,
    revert_rate_bps=5_000,
    revert_rate_least=6,
)
KINDS = ("gas_wei", "notional_wad", "loss_wad")


@dataclass
class World:
    """What is true, whatever the keeper remembers."""

    now_s: int = 1_000_000
    nonce: int = 0
    waiting: list[OnItsWay] = field(default_factory=list)
    settled: list[Settled] = field(default_factory=list)
    lifts: list[Lift] = field(default_factory=list)
    stakes: dict[int, Stake] = field(default_factory=dict)
    """By ledger row: what it really cost."""
    unforeseen: Stake = NOTHING
    """So much more may be spent than was allowed, since a reorg took back what was settled long before."""


stake_of = st.builds(Stake, st.integers(0, 40), st.integers(0, 400), st.integers(0, 25))


class Sending(RuleBasedStateMachine):
    """The keeper's part is `spent_by` and `judge` on what the store tells; it remembers nothing itself, as after a restart."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.rows = 0
        self.paused = False

    @rule(stakes=st.lists(stake_of, min_size=1, max_size=3))
    def order(self, stakes: list[Stake]) -> None:
        world = self.world
        answer = judge(spent_by(world.settled, world.waiting, world.lifts, world.now_s), LIMITS, stakes)
        if isinstance(answer, Trip):
            self.paused = True
        if self.paused or isinstance(answer, Skip):
            return
        for stake in stakes:
            world.waiting.append(OnItsWay(1, SIGNER, world.nonce, f"a{world.nonce}", stake))
            world.nonce += 1

    @precondition(lambda self: self.world.waiting)
    @rule(place=st.integers(0, 100), succeeded=st.booleans(), share=st.integers(0, 100), valued=st.booleans())
    def mined(self, place: int, succeeded: bool, share: int, valued: bool) -> None:
        """It costs no more than its stake: so much of it."""
        world = self.world
        waiting = world.waiting.pop(place % len(world.waiting))
        assert waiting.stake is not None
        stake = waiting.stake
        cost_wei = stake.gas_wei * share // 100
        notional = stake.notional_wad * share // 100 if succeeded else 0
        loss = stake.loss_wad * share // 100
        value = None
        if valued:
            # Prices of 1: base, wei and wad are the same unit; it received what makes the loss so much.
            value = CallValue(notional - loss + cost_wei if loss else notional + cost_wei, notional, WAD, WAD)
        self.rows += 1
        world.settled.append(Settled(self.rows, 1, SIGNER, world.now_s, succeeded, cost_wei, value, stake))
        world.stakes[self.rows] = Stake(cost_wei, notional, loss if valued else 0)

    @precondition(lambda self: self.world.settled)
    @rule()
    def reorg(self) -> None:
        """The last one is back in the mempool, and may cost more than it did: after so long no limit could foresee that."""
        last = self.world.settled.pop()
        cost = self.world.stakes.pop(last.ledger_id)
        assert last.stake is not None
        more = Stake(*(getattr(last.stake, kind) - getattr(cost, kind) for kind in KINDS))
        if last.timestamp_s <= self.world.now_s - REORG_S:
            self.world.unforeseen = added(self.world.unforeseen, more)
        self.world.waiting.append(OnItsWay(1, SIGNER, 10_000 + last.ledger_id, "back", last.stake))

    @precondition(lambda self: self.world.waiting)
    @rule(place=st.integers(0, 100))
    def dropped(self, place: int) -> None:
        self.world.waiting.pop(place % len(self.world.waiting))

    @precondition(lambda self: self.world.waiting)
    @rule(place=st.integers(0, 100))
    def replaced(self, place: int) -> None:
        """A second transaction on the same nonce, which can cost no more in total."""
        waiting = self.world.waiting[place % len(self.world.waiting)]
        assert waiting.stake is not None
        cancel = replace(waiting, attempt="cancel", stake=Stake(waiting.stake.gas_wei // 2, 0, 0))
        world = self.world
        before = spent_by(world.settled, world.waiting, world.lifts, world.now_s)
        after = spent_by(world.settled, [*world.waiting, cancel], world.lifts, world.now_s)
        assert after.on_its_way == before.on_its_way

    @rule(seconds=st.sampled_from([1, 60, 1_800, HOUR_S - 1, HOUR_S, 7_200, DAY_S]))
    def time_passes(self, seconds: int) -> None:
        self.world.now_s += seconds

    @precondition(lambda self: self.paused)
    @rule()
    def resume(self) -> None:
        self.paused = False
        self.world.lifts = [Lift(1, SIGNER, self.rows)]

    @invariant()
    def no_limit_is_passed(self) -> None:
        """Every hour and every day that ends with a mined transaction, the worst of what waits added to the last."""
        world = self.world
        for span_s, name in ((HOUR_S, "per_hour"), (DAY_S, "per_day")):
            for end_s in {each.timestamp_s for each in world.settled} | {world.now_s}:
                within = NOTHING
                for each in world.settled:
                    if end_s - span_s < each.timestamp_s <= end_s:
                        within = added(within, world.stakes[each.ledger_id])
                if end_s == world.now_s:
                    within = added(within, whole(each.stake for each in world.waiting if each.stake is not None))
                for kind in KINDS:
                    limit: int = getattr(getattr(LIMITS, kind), name)
                    assert getattr(within, kind) <= limit + getattr(world.unforeseen, kind)

    @invariant()
    def no_transaction_is_too_large(self) -> None:
        for waiting in self.world.waiting:
            assert waiting.stake is not None
            for kind in KINDS:
                assert getattr(waiting.stake, kind) <= getattr(LIMITS, kind).per_transaction


TestSending = Sending.TestCase
TestSending.settings = settings(max_examples=100, stateful_step_count=40, derandomize=True, deadline=None)


@pytest.mark.parametrize("seed", range(20))
def test_a_reorg_of_the_last_minutes_passes_no_limit(seed: int) -> None:
    """Order what may be ordered, have it mined cheaply, order again; then all of the last three minutes is taken back."""
    rng, now_s, nonce = random.Random(seed), 1_000_000, 0
    waiting: list[OnItsWay] = []
    settled: list[Settled] = []
    for _ in range(60):
        stake = Stake(rng.randint(1, 30), rng.randint(1, 300), rng.randint(1, 20))
        if judge(spent_by(settled, waiting, [], now_s), LIMITS, [stake]) is None:
            waiting.append(OnItsWay(1, SIGNER, nonce, f"a{nonce}", stake))
            nonce += 1
        if waiting and rng.random() < 0.7:
            mined = waiting.pop(0)
            assert mined.stake is not None
            cost_wei = mined.stake.gas_wei * rng.randint(0, 60) // 100
            value = CallValue(2 * mined.stake.notional_wad, mined.stake.notional_wad // 2, WAD, WAD)
            settled.append(Settled(mined.nonce, 1, SIGNER, now_s, True, cost_wei, value, mined.stake))
        now_s += rng.choice((1, 12, 60))
        kept = [each for each in settled if each.timestamp_s <= now_s - REORG_S]
        back = [OnItsWay(1, SIGNER, each.ledger_id, "back", each.stake) for each in settled if each not in kept]
        spent = spent_by(kept, [*waiting, *back], [], now_s)
        for kind in KINDS:
            held = getattr(spent.hour, kind) + getattr(spent.on_its_way, kind)
            limit: int = getattr(LIMITS, kind).per_hour
            assert held <= limit
