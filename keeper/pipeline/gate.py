"""The one door through which every transaction is written down before it leaves."""

from __future__ import annotations

from collections.abc import Sequence

from keeper.core.intent import Intent, Mark
from keeper.core.units import Address, Hash32
from keeper.pipeline.rails import Rails
from keeper.ports import Intents


class GatedIntents:
    """`keeper.ports.Intents` with the rails in front. The store itself refuses while a pause stands."""

    def __init__(self, intents: Intents, rails: Rails) -> None:
        self._intents = intents
        self._rails = rails

    async def open_intents(self, chain_id: int, signer: Address) -> Sequence[Intent]:
        return await self._intents.open_intents(chain_id, signer)

    async def mined_intents(
        self, chain_id: int, signer: Address, last_blocks: int
    ) -> Sequence[tuple[Intent, int, Hash32]]:
        return await self._intents.mined_intents(chain_id, signer, last_blocks)

    async def dropped_intents(self, chain_id: int, signer: Address, last_blocks: int) -> Sequence[Intent]:
        return await self._intents.dropped_intents(chain_id, signer, last_blocks)

    async def record_intents(self, intents: Sequence[Intent]) -> None:
        """Raises `Refused` where the rails do not allow it."""
        self._rails.check(intents)
        await self._intents.record_intents(intents)

    async def mark_intents(self, marks: Sequence[Mark]) -> None:
        await self._intents.mark_intents(marks)
