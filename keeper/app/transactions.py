"""`keeper tx speedup | cancel`, put together from the rooms: one transaction of one chain, replaced on its own nonce."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

from keeper.app.ground import Ground, reached
from keeper.app.keys import KeyRing
from keeper.app.modes import effective_mode, permit_for
from keeper.app.plan import RunPlan, chain_named
from keeper.app.replacing import replacing_for
from keeper.app.signers import Opened, accounts_of, signers_of
from keeper.core.errors import ConfigError
from keeper.core.units import Address, to_hex
from keeper.execution.nonces import Remedy
from keeper.execution.replacing import Replaced
from keeper.execution.sender import Sender
from keeper.settings import Settings
from keeper.store import Store
from keeper.telemetry.redact import Redactor


async def replace_transaction(
    settings: Settings, chain: str | None, nonce: int, remedy: Remedy, signer: Address | None = None
) -> Replaced:
    """Looks where everything on its way stands, and replaces what is open at the nonce. Journaled. `signer`: whose nonce, where
    several have something open there.

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
        signers = await signers_of(await stack.enter_async_context(KeyRing(Redactor())), ground)
        opened, sender = await _whose(nonce, signer, signers, ground, store)
        replacing = replacing_for(name, ground.chain, opened.settings, ground.client, ground.block_s, sender, store)
        return await replacing.replace(nonce, remedy, ground.head)


async def _whose(
    nonce: int, wanted: Address | None, signers: Sequence[Opened], ground: Ground, store: Store
) -> tuple[Opened, Sender]:
    """The one signer that has something open at the nonce, or any where none has."""
    found: list[tuple[Opened, Sender]] = []
    for opened in signers:
        if wanted in (None, opened.address):
            sender = Sender(ground.rpc, opened.key, store, ground.chain_id, accounts=accounts_of(ground))
            await sender.start(ground.head)
            await sender.prepare(ground.head)
            found.append((opened, sender))
    if not found:
        raise ConfigError(f"--signer: {', '.join(to_hex(each.address) for each in signers)} sign here, and nobody else")
    open_there = [each for each in found if each[1].following.open_at(nonce)]
    if len(open_there) > 1:
        whose = ", ".join(to_hex(opened.address) for opened, _ in open_there)
        raise ConfigError(f"nonce {nonce} is open for {whose}: name one of them with --signer")
    return (open_there or found)[0]
