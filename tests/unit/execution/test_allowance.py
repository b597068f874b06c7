"""Which allowances are raised, and to what."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from keeper.core.block import BlockRef, Call, CallResult
from keeper.core.errors import Refused
from keeper.core.intent import IntentStatus
from keeper.core.standing import Funds
from keeper.core.units import Address
from keeper.execution.allowance import Allowances, bounds_to_set
from keeper.execution.funding import LiveFunding
from keeper.execution.signing.envelope import decode_signed
from tests.unit.execution.builders import COLLATERAL
from tests.unit.execution.fakes import FEES, POOL, TOKEN, MemoryIntents, MemoryNode, head, signer, started_on


def test_the_bound_is_the_balance_unless_it_is_configured() -> None:
    funds = {(TOKEN, POOL): Funds(500, 20), (COLLATERAL, POOL): Funds(300, 0)}
    assert bounds_to_set(funds, {COLLATERAL: 1_000}) == {(TOKEN, POOL): (20, 500), (COLLATERAL, POOL): (0, 1_000)}


def test_what_is_enough_or_not_owned_or_unbounded_stays() -> None:
    funds = {(TOKEN, POOL): Funds(500, 500), (COLLATERAL, POOL): Funds(0, 0), (POOL, POOL): Funds(None, None)}
    assert bounds_to_set(funds, {}) == {}


def test_a_configured_bound_below_the_balance_holds() -> None:
    assert bounds_to_set({(TOKEN, POOL): Funds(500, 100)}, {TOKEN: 100}) == {}
    assert bounds_to_set({(TOKEN, POOL): Funds(500, 99)}, {TOKEN: 100}) == {(TOKEN, POOL): (99, 100)}


ASSETS = [Address(bytes([0x70 + number]) * 20) for number in range(3)]


class Node(MemoryNode):
    """It says what an approval burns."""

    async def request(self, method: str, params: Sequence[Any] = ()) -> Any:
        return hex(50_000) if method == "eth_estimateGas" else await super().request(method, params)


async def test_a_lost_approval_is_sent_again_below_those_that_wait_for_its_nonce() -> None:
    """Else they would wait for a nonce that nobody takes."""
    node, store = Node(), MemoryIntents()
    sender = await started_on(node, store)

    def approved() -> set[Address]:
        raws = {row.transaction_hash: decode_signed(row.raw_transaction) for row in store.rows.values()}
        return {raws[each].fields.call.target for each in node.mined.values()}

    async def read(calls: Sequence[Call], block: BlockRef) -> list[CallResult]:
        balance, done = (900).to_bytes(32, "big"), approved()
        return [
            CallResult(True, balance if place % 2 == 0 or call.target in done else bytes(32))
            for place, call in enumerate(calls)
        ]

    async def heads() -> AsyncIterator[BlockRef]:
        del node.pool[0]  # a reorg, or a node that forgot it
        for number in range(2, 40):
            while (nonce := len(node.mined)) in node.pool:
                node.mine(nonce, number)
            yield head(number)

    async def told(refused: Refused) -> None:
        raise refused

    allowances = Allowances(node, sender, LiveFunding(read, node, signer().address), told)
    done = await allowances.ensure([(asset, POOL) for asset in ASSETS], {}, FEES, heads(), head(1))
    assert {each.asset for each in done} == set(ASSETS)
    assert sorted(node.mined) == list(range(len(node.mined)))
    assert {row.status for row in store.rows.values() if row.nonce > 0} <= {IntentStatus.MINED, IntentStatus.SENT}
