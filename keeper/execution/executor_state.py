"""What stands at an executor's address: our code or another, whose it is, what it may do, what it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eth_utils.crypto import keccak

from keeper.core.block import BlockRef, Call, CallResult, Log
from keeper.core.book_events import LogFilter
from keeper.core.errors import ConfigError, MalformedResponse
from keeper.core.executor import ExecutorRole
from keeper.core.hexdata import decode_bytes
from keeper.core.units import Address, Hash32, to_hex
from keeper.execution import executor_calls as calls
from keeper.execution.rpc import Rpc, World
from keeper.execution.tokens import decode_amount_raw, encode_balance_of
from keeper.execution.wire import pinned

IMMUTABLES_BYTES = 64
"""After the code come the owner and the recipient, as the constructor left them."""


@dataclass(frozen=True, slots=True)
class ExecutorIdentity:
    """An executor whose code is ours."""

    address: Address
    owner: Address
    recipient: Address
    code_hash: Hash32
    """keccak-256 of the code without owner and recipient."""


@dataclass(frozen=True, slots=True)
class ExecutorState:
    """All that can be set, and what it holds, at one block."""

    identity: ExecutorIdentity
    block: BlockRef
    operators: tuple[Address, ...]
    roles: Mapping[Address, ExecutorRole]
    """Of everybody that has one."""
    loss_left_raw: Mapping[Address, int]
    """By token, where it is not 0."""
    balances_raw: Mapping[Address, int | None]
    """By token; None where a token does not say."""


def code_hash_of(runtime: bytes) -> Hash32:
    return Hash32(keccak(runtime))


def recognise(executor: Address, code: bytes, runtime: bytes) -> ExecutorIdentity:
    """Raises `ConfigError` in one line for anything but our own code. `runtime`: that code without what the constructor
    leaves behind it."""
    where = to_hex(executor)
    if not code:
        raise ConfigError(
            f"nothing is deployed at {where}: correct the executor's address, or deploy one with `keeper executor deploy`"
        )
    body, immutables = code[:-IMMUTABLES_BYTES], code[-IMMUTABLES_BYTES:]
    if body != runtime or immutables[:12] != bytes(12) or immutables[32:44] != bytes(12):
        raise ConfigError(
            f"what stands at {where} is no executor of this keeper: its code hash is {to_hex(keccak(body))} and not"
            f" {to_hex(code_hash_of(runtime))}; correct the address, or deploy one with `keeper executor deploy`"
        )
    owner, recipient = Address(immutables[12:32]), Address(immutables[44:])
    return ExecutorIdentity(executor, owner, recipient, code_hash_of(runtime))


async def identify(rpc: Rpc, executor: Address, runtime: bytes, block: BlockRef) -> ExecutorIdentity:
    """Raises `ConfigError` when it is not ours, `ChainError`."""
    answer = await rpc.request("eth_getCode", [to_hex(executor), pinned(block)])
    return recognise(executor, decode_bytes(answer, "code of the executor"), runtime)


def require_owner(identity: ExecutorIdentity, owner: Address) -> None:
    """Raises `ConfigError` when somebody else owns it."""
    if identity.owner != owner:
        raise ConfigError(
            f"executor {to_hex(identity.address)} is owned by {to_hex(identity.owner)} and not by {to_hex(owner)}:"
            " correct the address, or say whose it is with executor_owner; its owner's key is needed to set it up"
        )


def require_roles(state: ExecutorState, operator: Address, needed: Mapping[Address, ExecutorRole]) -> None:
    """Raises `ConfigError` naming the first thing that the owner has not allowed yet. `needed`: what each target is to be
    called as."""
    executor = to_hex(state.identity.address)
    if operator not in state.operators:
        raise ConfigError(
            f"{to_hex(operator)} is none of the operators of executor {executor}: `keeper executor allow"
            f" {to_hex(operator)} --as operator`, with the owner's key"
        )
    for target, role in needed.items():
        missing = role & ~state.roles.get(target, ExecutorRole(0))
        for each in ExecutorRole:
            if each in missing:
                word = ROLE_WORDS[each]
                raise ConfigError(
                    f"{word} {to_hex(target)} is not on the list of executor {executor}: `keeper executor allow"
                    f" {to_hex(target)} --as {word}`, with the owner's key"
                )


ROLE_WORDS = {
    ExecutorRole.MARKET: "market",
    ExecutorRole.MORPHO: "morpho",
    ExecutorRole.POOL_V3: "pool",
    ExecutorRole.PAIR_V2: "pair",
    ExecutorRole.ROUTER: "router",
}
"""As people say them."""


async def read_state(
    world: World, identity: ExecutorIdentity, tokens: Sequence[Address], first_block: int, block: BlockRef
) -> ExecutorState:
    """Whoever was ever named by the contract's logs since `first_block`, asked for as of `block`. Raises `ChainError`."""
    operators, roles, losses = calls.decode_settings_logs(await _settings_logs(world, identity, first_block, block))
    executor = identity.address
    questions = [
        *(Call(executor, calls.OPERATORS + each.rjust(32, b"\0")) for each in operators),
        *(Call(executor, calls.ALLOWED + each.rjust(32, b"\0")) for each in roles),
        *(Call(executor, calls.LOSS_LEFT + each.rjust(32, b"\0")) for each in losses),
        *(Call(token, encode_balance_of(executor)) for token in tokens),
    ]
    answers = iter(await world.read(questions, block)) if questions else iter(())
    may = {each: decode_amount_raw(next(answers), "an operator") for each in operators}
    may_be = {each: ExecutorRole(decode_amount_raw(next(answers), "a role")) for each in roles}
    may_lose = {each: decode_amount_raw(next(answers), "a loss that is left") for each in losses}
    return ExecutorState(
        identity=identity,
        block=block,
        operators=tuple(each for each, allowed in may.items() if allowed),
        roles={each: role for each, role in may_be.items() if role},
        loss_left_raw={each: amount_raw for each, amount_raw in may_lose.items() if amount_raw},
        balances_raw={token: _balance_raw(next(answers)) for token in tokens},
    )


async def _settings_logs(world: World, identity: ExecutorIdentity, first_block: int, block: BlockRef) -> list[Log]:
    topics = (calls.OPERATOR_SET_TOPIC, calls.ALLOWED_TOPIC, calls.LOSS_LEFT_SET_TOPIC)
    found: list[Log] = []
    async for _, logs in world.logs(LogFilter((identity.address,), topics), first_block, block):
        found += logs
    return found


def _balance_raw(answer: CallResult) -> int | None:
    """A token that is broken must not hide the others."""
    try:
        return decode_amount_raw(answer, "a balance")
    except MalformedResponse:
        return None
