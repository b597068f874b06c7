"""The way of a chain's orders past the public mempool, where relays are configured."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack

from keeper.app.keys import KeyRing
from keeper.chain.jsonrpc import JsonRpc
from keeper.core import event_build
from keeper.core.errors import ConfigError
from keeper.core.events import Severity
from keeper.core.units import Address, to_hex
from keeper.execution.relays.relay import Relay, RelayMethod
from keeper.execution.relays.route import Halted, PrivateRoute, RelayTerms
from keeper.execution.rpc import Rpc
from keeper.ports import Journal
from keeper.settings import Chain

TIMEOUT_S = 3.0
"""A relay that takes longer is left behind: the block is built without it."""


async def private_routes(
    name: str,
    chain: Chain,
    keys: KeyRing,
    halted: Mapping[Address, Halted],
    node: Rpc,
    journal: Journal,
    stack: AsyncExitStack,
    head_number: int,
) -> Mapping[Address, PrivateRoute]:
    """One for each signer of whom `halted` can say whether it is, through the same relays; none where no relays are configured.
    They go on offering until the stack is left. Raises `ConfigError`."""
    relays = chain.relays
    if relays is None:
        return {}
    try:
        key = keys.reputation(relays)
    except ConfigError as error:
        raise ConfigError(f"chains.{name}.relays: {error}") from None
    if key.address in halted:
        own = to_hex(key.address)
        raise ConfigError(
            f"chains.{name}.relays.keystore holds the signer's own key {own}: make another one, without money"
        )

    async def told(text: str) -> None:
        await journal.record([event_build.alert(name, "relay", text, severity=Severity.WARNING)])

    targets = []
    for url in relays.urls:
        rpc = JsonRpc(url.get_secret_value(), timeout_s=TIMEOUT_S, headers_for=key.headers)
        await stack.enter_async_context(rpc)
        targets.append(Relay(rpc, rpc.label, RelayMethod(relays.method), key.address))
    terms = RelayTerms(relays.blocks_of(chain.inclusion_blocks), relays.fallback == "public")
    return {
        signer: await stack.enter_async_context(PrivateRoute(node, targets, terms, told, head_number, is_halted))
        for signer, is_halted in halted.items()
    }
