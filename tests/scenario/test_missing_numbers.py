"""A number that cannot be read is never taken for 0: whoever needs it waits, with the reason, and nobody else does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from keeper.core.block import BlockRef
from keeper.core.outcome import Reason, Skip
from keeper.core.standing import ORDERED, Funds
from keeper.core.units import Address
from tests.scenario.scene import USDC, WBTC, WETH, Scene, asset, borrower, opens, price
from tests.toy_ports import ToyFunding

FIRST, SECOND = borrower(1), borrower(2)
DAI = 3


async def test_a_balance_that_cannot_be_read_holds_back_whoever_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    told = ToyFunding.spendable

    async def blind(
        self: ToyFunding, debts: Sequence[tuple[Address, Address]], block: BlockRef
    ) -> Mapping[tuple[Address, Address], Funds]:
        return {key: funds for key, funds in (await told(self, debts, block)).items() if key[0] != asset(USDC)}

    scene = Scene()
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}), opens(SECOND, {WETH: 10}, {DAI: 15_000}))
    monkeypatch.setattr(ToyFunding, "spendable", blind)
    await scene.head(price(WETH, 1_800))
    standing = scene.standing(FIRST)
    assert standing is not None
    assert (standing.reason, standing.detail) == ("no_inventory", f"balance of 0x{asset(USDC).hex()} is not known")
    assert scene.reason(SECOND) == ORDERED
    monkeypatch.undo()
    await scene.head()
    assert scene.reason(FIRST) == ORDERED


async def test_without_a_price_of_the_coin_that_gas_costs_nothing_is_priced() -> None:
    scene = Scene()
    await scene.head(opens(FIRST, {WBTC: 1}, {USDC: 20_000}))
    await scene.head(price(WBTC, 23_000), price(WETH, None))
    standing = scene.standing(FIRST)
    assert standing is not None
    assert (standing.reason, scene.submitted) == ("unpriceable", [])
    assert standing.detail.startswith("the native coin has no price")
    await scene.head(price(WETH, 2_000))
    assert scene.reason(FIRST) == ORDERED


async def test_a_data_fee_that_is_lost_between_decision_and_price_sends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The fee of a rollup may be gone when an order comes back from its simulation: it is not priced without."""
    scene = Scene()
    await scene.head(opens(FIRST, {WETH: 10}, {USDC: 15_000}))
    [desk] = scene.loop.desks
    repriced = desk.reprice

    def blind(*arguments: object) -> object:
        desk.follower.reader.posting.fee_wei = None
        return repriced(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(desk, "reprice", blind)
    await scene.head(price(WETH, 1_800))
    assert (scene.reason(FIRST), scene.submitted) == ("unpriceable", [])
    monkeypatch.undo()
    refused = desk._pricing(scene.loop._turn.moment.fees)  # type: ignore[union-attr]
    assert isinstance(refused, Skip) and refused.reason is Reason.UNPRICEABLE
    desk.follower.reader.posting.fee_wei = 0
    await scene.head()
    assert scene.reason(FIRST) == ORDERED
