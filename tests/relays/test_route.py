"""Private transactions by the sender's own rules: relays that take, refuse, delay, drop and lie; a node that sees nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest
from eth_account import Account
from eth_utils.crypto import keccak

from keeper.chain.jsonrpc import JsonRpc
from keeper.core.block import Call
from keeper.core.errors import Defect, Refused, StoreError
from keeper.core.intent import IntentStatus
from keeper.core.order import Answer, SentTransaction
from keeper.core.units import Address, Hash32, hash_from_hex, to_hex
from keeper.execution.relays.relay import Relay, RelayMethod
from keeper.execution.relays.route import PrivateRoute, RelayTerms
from keeper.execution.sender import Sender, Sending
from keeper.execution.signing.reputation import ReputationKey
from keeper.execution.tokens import approve
from tests.relays.local_relay import LocalRelay
from tests.signing.stands import CANARY
from tests.unit.execution.fakes import (
    CHAIN_ID,
    FEES,
    OTHER_BORROWER,
    POOL,
    TOKEN,
    MemoryIntents,
    MemoryNode,
    head,
    sending,
    signer,
)

REPUTATION = ReputationKey(Account.from_key(b"\x33" * 32))
NEVER = RelayTerms(for_blocks=2, then_public=False)
PUBLIC = RelayTerms(for_blocks=2, then_public=True)


@dataclass
class Setting:
    """A sender whose orders go to relays, over a node in memory."""

    node: MemoryNode
    route: PrivateRoute
    sender: Sender
    store: MemoryIntents
    told: list[str] = field(default_factory=list)
    paused: bool = False

    async def at(self, number: int) -> None:
        """A head arrives, and everything that the route does about it is done."""
        await self.sender.prepare(head(number))
        await self.sender.following.give_up(self.route.on_head(number, len(self.node.mined)))
        await self.calm()

    async def calm(self) -> None:
        while tasks := list(self.route._tasks):
            await asyncio.wait(tasks)

    async def status(self, transaction_hash: Hash32, number: int) -> IntentStatus:
        return (await self.sender.following.follow(transaction_hash, head(number))).intent.status


@asynccontextmanager
async def setting(
    relays: Sequence[LocalRelay],
    terms: RelayTerms = NEVER,
    method: RelayMethod = RelayMethod.BUNDLE,
    store: MemoryIntents | None = None,
    timeout_s: float = 5.0,
) -> AsyncIterator[Setting]:
    node, store, told = MemoryNode(), store or MemoryIntents(), list[str]()

    async def tell(text: str) -> None:
        told.append(text)

    async def halted() -> bool:
        return here.paused

    async with AsyncExitStack() as stack:
        targets = []
        for relay in relays:
            url = await stack.enter_async_context(relay.serving())
            rpc = await stack.enter_async_context(JsonRpc(url, timeout_s=timeout_s, headers_for=REPUTATION.headers))
            targets.append(Relay(rpc, rpc.label, method, REPUTATION.address))
        route = await stack.enter_async_context(PrivateRoute(node, targets, terms, tell, 0, halted))
        sender = Sender(route, signer(), store, CHAIN_ID)
        await sender.start(head(1))
        here = Setting(node, route, sender, store, told)
        await here.at(1)
        yield here


def hash_of(sent: SentTransaction) -> Hash32:
    assert sent.transaction_hash is not None
    return sent.transaction_hash


def hashes(transactions: Sequence[str]) -> list[Hash32]:
    return [Hash32(keccak(bytes.fromhex(each[2:]))) for each in transactions]


# -- what goes where -------------------------------------------------------------------------------------------------


async def test_an_order_goes_to_every_relay_for_the_next_block_and_never_to_the_node() -> None:
    relays = [LocalRelay(), LocalRelay()]
    async with setting(relays) as here:
        sent = await here.sender.send(sending(), head(1))
        await here.calm()
        assert (sent.answer, sent.nonce, here.node.sends) == (Answer.ACCEPTED, 0, [])
        for relay in relays:
            [(target, [transaction])] = relay.bundles
            assert (target, hashes([transaction])) == (2, [hash_of(sent)])
            assert relay.signers == [Account.from_key(b"\x33" * 32).address]


async def test_what_is_of_no_use_to_others_is_public_at_once() -> None:
    relay = LocalRelay()
    approval = Sending(approve(TOKEN, POOL, 1), 60_000, FEES, "allowance", None, 0)
    cancel = Sending(Call(signer().address, b""), 21_000, FEES, "cancel", None, 0)
    async with setting([relay]) as here:
        for each in (approval, cancel):
            assert (await here.sender.send(each, head(1))).answer is Answer.ACCEPTED
        assert (len(here.node.sends), relay.bundles) == (2, [])


async def test_private_transactions_name_their_last_block_and_are_not_repeated_to_who_took_them() -> None:
    relay = LocalRelay()
    async with setting([relay], method=RelayMethod.PRIVATE) as here:
        sent = await here.sender.send(sending(), head(1))
        await here.at(2)
        [(last, transaction)] = relay.privates
        assert (last, hashes([transaction])) == (3, [hash_of(sent)])


async def test_a_bundle_holds_what_must_be_mined_before_it() -> None:
    """A builder tries each bundle by itself: one with a gap below its nonce would never be good."""
    relay = LocalRelay()
    async with setting([relay]) as here:
        first = await here.sender.send(sending(), head(1))
        second = await here.sender.send(sending(OTHER_BORROWER, "1-b1", tag=1), head(1))
        await here.calm()
        assert [hashes(txs) for _, txs in relay.bundles] == [[hash_of(first)], [hash_of(first), hash_of(second)]]


async def test_of_many_on_offer_a_few_bundles_are_offered_anew_and_none_is_too_long() -> None:
    """Later ones hold all below them; who asks for a hundred at once waits for the first ones."""
    relay = LocalRelay()
    async with setting([relay], RelayTerms(5, then_public=False)) as here:
        orders = [[sending(Address(number.to_bytes(20, "big")), f"1-{number}", tag=number)] for number in range(1, 104)]
        sent = await here.sender.send_all(orders, head(1))
        await here.calm()
        assert not any(isinstance(each, Refused) for each in sent)
        assert max(len(txs) for _, txs in relay.bundles) == 100
        relay.bundles.clear()
        await here.at(2)
        sizes = sorted(len(txs) for _, txs in relay.bundles)
        assert sizes == [1, 2, 3, 4, 5, 6, 7, 8, *range(9, 98, 8)]
        whole = hashes(max((txs for _, txs in relay.bundles), key=len))
        assert whole == [hash_of(each[0]) for each in sent[:97] if not isinstance(each, Refused)]


async def test_what_breaks_in_the_background_ends_the_route_by_its_own_name() -> None:
    node = MemoryNode()

    async def full_disk(text: str) -> None:
        raise StoreError("the disk is gone")

    async def never() -> bool:
        return False

    async def used() -> None:
        async with LocalRelay("refuses").serving() as url, JsonRpc(url, headers_for=REPUTATION.headers) as rpc:
            relays = [Relay(rpc, rpc.label, RelayMethod.BUNDLE, REPUTATION.address)]
            async with PrivateRoute(node, relays, NEVER, full_disk, 1, never) as route:
                sender = Sender(route, signer(), MemoryIntents(), CHAIN_ID)
                await sender.start(head(1))
                await sender.send(sending(), head(1))

    with pytest.raises(StoreError, match="disk is gone"):
        await used()


async def test_behind_another_transaction_an_order_is_for_one_block_only_and_never_public() -> None:
    relay = LocalRelay()
    behind = sending()
    async with setting([relay], PUBLIC) as here:
        here.route.stand_behind(behind.call, b"\x02update")
        sent = await here.sender.send(behind, head(1))
        await here.at(2)
        await here.at(3)
        assert [(target, txs[0], hashes(txs[1:])) for target, txs in relay.bundles] == [
            (2, to_hex(b"\x02update"), [hash_of(sent)])
        ]
        assert here.node.sends == []
        assert await here.status(hash_of(sent), 3) is IntentStatus.LOST
        await here.sender.send(sending(attempt="3-b0", tag=1), head(3))


# -- nonces ------------------------------------------------------------------------------------------------------------


async def test_the_nonce_of_what_the_node_cannot_see_is_held() -> None:
    async with setting([LocalRelay()]) as here:
        first = await here.sender.send(sending(), head(1))
        await here.at(2)
        with pytest.raises(Refused, match="still open at nonce 0"):
            await here.sender.send(sending(attempt="2-b0", tag=1), head(2))
        other = await here.sender.send(sending(OTHER_BORROWER, "2-b1", tag=2), head(2))
        assert (first.nonce, other.nonce) == (0, 1)
        assert await here.status(hash_of(first), 2) is IntentStatus.SENT


async def test_what_relays_drop_is_offered_again_then_lost_and_its_nonce_taken_again() -> None:
    relay = LocalRelay("drops")
    async with setting([relay]) as here:
        dropped = await here.sender.send(sending(), head(1))
        found = []
        for number in range(2, 5):
            await here.at(number)
            found.append(await here.status(hash_of(dropped), number))
        assert len(relay.signers) == 2, "for blocks 2 and 3"
        assert found == [IntentStatus.SENT, IntentStatus.LOST, IntentStatus.LOST], "at once, when nobody is offered it"
        again = await here.sender.send(sending(attempt="4-b0", tag=1), head(4))
        assert again.nonce == 0
        relay.does = ""
        await here.at(5)
        assert {hashes(txs)[-1] for _, txs in relay.bundles} == {hash_of(again)}


async def test_what_is_on_offer_for_long_is_not_lost_meanwhile() -> None:
    """A node that does not know it for some blocks would have it lost; it never had it to begin with."""
    async with setting([LocalRelay("drops")], RelayTerms(6, then_public=False)) as here:
        sent = await here.sender.send(sending(), head(1))
        for number in range(2, 7):
            await here.at(number)
            assert await here.status(hash_of(sent), number) is IntentStatus.SENT
        await here.at(7)
        assert await here.status(hash_of(sent), 7) is IntentStatus.LOST


async def test_what_was_mined_is_offered_no_more_nor_put_below_others() -> None:
    relay = LocalRelay()
    async with setting([relay], RelayTerms(5, then_public=False)) as here:
        first = await here.sender.send(sending(), head(1))
        second = await here.sender.send(sending(OTHER_BORROWER, "1-b1", tag=1), head(1))
        await here.calm()
        here.node.mine(0, 2, hash_of(first))
        relay.bundles.clear()
        await here.at(2)
        assert [(target, hashes(txs)) for target, txs in relay.bundles] == [(3, [hash_of(second)])]
        assert await here.status(hash_of(first), 2) is IntentStatus.MINED
        assert await here.status(hash_of(second), 2) is IntentStatus.SENT


async def test_a_cancellation_ends_the_offer() -> None:
    relay = LocalRelay()
    cancel = Sending(Call(signer().address, b""), 21_000, FEES, "cancel", None, 0)
    async with setting([relay], RelayTerms(5, then_public=False)) as here:
        sent = await here.sender.send(sending(), head(1))
        await here.sender.replace(0, cancel, head(1), here.sender.following.open_at(0))
        relay.bundles.clear()
        await here.at(2)
        assert (relay.bundles, len(here.node.sends)) == ([], 1)
        assert sent.nonce == 0


async def test_after_a_restart_nothing_is_on_offer_and_what_was_is_lost_in_time() -> None:
    store = MemoryIntents()
    async with setting([LocalRelay()], store=store) as before:
        sent = await before.sender.send(sending(), head(1))
    async with setting([LocalRelay()], store=store) as after:
        assert await after.status(hash_of(sent), 2) is IntentStatus.SENT
        with pytest.raises(Refused, match="still open"):
            await after.sender.send(sending(attempt="2-b0", tag=1), head(2))
        assert await after.status(hash_of(sent), 5) is IntentStatus.LOST
        assert (await after.sender.send(sending(attempt="5-b0", tag=1), head(5))).nonce == 0


async def test_lost_bytes_below_others_go_to_the_relays_again() -> None:
    relay = LocalRelay("drops")
    async with setting([relay]) as here:
        lost = await here.sender.send(sending(), head(1))
        for number in range(2, 4):
            await here.at(number)
            await here.sender.following.follow_open(head(number))
        [intent] = here.sender.following.open_at(0)
        assert intent.status is IntentStatus.LOST
        relay.does = ""
        await here.sender.resend(intent)
        await here.calm()
        assert [(target, hashes(txs)) for target, txs in relay.bundles] == [(4, [hash_of(lost)])]
        assert here.node.sends == []


# -- relays that do not do their part -----------------------------------------------------------------------------------


@pytest.mark.parametrize("does", ["refuses", "forbids"])
@pytest.mark.parametrize("method", list(RelayMethod))
async def test_a_refusal_by_all_is_told_in_one_line_and_holds_no_nonce(does: str, method: RelayMethod) -> None:
    async with setting([LocalRelay(does)], method=method) as here:
        sent = await here.sender.send(sending(), head(1))
        assert (sent.answer, sent.nonce) == (Answer.REFUSED, None)
        assert "no relay takes it" in sent.detail
        assert "\n" not in sent.detail
        assert CANARY not in sent.detail + "".join(here.told)
        assert len(here.told) == 1
        assert (await here.sender.send(sending(attempt="1-b0-2", tag=1), head(1))).answer is Answer.REFUSED
        assert here.store.statuses() == [(0, "lost")] * 2, "it has the bytes"
        assert len(here.told) == 1, "the same words again are not told again"


async def test_a_relay_that_rejects_the_signature_is_one_clear_line() -> None:
    async with setting([LocalRelay(known="0x" + "ab" * 20)]) as here:
        sent = await here.sender.send(sending(), head(1))
        assert sent.answer is Answer.REFUSED
        [line] = here.told
        assert "http://127.0.0.1:" in line
        assert f"it rejects the signature of the reputation key {to_hex(REPUTATION.address)}" in line
        assert "\n" not in line and CANARY not in line
        assert here.node.sends == []


async def test_one_relay_that_takes_it_is_enough() -> None:
    good = LocalRelay()
    async with setting([LocalRelay("refuses"), LocalRelay("delays"), good], timeout_s=0.5) as here:
        sent = await here.sender.send(sending(), head(1))
        assert sent.answer is Answer.ACCEPTED
        assert len(good.bundles) == 1
        await here.calm()
        assert len(here.told) == 2


@pytest.mark.parametrize("does", ["delays", "html"])
async def test_what_a_relay_may_have_is_on_its_way(does: str) -> None:
    async with setting([LocalRelay(does)], timeout_s=0.3) as here:
        sent = await here.sender.send(sending(), head(1))
        assert (sent.answer, sent.nonce) == (Answer.ACCEPTED, 0)
        assert await here.status(hash_of(sent), 2) is IntentStatus.SENT
        assert len(here.told) == 1


async def test_another_hash_is_no_promise() -> None:
    async with setting([LocalRelay("other_hash")], method=RelayMethod.PRIVATE) as here:
        sent = await here.sender.send(sending(), head(1))
        assert sent.answer is Answer.ACCEPTED, "the relay has the bytes, so it may be mined"
        assert "another hash" in here.told[0]


async def test_a_relay_that_reveals_changes_nothing_of_what_is_known() -> None:
    relay = LocalRelay("reveals")
    async with setting([relay]) as here:
        relay.node = here.node
        sent = await here.sender.send(sending(), head(1))
        assert hash_from_hex(to_hex(here.node.pool[0])) == hash_of(sent)
        here.node.mine(0, 2)
        assert await here.status(hash_of(sent), 2) is IntentStatus.MINED


# -- the public -------------------------------------------------------------------------------------------------------


async def test_after_its_blocks_an_order_is_published_where_that_is_wished_and_only_there() -> None:
    for terms, published in ((NEVER, 0), (PUBLIC, 1)):
        async with setting([LocalRelay("drops")], terms) as here:
            sent = await here.sender.send(sending(), head(1))
            await here.at(2)
            assert here.node.sends == []
            await here.at(3)
            assert len(here.node.sends) == published
            await here.at(4)
            assert len(here.node.sends) == published
            if published:
                assert f"{to_hex(hash_of(sent))} was not mined through relays in 2 blocks: it is published" in here.told
                here.node.mine(0, 5)
                assert await here.status(hash_of(sent), 5) is IntentStatus.MINED


async def test_where_it_is_published_later_a_refusal_by_all_is_none() -> None:
    async with setting([LocalRelay("refuses")], PUBLIC) as here:
        sent = await here.sender.send(sending(), head(1))
        assert sent.answer is Answer.ACCEPTED
        await here.at(2)
        await here.at(3)
        assert len(here.node.sends) == 1


async def test_a_transaction_in_a_batch_is_a_defect() -> None:
    async with setting([LocalRelay()]) as here:
        with pytest.raises(Defect, match="never in a batch"):
            await here.route.batch([("eth_sendRawTransaction", ["0x"])])
