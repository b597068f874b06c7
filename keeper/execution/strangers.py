"""Nonces of our signer that somebody else used: another keeper with the same key, or a person with a wallet.

Whatever we send is written down before its bytes leave. So a nonce that is used, while no transaction of the store with that
nonce is in a block, or may still turn out to be, was used by somebody else. Two who send with one key take each other's nonces
and cancel each other's orders: nothing more is sent until a person has looked.
"""

from __future__ import annotations

from collections.abc import Set

from keeper.core.block import BlockRef
from keeper.core.pauses import Pause, Scope
from keeper.core.units import Address, to_hex
from keeper.execution.following import Following
from keeper.ports import Decisions, Pauses

REASON = "foreign_nonce"


class Strangers:
    """Of one signer on one chain. `start` comes first; `look` follows each time that everything open was looked at.

    `patience_blocks`: for how long a used nonce of which nothing is known must have been seen before it is called foreign;
    a node may answer for a chain that is no more."""

    def __init__(
        self,
        following: Following,
        decisions: Decisions,
        pauses: Pauses,
        chain_id: int,
        signer: Address,
        patience_blocks: int = 2,
    ) -> None:
        self._following = following
        self._decisions = decisions
        self._pauses = pauses
        self._scope = Scope(chain_id, signer)
        self._patience_blocks = patience_blocks
        self._checked = 0
        """Every nonce below it is ours, or was told of, or was used before this store knew the signer."""
        self._since: dict[int, int] = {}

    async def start(self, head: BlockRef) -> None:
        """From the last nonce that the store knows as used by us; a store that knows none takes all used ones for granted.
        What was used by others since then is told at once, unless a person has seen it."""
        assert self._scope.chain_id is not None and self._scope.signer is not None, "one signer on one chain"
        last = await self._decisions.last_mined_nonce(self._scope.chain_id, self._scope.signer)
        used = self._following.used_nonces
        waiting = {intent.nonce for intent in self._following.open_intents}
        self._checked = min([used if last is None else last + 1, used, *waiting])
        await self._tell(self._foreign(used, waiting), head)

    async def look(self, head: BlockRef) -> None:
        """At what was used since the last look."""
        used = self._following.used_nonces
        self._checked = min(self._checked, used)  # a reorg
        waiting = {intent.nonce for intent in self._following.open_intents}
        foreign = self._foreign(used, waiting)
        self._since = {nonce: self._since.get(nonce, head.number) for nonce in foreign}
        ripe = {nonce for nonce, since in self._since.items() if head.number >= since + self._patience_blocks}
        await self._tell(ripe, head)
        unsettled = [nonce for nonce in range(self._checked, used) if nonce in waiting or nonce in foreign - ripe]
        self._checked = min([used, *unsettled])
        self._following.settle_below(self._checked)

    def _foreign(self, used: int, waiting: Set[int]) -> set[int]:
        ours = self._following.nonces_in_blocks
        return {nonce for nonce in range(self._checked, used) if nonce not in ours and nonce not in waiting}

    async def _tell(self, foreign: Set[int], head: BlockRef) -> None:
        """Durable before anything else is sent. The words name the highest nonce, so that what a person has lifted is known
        again after a restart."""
        if not foreign:
            return
        assert self._scope.signer is not None, "one signer on one chain"
        pause = Pause(
            self._scope,
            REASON,
            f"nonce {max(foreign)} of {to_hex(self._scope.signer)} was used by a transaction that is not in this store:"
            " another keeper or a person sends with this key; stop that, then `keeper resume`",
            head.number,
        )
        if not await self._pauses.was_lifted(pause):
            await self._pauses.pause(pause)
