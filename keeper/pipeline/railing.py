"""The rails of all signers of one chain: each is held by its own, and by those that hold all of them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from keeper.core.block import BlockRef
from keeper.core.order import Order
from keeper.core.outcome import Skip
from keeper.core.units import Address
from keeper.pipeline.rails import Rails
from keeper.ports import Ledger


class Railing:
    """By signer, in the configured order."""

    def __init__(self, by_signer: Mapping[Address, Rails]) -> None:
        self.by_signer = by_signer

    @property
    def ledger(self) -> Ledger:
        return next(iter(self.by_signer.values())).ledger

    @property
    def unpaused(self) -> Sequence[Address]:
        """Who may send."""
        return [signer for signer, rails in self.by_signer.items() if rails.paused is None]

    @property
    def paused(self) -> str | None:
        """Why nobody may send, in words; None while one of them may."""
        return None if self.unpaused else "; ".join(dict.fromkeys(self.paused_signers.values()))

    @property
    def paused_signers(self) -> Mapping[Address, str]:
        """Who may not send, with why."""
        return {signer: rails.paused for signer, rails in self.by_signer.items() if rails.paused is not None}

    @property
    def killed(self) -> bool:
        """Whether what is on its way is to be cancelled. A person kills a chain, or everything: all of its signers."""
        return any(rails.killed for rails in self.by_signer.values())

    @property
    def lost_wad(self) -> int:
        """Of all signers within the last day; see `Rails.lost_wad`."""
        return sum(rails.lost_wad for rails in self.by_signer.values())

    async def others_on_their_way(self, chain_id: int, now_s: int) -> Sequence[Address]:
        """Signers that are none of these any more, of whom something may still be mined on the chain."""
        spending = await self.ledger.spending(now_s)
        there = dict.fromkeys(each.signer for each in spending.on_their_way if each.chain_id == chain_id)
        return [signer for signer in there if signer not in self.by_signer]

    async def look(self, head: BlockRef) -> None:
        for rails in self.by_signer.values():
            await rails.look(head)

    async def judge(self, order: Order, head: BlockRef) -> Skip | None:
        """Why an order may not be sent. What pauses its signer may pause the others, too."""
        before = self.unpaused
        answer = await self.by_signer[order.signer].judge(order, head)
        if self.unpaused != before:
            await self.look(head)
        return answer

    def release(self, order: Order) -> None:
        """Nothing of it was sent."""
        self.by_signer[order.signer].release(order)

    async def refresh(self, head: BlockRef) -> None:
        for rails in self.by_signer.values():
            await rails.refresh(head)
