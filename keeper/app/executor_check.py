"""Whether the configured executor is ours, whose it must be, and set up for what it is needed for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from keeper.assets import read_text
from keeper.chain.client import ChainClient
from keeper.chain.deployed import first_code_block
from keeper.chain.endpoints import Endpoints
from keeper.core.block import BlockRef
from keeper.core.errors import ConfigError
from keeper.core.executor import ExecutorRole
from keeper.core.units import Address, address_from_hex, to_hex
from keeper.execution.executor_state import (
    ExecutorIdentity,
    ExecutorState,
    identify,
    read_state,
    require_owner,
    require_roles,
)
from keeper.settings import Chain as ChainSettings

ARTIFACT = "contracts_abi/executor/Executor.json"


def creation_code() -> bytes:
    """Of our executor; the constructor's arguments follow it."""
    return _code("bytecode")


def runtime_code() -> bytes:
    """Of our executor once it is deployed; what the constructor leaves follows it."""
    return _code("runtime")


def _code(name: str) -> bytes:
    return bytes.fromhex(json.loads(read_text(ARTIFACT))[name].removeprefix("0x"))


async def configured_identity(name: str, chain: ChainSettings, rpc: Endpoints, head: BlockRef) -> ExecutorIdentity:
    """What stands at the configured address. Raises `ConfigError` unless it is ours."""
    if chain.executor is None:
        raise ConfigError(
            f"chains.{name}.executor is missing: write the executor's address there, or deploy one with"
            " `keeper executor deploy`"
        )
    try:
        return await identify(rpc, address_from_hex(chain.executor), runtime_code(), head)
    except ConfigError as error:
        raise ConfigError(f"chains.{name}.executor: {error}") from None


async def usable_executor(
    name: str,
    chain: ChainSettings,
    rpc: Endpoints,
    client: ChainClient,
    head: BlockRef,
    operators: Sequence[Address],
    needed: Mapping[Address, ExecutorRole],
) -> ExecutorState:
    """The configured executor, for operators who will have it call these. Raises `ConfigError` when its code is another's,
    when somebody owns it who is neither the first operator nor the configured owner, or when the owner has not allowed all of
    it to each. Without an operator it must have one."""
    identity = await configured_identity(name, chain, rpc, head)
    owners = operators[:1] if chain.executor_owner is None else [address_from_hex(chain.executor_owner)]
    try:
        for owner in owners:
            require_owner(identity, owner)
        first_block = await first_code_block(rpc, identity.address, head)
        state = await read_state(client, identity, (), first_block, head)
        if not operators and not state.operators:
            raise ConfigError(
                f"executor {to_hex(identity.address)} has no operator: `keeper executor allow ADDRESS --as operator`"
            )
        for operator in operators or state.operators[:1]:
            require_roles(state, operator, needed)
    except ConfigError as error:
        raise ConfigError(f"chains.{name}.executor: {error}") from None
    return state
