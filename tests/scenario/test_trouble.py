"""The world is unwell, or we are wrong: what is hit, what goes on, and that nothing is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from keeper.core.errors import ChainError, Defect, KeeperError, MalformedResponse, StoreError
from keeper.core.events import Kind
from keeper.core.lending import Side
from keeper.core.order import Outcome, Submission
from keeper.core.standing import ORDERED
from keeper.core.units import WAD
from keeper.pipeline import acting, attempts
from keeper.pipeline.loop import Round
from tests.scenario.scene import (
    DAI,
    USDC,
    WBTC,
    WETH,
    Scene,
    borrower,
    entry_of,
    moves,
    opens,
    pool_address,
    price,
    toy_pool,
)
from tests.toy_world import Action, Draft

FIRST, SECOND, THIRD = (borrower(number) for number in (1, 2, 3))

Step = Callable[[Scene], object]


def block(*actions: Action) -> Step:
    return lambda scene: scene.world.mine(*actions)


def reorg(depth: int) -> Step:
    def act(scene: Scene) -> None:
        """The last blocks are replaced by as many empty ones; what was mined in them is gone."""
        scene.world.reorg(scene.tip.number - depth)
        for _ in range(depth):
            scene.world.mine()

    return act


STORY: list[Step] = [
    block(opens(FIRST, {WETH: 10}, {USDC: 15_000}), opens(SECOND, {WBTC: 1}, {DAI: 34_000})),
    block(opens(THIRD, {WETH: 1, WBTC: 0.1}, {USDC: 2_000, DAI: 2_000})),
    block(price(WETH, 1_800)),
    block(),
    block(price(WBTC, 43_000), moves(FIRST, Side.COLLATERAL, WETH, -1)),
    reorg(1),
    block(opens(borrower(4), {WETH: 2}, {DAI: 2_500})),
    block(price(WBTC, 42_000), price(WETH, 1_500)),
    block(),
    block(),
]


async def tell(scene: Scene, story: list[Step]) -> list[Round]:
    """Every step, each followed by a head that the keeper may fail on; then quiet heads until all is settled."""
    rounds = []
    for step in [*story, block(), block(), block(), block(), block()]:
        step(scene)
        try:
            rounds.append(await scene.see())
        except KeeperError:
            continue
        one_order_at_most(scene)
    return rounds


def one_order_at_most(scene: Scene) -> None:
    """No borrower has two transactions that can still be mined."""
    waiting = Counter(transaction.call.calldata.split(b'"borrower"')[1][:48] for transaction in scene.world.mempool)
    assert all(times == 1 for times in waiting.values()), waiting


def all_is_well(scene: Scene) -> None:
    pool = scene.world.tip.state.pools[pool_address(0)]
    follower = scene.followers[0]
    assert {row.borrower: row for row in follower.book.positions()} == {
        account: row for account, row in pool.rows.items() if row.debt_scaled
    }
    assert scene.loop.open == {}
    sick = [account for account, row in pool.rows.items() if row.debt_scaled and scene.health_wad(account) < WAD]
    assert all(scene.standing(account) is not None for account in sick)
    assert scene.loop.stopped == {}


async def test_the_story_ends_well_without_trouble() -> None:
    scene = Scene()
    rounds = await tell(scene, STORY)
    all_is_well(scene)
    assert len(rounds) == len(STORY) + 5
    assert len(scene.submitted) >= 4
    reported(scene, rounds)


def reported(scene: Scene, rounds: list[Round]) -> None:
    """What was submitted and settled is told by some round, and told once."""
    submitted: list[Submission] = [submission for result in rounds for submission in result.submitted]
    settled: list[Outcome] = [outcome for result in rounds for outcome in result.settled]
    assert submitted == scene.submitted
    assert Counter(outcome.attempt for outcome in settled) == Counter(s.order.attempt for s in scene.submitted)
    told = Counter(event.attempt for event in scene.events(Kind.RESTORED, Kind.NOT_RESTORED))
    assert told == Counter(outcome.attempt for outcome in settled)


async def calls_of_the_story() -> int:
    scene = Scene()
    await tell(scene, STORY)
    return scene.faults.calls


async def test_whichever_single_call_fails_the_next_head_catches_up() -> None:
    for failing in range(1, 1 + await calls_of_the_story()):
        scene = Scene()

        def fail(count: int, name: str, failing: int = failing) -> Exception | None:
            if count != failing:
                return None
            journal = name in ("record", "record_standing", "save", "load")
            return StoreError("disk") if journal else ChainError("lost")

        scene.faults.fail = fail
        rounds = await tell(scene, STORY)
        all_is_well(scene)
        if scene.faults.seen[failing - 1] not in ("record", "record_standing"):
            reported(scene, rounds)


@pytest.mark.parametrize(
    "name", ["read", "logs", "fees", "simulate", "settle", "submit", "extend", "spendable", "record"]
)
async def test_a_call_that_fails_for_some_heads_loses_nothing(name: str) -> None:
    """From the crash on, one kind of call fails at three heads in a row."""
    scene = Scene()
    start = 3

    def fail(count: int, called: str) -> Exception | None:
        during = start + 1 < scene.tip.number <= start + 4
        if called != name or not during:
            return None
        return StoreError("disk") if name == "record" else ChainError("lost")

    scene.faults.fail = fail
    await tell(scene, STORY)
    all_is_well(scene)


# -- one attempt's trouble -------------------------------------------------------------------------------------------


async def test_an_attempt_that_cannot_be_settled_does_not_keep_the_others_from_their_orders() -> None:
    scene = Scene()
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}), opens(SECOND, {WBTC: 1}, {DAI: 34_000}))
    await scene.head(price(WETH, 1_800))
    scene.faults.fail = lambda count, name: ChainError("pruned") if name == "settle" else None
    with pytest.raises(ChainError, match="pruned"):
        await scene.head(price(WBTC, 42_000))
    assert scene.orders_for(SECOND) == 1
    assert scene.reason(SECOND) == ORDERED
    scene.faults.fail = lambda count, name: None
    result = await scene.head()
    assert {outcome.borrower for outcome in result.settled} == {FIRST, SECOND}
    assert {submission.order.borrower for submission in result.submitted} == {SECOND}


async def test_what_was_sent_is_not_forgotten_when_the_journal_fails_right_after() -> None:
    scene = Scene()
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    scene.faults.fail = lambda count, name: StoreError("disk") if name == "record" and scene.submitted else None
    with pytest.raises(StoreError):
        await scene.head(price(WETH, 1_800))
    scene.faults.fail = lambda count, name: None
    await scene.head(include=False)
    assert scene.orders_for(FIRST) == 1
    result = await scene.head()
    assert [submission.order.borrower for submission in result.submitted] == []
    assert [outcome.restored for outcome in result.settled] == [True]


async def test_an_outcome_that_is_settled_once_is_asked_for_once() -> None:
    """A submitter forgets what it has settled: a journal that fails then must not make the loop ask again."""
    scene = Scene()
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    await scene.head(price(WETH, 1_800))
    before = scene.faults.seen.count("settle")

    def fail(count: int, name: str) -> Exception | None:
        return StoreError("disk") if name == "record" and scene.faults.seen.count("settle") > before else None

    scene.faults.fail = fail
    with pytest.raises(StoreError):
        await scene.head()
    assert scene.loop.open == {}
    scene.faults.fail = lambda count, name: None
    asked = scene.faults.seen.count("settle")
    result = await scene.head()
    assert scene.faults.seen.count("settle") == asked
    assert [outcome.restored for outcome in result.settled] == [True]


async def test_an_outcome_that_stays_unreadable_is_given_up_once_nothing_can_be_mined() -> None:
    """The price failed in the very block of the transaction: its health there is unknown for ever."""
    scene = Scene()
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    await scene.head(price(WETH, 1_800))
    scene.live.earlier.add(FIRST)
    scene.world.mine(price(WETH, 1_700))
    scene.world.tip.state.pools[pool_address(0)].prices_base[WETH] = None
    scene.world.mine(price(WETH, 1_700))
    for _ in range(30):
        with pytest.raises(ChainError, match="cannot be read"):
            await scene.head()
    assert scene.loop.open and scene.reason(FIRST) == ORDERED, "it may still be mined for all the submitter knows"
    scene.live.earlier.clear()
    with pytest.raises(ChainError, match="cannot be read"):
        await scene.head()
    assert [event.fields["key"] for event in scene.events(Kind.ALERT)] == ["outcome_unread"]
    await scene.head()
    await scene.head()
    assert scene.orders_for(FIRST) == 2
    assert scene.loop._attempts._unread == {}


async def test_a_market_whose_logs_do_not_decode_does_not_hold_up_the_other() -> None:
    scene = Scene(pools=[toy_pool(0), toy_pool(1)])
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}), opens(SECOND, {WETH: 10}, {USDC: 15_000}, market=1))
    scene.adapters[0].decode_log = malformed  # type: ignore[assignment]
    with pytest.raises(MalformedResponse):
        await scene.head(price(WETH, 1_800), price(WETH, 1_800, market=1), moves(FIRST, Side.DEBT, USDC, 1))
    assert scene.orders_for(SECOND) == 1
    assert scene.reason(SECOND, market=1) == ORDERED
    del scene.adapters[0].decode_log
    await scene.head()
    assert scene.reason(FIRST) == ORDERED


def malformed(*_: object) -> object:
    raise MalformedResponse("this makes no sense")


async def test_what_is_remembered_does_not_grow_with_the_days(monkeypatch: pytest.MonkeyPatch) -> None:
    """One market never gets to the head; in the other somebody falls and is restored over and over."""
    monkeypatch.setattr(attempts, "MOST_UNREPORTED", 8)
    monkeypatch.setattr(acting, "NAMES_KEPT_BLOCKS", 10)
    scene = Scene(pools=[toy_pool(0), toy_pool(1)])
    scene.adapters[0].decode_state = malformed  # type: ignore[assignment]
    for number in range(1, 31):
        who = borrower(number)
        with pytest.raises(MalformedResponse):
            await scene.head(price(WETH, 2_000, market=1), opens(who, {WETH: 10}, {USDC: 15_000}, market=1))
        for _ in range(2):
            with pytest.raises(MalformedResponse):
                await scene.head(price(WETH, 1_800, market=1))
    assert len(scene.events(Kind.RESTORED)) == 30
    state, actor = scene.loop._attempts, scene.loop._actor
    kept = (
        state._submitted,
        state._settled,
        actor._names,
        state._decided_on,
        state._done,
        actor._behind,
        state._unread,
    )
    assert all(len(each) <= 12 for each in kept), [len(each) for each in kept]


# -- we are wrong ----------------------------------------------------------------------------------------------------


def wrong(*_: object) -> object:
    raise Defect("an invariant broke")


def crash(*_: object) -> object:
    raise KeyError("nobody foresaw this")


JUDGING = ("health", "pairs", "quote_liquidation", "encode_liquidation")
FOLLOWING = ("next_scaled", "decode_log", "decode_state")


async def two_markets(method: str, fault: Callable[..., object]) -> Scene:
    """FIRST in the market that is wrong about itself, SECOND in the other; one head later both are below 1."""
    scene = Scene(pools=[toy_pool(0), toy_pool(1)])
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}), opens(SECOND, {WETH: 10}, {USDC: 15_000}, market=1))
    setattr(scene.adapters[0], method, fault)
    scene.world.mine(price(WETH, 1_800), price(WETH, 1_800, market=1), moves(FIRST, Side.DEBT, USDC, 1))
    return scene


@pytest.mark.parametrize(
    "method, fault", [(method, wrong) for method in JUDGING + FOLLOWING] + [(method, crash) for method in JUDGING]
)
async def test_a_fault_of_ours_stops_its_market_and_no_other(method: str, fault: Callable[..., object]) -> None:
    scene = await two_markets(method, fault)
    await scene.see()
    await scene.head()
    assert set(scene.loop.stopped) == {entry_of(0)}
    assert [event.market for event in scene.events(Kind.MARKET_REFUSED)] == [entry_of(0)]
    assert scene.orders_for(FIRST) == 0
    assert scene.orders_for(SECOND) == 1
    assert scene.health_wad(SECOND, market=1) >= 105 * WAD // 100


@pytest.mark.parametrize("method", ["decode_log", "decode_state"])
async def test_an_odd_answer_that_nobody_foresaw_is_asked_for_again(method: str) -> None:
    scene = await two_markets(method, crash)
    for _ in range(2):
        with pytest.raises(KeyError, match="nobody foresaw"):
            await scene.see()
        scene.world.mine()
    assert scene.loop.stopped == {}
    assert scene.health_wad(SECOND, market=1) >= 105 * WAD // 100
    delattr(scene.adapters[0], method)
    await scene.see()
    await scene.head()
    assert scene.health_wad(FIRST) >= 105 * WAD // 100


async def test_a_crash_halfway_through_the_logs_stops_the_market_when_it_goes_on() -> None:
    scene = await two_markets("next_scaled", crash)
    with pytest.raises(KeyError):
        await scene.see()
    delattr(scene.adapters[0], "next_scaled")
    await scene.head()
    assert set(scene.loop.stopped) == {entry_of(0)}


async def test_a_fault_in_what_came_of_an_attempt_stops_its_market() -> None:
    scene = Scene(pools=[toy_pool(0), toy_pool(1)])
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}), opens(SECOND, {WETH: 10}, {USDC: 15_000}, market=1))
    await scene.head(price(WETH, 1_800), price(WETH, 1_700, market=1))

    def fail(count: int, name: str) -> Exception | None:
        first_open = next(iter(scene.loop.open), None)
        return Defect("cannot be") if name == "settle" and first_open == (entry_of(0), FIRST) else None

    scene.faults.fail = fail
    await scene.head()
    assert set(scene.loop.stopped) == {entry_of(0)}
    assert scene.loop.open == {}
    assert scene.health_wad(SECOND, market=1) >= 105 * WAD // 100


async def test_a_market_stopped_between_decision_and_order_sends_nothing() -> None:
    scene = Scene()
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}), opens(SECOND, {WETH: 10}, {USDC: 15_000}))
    scene.adapters[0].value_base_floor = after_calls(2, scene.adapters[0].value_base_floor)  # type: ignore[method-assign]
    await scene.head(price(WETH, 1_800))
    assert set(scene.loop.stopped) == {entry_of(0)}
    assert scene.submitted == []


def after_calls(good: int, function: Callable[..., int | None]) -> Callable[..., int | None]:
    """The function, wrong after so many calls."""
    calls = iter(range(good))

    def called(*arguments: object) -> int | None:
        if next(calls, None) is None:
            raise Defect("enough")
        return function(*arguments)

    return called


async def test_a_stopped_market_is_not_saved_half_applied() -> None:
    scene = Scene()
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    saved = scene.checkpoints.books(entry_of(0))

    def nonsense(draft: Draft) -> None:
        draft.emit(pool_address(0), "Moved", account=FIRST.hex(), reserve=USDC, side="debt", scaled=2**130)

    scene.world.mine(moves(FIRST, Side.DEBT, USDC, 1))
    await scene.head(nonsense)
    await scene.followers[0].save_checkpoint()
    assert saved
    assert scene.checkpoints.books(entry_of(0)) == saved
    scene.start()
    await scene.head()
    assert "more than 128 bits" in scene.loop.stopped[entry_of(0)]
