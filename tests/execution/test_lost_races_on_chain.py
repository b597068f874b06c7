"""A race that somebody else wins costs its gas and pauses nobody; an error of our own counts by number. On the real market."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from keeper.core.block import Call
from keeper.core.errors import MethodUnavailable
from keeper.core.ledger import Valuation
from keeper.core.order import MinedCall
from keeper.core.rails import Limits, spent_by, tripped
from keeper.core.units import Address
from keeper.devnet import admin
from keeper.devnet.market import Bed
from keeper.execution.markets import MarketHandle, lost_race
from keeper.execution.past import PastBlocks
from keeper.execution.receipts import mined_call, read_receipt
from keeper.execution.rpc import Rpc
from keeper.protocols.aave_v3.adapter import AaveV3
from keeper.store.store import Store
from tests.execution.rig import GAS_LIMIT, KEEPER, Rig, live, rigged
from tests.execution.test_live_on_chain import outcome_of, settled, simulated
from tests.submitting import submit
from tests.unit.protocols.aave_v3.builders import make_state
from tests.unit.store import facts

LIMITS = Limits(reverts_in_a_row=1, revert_rate_bps=5_000, revert_rate_least=1)


async def pauses(rig: Rig, store: Store) -> bool:
    """Whether the reverts of the ledger reach a rail, as of the newest block."""
    spending = await store.spending(0)
    now_s = (await rig.head()).timestamp_s
    spent = spent_by(spending.settled, spending.on_their_way, spending.lifts, now_s)
    assert spent.day.gas_wei == sum(each.cost_wei for each in spending.settled) > 0, "all of it counts by what it cost"
    return tripped(spent, LIMITS) is not None


async def test_who_is_restored_before_us_is_a_race_lost(bed: Bed, tmp_path: Path) -> None:
    async with rigged(bed) as rig, live(rig, tmp_path) as (submitter, store):
        await rig.fund(KEEPER)
        ether_base = await bed.price_base("WETH")
        await rig.crash()
        [(order, simulation)] = await simulated(rig, (await rig.orders(KEEPER, most=1)))
        await admin.set_answer(bed, "WETH", ether_base * 2)
        outcome = await settled(rig, submitter, order, simulation)
        assert "HealthFactorNotBelowThreshold" in outcome.detail
        assert not await pauses(rig, store), "its reason is not in the store yet"
        await store.value(outcome.valuations)
        assert not await pauses(rig, store)
        await bed.chain.mine(1, seconds=1_000)
        assert not await pauses(rig, store), "for good"


async def test_an_error_of_our_own_counts_once_its_reason_is_known_and_else_after_a_while(
    bed36: Bed, tmp_path: Path
) -> None:
    async with rigged(bed36) as rig, live(rig, tmp_path) as (submitter, store):
        await rig.fund(KEEPER)
        await rig.crash()
        [(order, simulation)] = await simulated(rig, (await rig.orders(KEEPER, most=1)))
        # A contract that knows no such function: it has no reason of its own.
        wrong = replace(order, calls=(Call(rig.pool, order.calls[0].calldata[:36]),))
        outcome = await settled(rig, submitter, wrong, simulation)
        assert not outcome.mined[0].succeeded
        assert not await pauses(rig, store)
        [unread] = (await store.spending(0)).settled
        await store.value(outcome.valuations)
        assert await pauses(rig, store)
        assert unread.lost_race is None
        late_s = unread.timestamp_s + 1_000
        assert tripped(spent_by([unread], [], [], late_s), LIMITS), "nor is what cannot be read forgiven"


class Untraced:
    """A node that offers no traces."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self.asked: list[str] = []

    async def request(self, method: str, params: Sequence[Any] = ()) -> Any:
        self.asked.append(method)
        if method == "debug_traceTransaction":
            raise MethodUnavailable("the method does not exist")
        return await self._rpc.request(method, params)

    async def batch(self, entries: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        return list(await self._rpc.batch(entries))


async def test_a_race_within_one_block_is_known_without_traces(bed36: Bed, tmp_path: Path) -> None:
    """Somebody liquidates right before us: the block before says nothing of it, what the block left does."""
    async with rigged(bed36) as rig, live(rig, tmp_path) as (submitter, _):
        for account in (KEEPER, rival := Address(b"\x77" * 20)):
            await rig.fund(account)
        await rig.crash(percent=85)
        reaching = [each for each in await rig.orders(KEEPER) if len(each.calls) == 1]
        [(order, simulation)] = await simulated(rig, reaching[:1])
        await bed36.chain.rpc.request("evm_setAutomine", [False])
        fees = order.offer.fees
        await bed36.chain.rpc.request(
            "eth_sendTransaction",
            [
                {
                    "from": "0x" + rival.hex(),
                    "to": "0x" + order.calls[0].target.hex(),
                    "data": "0x" + order.calls[0].calldata.hex(),
                    "gas": hex(GAS_LIMIT),
                    "maxFeePerGas": hex(fees.max_fee_wei * 3),
                    "maxPriorityFeePerGas": hex(fees.priority_fee_wei * 3),
                }
            ],
        )
        submission = await submit(submitter, order, simulation, await rig.head())
        await bed36.chain.mine(1, seconds=1)
        outcome = await outcome_of(rig, submitter, submission)
        [call] = outcome.mined
        assert not call.succeeded
        receipt = await read_receipt(rig.rpc, call.transaction_hash)
        assert receipt is not None
        untraced, handle = Untraced(rig.rpc), rig.markets[rig.entry]
        again = await mined_call(untraced, PastBlocks(), handle, 0, order.calls[0], GAS_LIMIT, receipt)
        assert (again.lost_race, again.revert) == (call.lost_race, call.revert)
        assert call.lost_race
        assert untraced.asked.count("eth_call") == 2


def said(text: str) -> bytes:
    """As a contract refuses with a text."""
    return bytes.fromhex("08c379a0") + encode(["string"], [text])


@pytest.mark.parametrize(
    "revert_data, late",
    [
        (said("lost"), True),
        (said("45"), True),
        (said("47"), True),
        (keccak(text="HealthFactorNotBelowThreshold()")[:4], True),
        (keccak(text="SpecifiedCurrencyNotBorrowedByUser()")[:4], True),
        (said("gain"), False),
        (said("slippage"), False),
        (said("expired"), False),
        (said("46"), False),
        (said("lost "), False),
        (bytes.fromhex("08c379a0") + b"lost", False),
        (keccak(text="MustNotLeaveDust()")[:4], False),
        (b"", False),
    ],
)
def test_only_the_words_of_a_lost_race_are_one(revert_data: bytes, late: bool) -> None:
    handle = MarketHandle(AaveV3(), make_state("3.6", {}).market, None)
    assert lost_race(handle, revert_data) is late


def test_what_reverts_after_a_call_of_ours_succeeded_is_our_own_fault() -> None:
    """A plan whose first call restores, so that its second must revert, would do so again and again."""
    late: MinedCall = replace(facts.mined_call(1, succeeded=False), lost_race=True)
    both = replace(facts.outcome(), mined=(facts.mined_call(0), late))
    alone = replace(facts.outcome(), mined=(late,))
    assert [each.lost_race for each in both.valuations] == [False]
    assert alone.valuations == [Valuation(late.transaction_hash, late.block.hash, None, True)]
