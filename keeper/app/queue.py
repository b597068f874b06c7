"""One signer's queue, put together: what it has, what it sends, and what became of that."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from keeper.app.ground import Ground
from keeper.app.parts import FollowedMarkets
from keeper.app.replacing import replacing_for
from keeper.app.signers import Opened, accounts_of, bounds_raw
from keeper.core import event_build
from keeper.core.block import BlockRef
from keeper.core.errors import ChainError, Refused
from keeper.core.intent import Intent
from keeper.core.units import Address, to_hex
from keeper.execution.allowance import Allowances
from keeper.execution.earlier import Earlier
from keeper.execution.funding import LiveFunding
from keeper.execution.live import LivePermit, LiveSubmitter
from keeper.execution.readback import ReadBack
from keeper.execution.reconcile import Reconciler
from keeper.execution.relays.route import PrivateRoute
from keeper.execution.sender import Sender
from keeper.execution.signing.signer import NobodySigns
from keeper.execution.strangers import Strangers
from keeper.pipeline.gate import GatedIntents
from keeper.pipeline.rails import Rails
from keeper.ports import Journal, Transactions


@dataclass(frozen=True, slots=True)
class Post:
    """What all signers of a chain share."""

    permit: LivePermit
    ground: Ground
    markets: FollowedMarkets
    transactions: Transactions
    journal: Journal
    heads: AsyncIterator[BlockRef]
    """For what is waited for before the chain is followed."""

    @property
    def reconciler(self) -> Reconciler:
        return Reconciler(self.ground.rpc, self.ground.client, self.markets)

    def earlier(self, signer: Address) -> Earlier:
        ground = self.ground
        read_back = ReadBack(ground.rpc, ground.client, self.markets)
        return Earlier(ground.rpc, self.transactions, read_back, ground.name, ground.chain_id, signer)


async def queue_of(
    signer: Opened, at: Post, rails: Rails, route: PrivateRoute | None
) -> tuple[LiveFunding, LiveSubmitter]:
    """What an earlier run left open is looked at, and the signer's allowances stand, as far as that can be had."""
    ground, transactions, journal = at.ground, at.transactions, at.journal
    debts = [(reserve.asset, market.pool) for market in ground.markets for reserve in market.reserves]
    if ground.chain.carried_by_executor:
        debts = []  # nothing is repaid from the signer's own account
    sender = Sender(
        route or ground.rpc,
        signer.key,
        GatedIntents(transactions, rails),
        ground.chain_id,
        accounts=accounts_of(ground),
    )
    funding = LiveFunding(ground.client.read, ground.rpc, sender.address)
    bounds = await bounds_raw(signer, ground)

    async def told(refused: Refused) -> None:
        await journal.record([event_build.trouble(ground.name, refused)])

    may_repeat = route.may_repeat if route is not None else None
    replacing = replacing_for(
        ground.name, ground.chain, signer.settings, ground.client, ground.block_s, sender, journal, may_repeat
    )
    allowances = Allowances(ground.rpc, sender, funding, told, replacing.tidy)

    async def replenish(head: BlockRef) -> None:
        try:
            await allowances.replenish(debts, bounds, await ground.client.fees(), head)
        except ChainError as error:
            await journal.record([event_build.trouble(ground.name, error, block_number=head.number)])

    submitter = LiveSubmitter(
        at.permit,
        sender,
        at.reconciler,
        replenish,
        signer.settings.most_in_flight,
        replacing=replacing,
        on_head=route.on_head if route is not None else None,
        stand_behind=route.stand_behind if route is not None else None,
        strangers=Strangers(sender.following, transactions, transactions, ground.chain_id, sender.address),
        earlier=at.earlier(sender.address),
    )
    await _tell_open([each.intent for each in await submitter.start(ground.head) if each.open], at)
    fees, head = await ground.client.fees(), await ground.client.latest()
    await rails.look(head)
    if not await funding.gas_money_wei(head):
        detail = f"{signer.where}: {to_hex(sender.address)} has no native coin for gas, and sends nothing until it has"
        await journal.record([event_build.alert(ground.name, "no_gas", detail, block_number=head.number)])
    await allowances.ensure(debts, bounds, fees, at.heads, head)
    return funding, submitter


async def left_behind(signer: Address, at: Post) -> LiveSubmitter:
    """Of one that is configured no more: nothing is sent, but what it sent is followed to its end, and until then its borrowers
    get no order from anybody else."""
    ground = at.ground
    key = NobodySigns(signer)
    sender = Sender(ground.rpc, key, at.transactions, ground.chain_id, accounts=accounts_of(ground))
    submitter = LiveSubmitter(at.permit, sender, at.reconciler, earlier=at.earlier(signer))
    await submitter.start(ground.head)
    more = f"; {to_hex(signer)} is none of the signers any more: only with it in the configuration can that be replaced"
    await _tell_open(sender.following.open_intents, at, more)
    return submitter


async def _tell_open(intents: Sequence[Intent], at: Post, more: str = "") -> None:
    """What an earlier run left open."""
    details = [
        f"an earlier run's transaction {to_hex(intent.transaction_hash)} may still be mined{more}" for intent in intents
    ]
    await at.journal.record([event_build.alert(at.ground.name, "earlier_transaction", detail) for detail in details])
