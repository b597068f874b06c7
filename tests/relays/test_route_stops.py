"""What must not leave any more: while a pause stands, or without the transaction that it was to stand behind; and what has left
though relays say that they did not take it."""

from __future__ import annotations

import pytest

from keeper.core.block import BlockRef, Call
from keeper.core.intent import IntentStatus
from keeper.core.order import Answer, FeeQuote
from keeper.core.units import to_hex
from keeper.execution.relays.route import RelayTerms
from keeper.execution.replacing import Replaced, Replacing
from keeper.execution.signing.envelope import decode_signed
from tests.relays.local_relay import LocalRelay
from tests.relays.test_route import PUBLIC, Setting, hash_of, hashes, setting
from tests.unit.execution.fakes import FEES, OTHER_BORROWER, head, sending, signer

UPDATE = b"\x02update"


def replacing(here: Setting, told: list[Replaced], expiry_blocks: int = 20) -> Replacing:
    async def quote() -> FeeQuote:
        return FEES

    async def tell(replaced: Replaced, _: BlockRef) -> None:
        told.append(replaced)

    may_repeat = here.route.may_repeat
    return Replacing(here.sender, quote, tell, cap_wei=1_000, expiry_blocks=expiry_blocks, may_repeat=may_repeat)


@pytest.mark.parametrize("for_blocks", [2, 6])
async def test_while_a_pause_stands_nothing_is_offered_again_nor_published(for_blocks: int) -> None:
    relay = LocalRelay("drops")
    async with setting([relay], RelayTerms(for_blocks, then_public=True)) as here:
        sent = await here.sender.send(sending(), head(1))
        await here.at(2)
        offers = len(relay.signers)
        here.paused = True
        for number in range(3, 7):
            await here.at(number)
            await here.sender.following.follow_open(head(number))
        assert (len(relay.signers), here.node.sends) == (offers, [])
        assert await here.status(hash_of(sent), 6) is IntentStatus.LOST


async def test_what_is_to_stand_behind_another_does_so_though_a_head_comes_between() -> None:
    relay = LocalRelay()
    behind = sending()
    async with setting([relay], PUBLIC) as here:
        here.route.stand_behind(behind.call, UPDATE)
        here.route.on_head(2, 0)
        sent = await here.sender.send(behind, head(1))
        for number in range(3, 6):
            await here.at(number)
        assert [(target, txs[0], hashes(txs[1:])) for target, txs in relay.bundles] == [
            (3, to_hex(UPDATE), [hash_of(sent)])
        ]
        assert here.node.sends == []


async def test_what_stood_behind_another_is_never_sent_again_without_it() -> None:
    """Below another that waits it is cancelled."""
    relay, told = LocalRelay(), list[Replaced]()
    behind, above = sending(), sending(OTHER_BORROWER, "1-b1", tag=1)
    async with setting([relay], RelayTerms(6, then_public=True)) as here:
        here.route.stand_behind(behind.call, UPDATE)
        lost = await here.sender.send(behind, head(1))
        await here.sender.send(above, head(1))
        await here.at(2)
        relay.bundles.clear()
        await replacing(here, told).tidy(head(2))
        assert [each.case.remedy.value for each in told] == ["cancel"]
        await here.at(3)
        assert hash_of(lost) not in {each for _, txs in relay.bundles for each in hashes(txs)}
        [cancel] = here.node.sends
        assert decode_signed(cancel).fields.call == Call(signer().address, b"")


async def test_what_a_relay_refuses_and_has_mined_all_the_same_was_ours() -> None:
    relay = LocalRelay("refuses_and_keeps")
    async with setting([relay]) as here:
        assert (await here.sender.send(sending(), head(1))).answer is Answer.REFUSED
        [(_, [raw])] = relay.bundles
        [mined] = hashes([raw])
        here.node.mine(0, 2, mined)
        assert await here.status(mined, 2) is IntentStatus.MINED
        assert here.store.entries[mined].block_number == 2
        assert here.sender.following.nonces_in_blocks == {0}


async def test_what_relays_refuse_is_cancelled_when_no_order_takes_its_nonce() -> None:
    """Else it could be mined at any time later, and its borrower would wait as long."""
    told: list[Replaced] = []
    async with setting([LocalRelay("refuses")]) as here:
        await here.sender.send(sending(), head(1))
        for number in range(2, 7):
            await here.at(number)
            await here.sender.following.follow_open(head(number))
            await replacing(here, told, expiry_blocks=5).tidy(head(number))
        [cancel] = here.node.sends
        assert decode_signed(cancel).fields.call == Call(signer().address, b"")
        here.node.mine(0, 7)
        await here.at(7)
        await here.sender.following.follow_open(head(7))
        assert here.store.statuses() == [(0, "dropped"), (0, "mined")]
