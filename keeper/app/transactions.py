"""`keeper tx speedup | cancel`, put together from the rooms: one transaction of one chain, replaced on its own nonce."""

from __future__ import annotations

from contextlib import AsyncExitStack

from keeper.app.ground import reached
from keeper.app.keys import KeyRing
from keeper.app.modes import accounts_of, effective_mode, permit_for, signer_of
from keeper.app.plan import RunPlan, chain_named
from keeper.app.replacing import replacing_for
from keeper.core.errors import ConfigError
from keeper.execution.nonces import Remedy
from keeper.execution.replacing import Replaced
from keeper.execution.sender import Sender
from keeper.settings import Settings
from keeper.store import Store
from keeper.telemetry.redact import Redactor


async def replace_transaction(settings: Settings, chain: str | None, nonce: int, remedy: Remedy) -> Replaced:
    """Looks where everything on its way stands, and replaces what is open at the nonce. Journaled.

    Raises `ConfigError` unless the configuration says live, `StoreError` while a keeper holds the store, `Refused` when
    nothing of ours is open at the nonce, or nothing may be sent."""
    effective_mode(settings, RunPlan(once=True, live=True, fork=False))
    name = chain_named(settings, chain)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(Store.open(settings.store))
        ground = await stack.enter_async_context(reached(name, settings, settings.chains[name]))
        if remedy is Remedy.SPEED_UP and ground.chain.relays is not None:
            raise ConfigError(
                f"chains.{name}.relays: sent again in public, a private order would be shown to everybody"
            )
        await permit_for(ground)
        _, signer = await signer_of(await stack.enter_async_context(KeyRing(Redactor())), ground)
        sender = Sender(ground.rpc, signer, store, ground.chain_id, accounts=accounts_of(ground))
        await sender.start(ground.head)
        await sender.prepare(ground.head)
        replacing = replacing_for(name, ground.chain, ground.client, ground.block_s, sender, store)
        return await replacing.replace(nonce, remedy, ground.head)
