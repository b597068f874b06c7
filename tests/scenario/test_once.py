"""`run --once`: when it ends, and whether it says that work is left, or that there was trouble."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from keeper.core.block import BlockRef
from keeper.core.errors import ChainError, Defect, KeeperError, MarketError
from keeper.core.events import Kind
from keeper.core.lending import Side
from keeper.pipeline import rows, supervise
from keeper.pipeline.loop import ChainLoop, Round
from keeper.pipeline.progress import unwatched
from keeper.pipeline.supervise import OnceResult, run_once
from tests.scenario.scene import USDC, WBTC, WETH, Scene, borrower, changes, moves, opens, pool_address, price, toy_pool
from tests.toy_arithmetic import ToyRules
from tests.toy_world import Action, Draft

FIRST, SECOND = borrower(1), borrower(2)


@dataclass
class Watching:
    rounds: list[Round] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    def on_round(self, loop: ChainLoop, result: Round) -> None:
        self.rounds.append(result)

    def on_error(self, loop: ChainLoop, error: Exception) -> None:
        self.errors.append(error)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "FIRST_PAUSE_S", 0.0)


async def once(scene: Scene, *later: Callable[[], object], timeout_s: float = 0.3) -> OnceResult:
    """The head as it is, then one block or more each time that another head is waited for; then no more blocks."""
    scene.chain.script = [lambda: None, *later]
    scene.chain.lingers = True
    return await run_once(scene.loop, scene.chain, Watching(), unwatched, timeout_s, scene.mode != "live")


def sick(scene: Scene, *actions: Action) -> Scene:
    scene.world.mine(opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    scene.world.mine(price(WETH, 1_800), *actions)
    return scene


# -- live ------------------------------------------------------------------------------------------------------------


async def test_nobody_is_below_one() -> None:
    scene = Scene()
    scene.world.mine(opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    result = await once(scene)
    assert not result.work_left


@pytest.mark.parametrize("mode", ["live", "fork"])
async def test_rows_that_code_made_doubtful_are_all_read_before_it_ends(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a chain that may show no other block for long: each part is read at the newest there is."""
    monkeypatch.setattr(rows, "ROWS_PER_HEAD", 3)
    scene = Scene(mode)
    await scene.head(*[opens(borrower(number), {WETH: 1}, {USDC: 1}) for number in range(9, 20)])
    await scene.followers[0].save_checkpoint()
    scene.start()
    scene.world.mine(changes(code=True))
    result = await once(sick(scene), scene.world.mine)
    assert not result.work_left
    assert scene.orders_for(FIRST) >= 1
    [notice] = [event for event in scene.events(Kind.ALERT) if event.fields["key"] == "history"]
    assert "every row is read again" in str(notice.fields["detail"])
    assert scene.followers[0].verified is not None


async def test_a_book_that_the_chain_does_not_confirm_is_no_quiet_end() -> None:
    """Nobody in it is below 1, but somebody is missing in it."""
    scene = Scene()
    scene.world.mine(opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    scene.world.mine(opens(SECOND, {WETH: 10}, {USDC: 15_000}))
    hidden = scene.world.blocks[-1]
    scene.world.blocks[-1] = replace(hidden, logs=())
    with pytest.raises(MarketError, match="total_debt_scaled in reserve"):
        await once(scene)


async def test_nobody_borrows_at_all() -> None:
    assert not (await once(Scene())).work_left


async def test_it_waits_until_the_borrower_is_restored() -> None:
    scene = sick(Scene())
    result = await once(scene, scene.world.mine)
    assert not result.work_left
    assert [outcome.restored for outcome in result.outcomes] == [True]


async def test_a_new_plan_after_one_that_came_too_late_is_waited_for_too() -> None:
    scene = sick(Scene())
    result = await once(scene, lambda: scene.world.mine(price(WETH, 1_600)), scene.world.mine)
    assert not result.work_left
    assert [outcome.restored for outcome in result.outcomes] == [False, True]


async def test_a_promise_that_was_not_kept_is_work_left_even_when_nothing_can_be_done() -> None:
    """Mined, above 1, but short of the target since the price fell on in that block."""
    scene = sick(Scene())
    result = await once(scene, lambda: scene.world.mine(price(WETH, 1_790)))
    assert [outcome.restored for outcome in result.outcomes] == [False]
    assert result.last.standings == {}
    assert result.work_left


@pytest.mark.parametrize(
    "reason, left",
    [
        ("no_inventory", True),
        ("no_allowance", True),
        ("fee_cap", True),
        ("stale_head", True),
        ("unpriceable", True),
        ("reserved", True),
        ("unprofitable", False),
        ("toxic", False),
        ("reserve_paused", False),
    ],
)
async def test_what_keeps_an_order_back_decides_whether_work_is_left(reason: str, left: bool) -> None:
    scene = Scene(wealthy=reason != "no_inventory", min_profit_base=10**15 if reason == "unprofitable" else 0)
    actions: list[Action] = []
    if reason == "no_allowance":
        actions.append(lambda draft: draft.state.tokens.allowances_raw.clear())
    if reason == "fee_cap":
        scene = Scene(fee_cap_wei=5)
    if reason == "stale_head":
        scene.age_s = 1_000
    if reason == "unpriceable":
        actions.append(price(USDC, None))
    if reason == "reserved":
        scene.live.earlier.add(FIRST)
    if reason == "toxic":
        actions.append(price(WETH, 1_000))
    if reason == "reserve_paused":
        actions.append(pause)
    result = await once(sick(scene, *actions))
    assert [standing.reason for standing in result.last.standings.values()] == [reason]
    assert result.work_left is left


def pause(draft: Draft) -> None:
    pool = draft.state.pools[pool_address(0)]
    pool.reserves[WETH] = replace(pool.reserves[WETH], paused=True)


async def test_a_transaction_that_is_never_mined_is_trouble() -> None:
    scene = sick(Scene())
    with pytest.raises(ChainError, match="attempts still open: 3-b0010000"):
        await once(scene)


async def test_a_transaction_that_stays_pending_while_blocks_come_is_trouble() -> None:
    scene = sick(Scene())

    def blocks() -> object:
        while True:
            yield lambda: scene.world.mine(include=False)

    scene.chain.script = blocks()  # type: ignore[assignment]
    with pytest.raises(ChainError, match=r"nothing was settled for 0 s; attempts still open: 4-b0010000"):
        await run_once(scene.loop, scene.chain, Watching(), unwatched, 0.2, rehearses=False)


async def test_transactions_that_fail_again_and_again_are_trouble() -> None:
    """In every block somebody spoils it, and each failure costs gas."""
    scene = sick(Scene())
    spoiled = [lambda: scene.world.mine(revert="Spoiled")] * 12
    with pytest.raises(ChainError, match=r"5 attempts on 0xb001\w+ were mined and did not restore it"):
        await once(scene, *spoiled)
    assert scene.orders_for(FIRST) == 6


async def test_no_block_at_all_is_trouble() -> None:
    scene = Scene()
    scene.chain.lingers = True
    with pytest.raises(ChainError, match="the node shows no new block"):
        await run_once(scene.loop, scene.chain, Watching(), unwatched, 0.05, rehearses=False)


async def test_trouble_that_passes_is_waited_out_on_a_quiet_chain() -> None:
    scene = sick(Scene("fork"))
    scene.faults.fail = lambda count, name: ChainError("busy") if count in (5, 12, 20) else None
    result = await once(scene)
    assert not result.work_left
    assert [outcome.restored for outcome in result.outcomes] == [True]


async def test_trouble_that_stays_ends_it() -> None:
    scene = sick(Scene())
    watching = Watching()
    scene.chain.script = [lambda: None]
    scene.faults.fail = lambda count, name: ChainError("down") if name == "read" else None
    with pytest.raises(ChainError, match="down"):
        await run_once(scene.loop, scene.chain, watching, unwatched, 0.2, rehearses=False)
    assert len(watching.errors) == supervise.TRIES_ONCE


async def test_a_refused_market_is_trouble_after_the_other_is_done() -> None:
    lying = toy_pool(1)
    lying.misreports_health = True
    scene = Scene(pools=[toy_pool(0), lying])
    scene.world.mine(opens(SECOND, {WETH: 10}, {USDC: 15_000}, market=1))
    sick(scene)
    with pytest.raises(MarketError, match="no known rules"):
        await once(scene, scene.world.mine)
    assert scene.story(FIRST) == ["seen", "decided", "sent", "mined", "restored"]


async def test_a_stopped_market_is_trouble_after_the_other_is_done() -> None:
    scene = Scene(pools=[toy_pool(0), toy_pool(1)])
    scene.world.mine(opens(SECOND, {WETH: 10}, {USDC: 15_000}, market=1))
    sick(scene, price(WETH, 1_800, market=1))

    def wrong(*_: object) -> object:
        raise Defect("an invariant broke")

    scene.adapters[1].pairs = wrong  # type: ignore[method-assign,assignment]
    with pytest.raises(Defect, match="an invariant broke"):
        await once(scene, scene.world.mine)
    assert scene.story(FIRST) == ["seen", "decided", "sent", "mined", "restored"]


async def test_what_nobody_foresaw_is_a_defect() -> None:
    scene = sick(Scene())
    scene.faults.fail = lambda count, name: KeyError("odd") if name == "settle" else None
    with pytest.raises(Defect, match="KeyError: 'odd'"):
        await once(scene, scene.world.mine)


async def test_outcomes_that_a_head_had_no_time_for_are_read_without_another_head() -> None:
    """A chain that mines on demand shows none."""
    scene = sick(Scene())
    hurried = iter([TimeoutError("no time"), TimeoutError("no time"), None])
    scene.faults.fail = lambda count, name: (
        next(hurried, None) if name == "settle" and scene.world.tip.receipts else None
    )
    result = await once(scene, scene.world.mine, timeout_s=30)
    assert not result.work_left
    assert scene.story(FIRST) == ["seen", "decided", "sent", "mined", "restored"]
    assert next(hurried, None) is None


async def test_a_node_that_is_behind_does_not_take_the_keeper_back() -> None:
    """Going on with what a head had no time for asks for the newest head: nothing is judged on an older one."""
    scene = sick(Scene())
    hurried = iter([TimeoutError("no time"), None])
    scene.faults.fail = lambda count, name: (
        next(hurried, None) if name == "settle" and scene.world.tip.receipts else None
    )

    async def behind() -> BlockRef:
        return scene.world.blocks[-2].ref

    scene.chain.latest = behind  # type: ignore[method-assign]
    result = await once(scene, scene.world.mine, timeout_s=30)
    assert not result.work_left
    assert result.last.head == scene.tip
    assert scene.events(Kind.REORG) == []


# -- rehearsals ------------------------------------------------------------------------------------------------------


async def test_dry_orders_that_would_have_gone_are_work_left() -> None:
    assert (await once(sick(Scene("dry")))).work_left


async def test_dry_without_orders_leaves_no_work() -> None:
    scene = Scene("dry")
    scene.world.mine(opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    assert not (await once(scene)).work_left


async def test_a_fork_that_restores_everybody_leaves_no_work() -> None:
    result = await once(sick(Scene("fork")))
    assert not result.work_left
    assert [outcome.restored for outcome in result.outcomes] == [True]


async def test_a_fork_that_executes_nothing_leaves_work() -> None:
    scene = sick(Scene("fork"))
    scene.fork.works = False
    assert (await once(scene)).work_left


async def test_a_fork_leaves_the_work_that_it_could_not_order() -> None:
    scene = sick(Scene("fork"), opens(SECOND, {WBTC: 1}, {USDC: 10_000}), price(WBTC, None))
    assert (await once(scene)).work_left


@pytest.mark.parametrize("failing", range(1, 40))
@pytest.mark.parametrize("mode", ["dry", "fork"])
async def test_trouble_anywhere_does_not_change_the_answer(mode: str, failing: int) -> None:
    """An outcome that was told in a round that failed counts all the same: dry leaves work, a fork leaves none."""
    scene = sick(Scene(mode), opens(SECOND, {WBTC: 1}, {USDC: 39_000}), price(WBTC, 48_000))
    scene.faults.fail = lambda count, name: ChainError("lost") if count == failing and name != "heads" else None
    try:
        result = await once(scene)
    except KeeperError:
        pytest.fail("one error is waited out")
    assert result.work_left is (mode == "dry")
    assert {outcome.borrower for outcome in result.outcomes} == {FIRST, SECOND}


async def test_rules_that_allow_no_more_than_safety_leave_no_work() -> None:
    scene = Scene("fork", pools=[toy_pool(rules=ToyRules(close_factor_bps=2_000))])
    scene.world.mine(opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    scene.world.mine(price(WETH, 1_860), moves(FIRST, Side.DEBT, USDC, 50))
    result = await once(scene)
    assert [outcome.restored for outcome in result.outcomes] == [True]
    assert not result.work_left
