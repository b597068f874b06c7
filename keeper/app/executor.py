"""`keeper executor`, put together from the rooms: one chain, its executor, and the owner's orders to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from eth_utils.crypto import keccak

from keeper.app.executor_check import configured_identity, creation_code, runtime_code
from keeper.app.ground import Ground, NoneTrusted, reached
from keeper.app.keys import KeyRing, known_address
from keeper.app.modes import effective_mode, permit_for
from keeper.app.plan import RunPlan, chain_named
from keeper.app.signers import accounts_of
from keeper.app.terms import fee_cap_wei
from keeper.chain.deployed import first_code_block
from keeper.core.block import Call
from keeper.core.errors import ConfigError
from keeper.core.executor import ExecutorRole
from keeper.core.units import UINT256_MAX, Address, Hash32, address_from_hex, to_hex
from keeper.execution import executor_calls as calls
from keeper.execution.executor_orders import (
    OwnerOrder,
    created_address,
    looked_at,
    require_gas_money,
    sent_and_mined,
)
from keeper.execution.executor_state import (
    ROLE_WORDS,
    ExecutorIdentity,
    ExecutorState,
    identify,
    read_state,
    require_owner,
)
from keeper.execution.executor_targets import check_target
from keeper.execution.sender import Sender
from keeper.execution.signing.policy import GuardedSigner, SigningPolicy
from keeper.execution.signing.signer import NO_TARGET
from keeper.execution.tokens import decode_amount_raw, encode_balance_of, read_decimals
from keeper.settings import Settings
from keeper.store import Store
from keeper.telemetry.redact import Redactor


@dataclass(frozen=True, slots=True)
class Ordered:
    """What was ordered, or would be: in words, what it may cost, and what became of it."""

    chain: str
    words: str
    most_wei: int
    gas_limit: int
    transaction: Hash32 | None = None
    """None: nothing was sent."""
    block_number: int | None = None
    cost_wei: int | None = None
    executor: Address | None = None
    """Of a deployment, once it stands."""
    code_hash: Hash32 | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """An executor with names for what it knows."""

    chain: str
    state: ExecutorState
    names: Mapping[Address, str]
    decimals: Mapping[Address, int]
    expected_owner: Address | None
    """By the configuration, as far as that shows."""


async def show(settings: Settings, chain: str | None) -> Shown:
    """Raises `ConfigError` when it is not ours."""
    async with _on(settings, chain) as ground:
        identity = await _identity(ground)
        first_block = await first_code_block(ground.rpc, identity.address, ground.head)
        names = _names(ground)
        tokens = [
            token for market in ground.markets for each in market.reserves for token in (each.asset, each.a_token)
        ]
        state = await read_state(ground.client, identity, list(dict.fromkeys(tokens)), first_block, ground.head)
        decimals = await read_decimals(ground.client.read, tokens, ground.head)
        return Shown(ground.name, state, names, decimals, _expected_owner(ground))


async def deploy(
    settings: Settings, chain: str | None, owner: Address | None, recipient: Address | None, *, live: bool
) -> Ordered:
    """A new executor; both roles are the signer's unless named."""
    async with _on(settings, chain, live=live) as ground:
        signer = _signer(ground, owner)
        owner = owner or signer
        code = creation_code() + calls.encode_constructor(owner, recipient or owner)
        words = f"deploy an executor owned by {to_hex(owner)} that pays out to {to_hex(recipient or owner)}"
        return await _ordered(ground, signer, Call(NO_TARGET, code), words, live=live)


async def allow(
    settings: Settings,
    chain: str | None,
    target: Address,
    roles: ExecutorRole | None,
    operator: bool | None,
    *,
    live: bool,
) -> Ordered:
    """`roles`: what the target may be called as from now on (none of them: nothing); or whether it is an operator."""
    async with _on(settings, chain, live=live) as ground:
        identity = await _identity(ground)
        if target == identity.address or not any(target):
            raise ConfigError(f"{to_hex(target)} cannot be given a role: correct the address")
        if roles is None:
            assert operator is not None, "one of the two is given"
            call = calls.encode_set_operator(identity.address, target, may=operator)
            words = f"{'make' if operator else 'no longer have'} {to_hex(target)} an operator"
        else:
            if roles:
                pools = [market.pool for market in ground.markets]
                await check_target(ground.rpc, ground.client.read, target, roles, pools, ground.head)
            call = calls.encode_allow(identity.address, target, roles)
            words = f"allow {to_hex(target)} as {role_words(roles)}"
        return await _by_owner(ground, identity, call, words, live=live)


async def may_lose(settings: Settings, chain: str | None, token: str, whole: str, *, live: bool) -> Ordered:
    """What operators may lose of a token, all transactions together, from now on."""
    async with _on(settings, chain, live=live) as ground:
        identity = await _identity(ground)
        asset, amount_raw = await _amount(ground, token, whole)
        call = calls.encode_set_loss_left(identity.address, asset, amount_raw)
        words = f"let operators lose {whole} {token} in all"
        return await _by_owner(ground, identity, call, words, live=live)


async def withdraw(settings: Settings, chain: str | None, token: str, whole: str | None, *, live: bool) -> Ordered:
    """To the recipient; None: all there is."""
    async with _on(settings, chain, live=live) as ground:
        identity = await _identity(ground)
        asset, amount_raw = await _amount(ground, token, whole)
        held_raw = await _held_raw(ground, identity, asset)
        if whole is None:
            amount_raw = held_raw
        if held_raw == 0 or held_raw < amount_raw:
            raise ConfigError(f"the executor holds {held_raw} raw units of {token}: there is not so much to withdraw")
        call = calls.encode_withdraw(identity.address, asset, None if whole is None else amount_raw)
        words = f"withdraw {whole or 'all'} {token} to {to_hex(identity.recipient)}"
        return await _by_owner(ground, identity, call, words, live=live)


def role_words(roles: ExecutorRole) -> str:
    return ", ".join(word for role, word in ROLE_WORDS.items() if role in roles) or "nothing"


@asynccontextmanager
async def _on(settings: Settings, chain: str | None, *, live: bool = False) -> AsyncIterator[Ground]:
    """The named chain, or the only one. Raises `ConfigError`."""
    if live:
        effective_mode(settings, RunPlan(once=True, live=True, fork=False))
    name = chain_named(settings, chain)
    try:
        async with reached(name, settings, settings.chains[name]) as ground:
            yield ground
    except NoneTrusted as refused:
        raise ConfigError(f"chains.{name}: {refused}") from None


async def _identity(ground: Ground) -> ExecutorIdentity:
    return await configured_identity(ground.name, ground.chain, ground.rpc, ground.head)


def _expected_owner(ground: Ground) -> Address | None:
    if ground.chain.executor_owner is not None:
        return address_from_hex(ground.chain.executor_owner)
    return _configured(ground)


def _configured(ground: Ground, owner: Address | None = None) -> Address | None:
    """Of the signers the owner, if it is one of them, else the first; as far as that shows without unlocking its key."""
    known = [known_address(each) for each in ground.chain.signing.values()]
    return owner if owner in known else known[0] if known else None


def _signer(ground: Ground, otherwise: Address | None = None) -> Address:
    """Whose key is configured, as far as that shows without unlocking it."""
    signer = _configured(ground, otherwise) or otherwise
    if signer is None:
        raise ConfigError(
            f"chains.{ground.name}.signer: whose key it is does not show; write its address beside it (signer.address)"
        )
    return signer


async def _by_owner(ground: Ground, identity: ExecutorIdentity, call: Call, words: str, *, live: bool) -> Ordered:
    signer = _signer(ground, identity.owner)
    require_owner(identity, signer)
    return await _ordered(ground, signer, call, words, live=live)


async def _ordered(ground: Ground, signer: Address, call: Call, words: str, *, live: bool) -> Ordered:
    order = await looked_at(ground.rpc, signer, call, await ground.client.fees(), ground.head)
    await require_gas_money(ground.rpc, signer, order, ground.head)
    if not live:
        return Ordered(ground.name, words, order.most_wei, order.gas_limit)
    return await _sent(ground, signer, order, words)


async def _sent(ground: Ground, signer: Address, order: OwnerOrder, words: str) -> Ordered:
    """Through the store, like everything that is sent: a keeper that runs on it holds it, and this is refused."""
    tables = ground.chain.signing
    if not tables:
        raise ConfigError(f"chains.{ground.name}.signer is missing: nobody can sign")
    place = next((place for place, each in tables.items() if known_address(each) == signer), next(iter(tables)))
    await permit_for(ground)
    redactor = Redactor()
    async with Store.open(ground.settings.store) as store, KeyRing(redactor) as keys:
        key = await keys.open(tables[place])
        if key.address != signer:
            raise ConfigError(
                f"chains.{ground.name}.{place}: the key is {to_hex(key.address)}'s, not {to_hex(signer)}'s"
            )
        sender = Sender(
            ground.rpc,
            GuardedSigner(key, owner_policy(ground.chain_id, fee_cap_wei(ground.chain), order.call)),
            store,
            ground.chain_id,
            accounts=accounts_of(ground),
        )
        await sender.start(ground.head)
        followed = await sent_and_mined(sender, order, ground.client.heads(), ground.head)
    receipt = followed.receipt
    assert receipt is not None, "what is mined has a receipt"
    executor, code_hash = None, None
    if order.call.target == NO_TARGET:
        head = await ground.client.latest()
        created = created_address(signer, followed.intent.nonce)
        identity = await identify(ground.rpc, created, runtime_code(), head)
        executor, code_hash = created, identity.code_hash
    return Ordered(
        ground.name,
        words,
        order.most_wei,
        order.gas_limit,
        followed.intent.transaction_hash,
        receipt.block_number,
        receipt.cost_wei,
        executor,
        code_hash,
    )


def owner_policy(chain_id: int, max_fee_cap_wei: int, call: Call) -> SigningPolicy:
    """Exactly this order's kind, and nothing else: the owner's functions of this executor, or this very creation."""
    creation = call.target == NO_TARGET
    return SigningPolicy(
        chain_id=chain_id,
        calls={} if creation else {call.target: calls.OWNER_SELECTORS},
        approvals={},
        max_fee_cap_wei=max_fee_cap_wei,
        creations=frozenset({Hash32(keccak(call.calldata))} if creation else ()),
    )


def _names(ground: Ground) -> dict[Address, str]:
    """What a configuration's markets and tokens are called."""
    names: dict[Address, str] = {}
    for market in ground.markets:
        names[market.pool] = "the market"
        for reserve in market.reserves:
            names[reserve.asset], names[reserve.a_token] = reserve.label, f"a{reserve.label}"
    return names


async def _amount(ground: Ground, token: str, whole: str | None) -> tuple[Address, int]:
    """A token by its symbol or address, and so much of it in raw units (None: all). Raises `ConfigError`."""
    named: Sequence[Address] = [address for address, name in _names(ground).items() if name == token]
    if len(named) > 1:
        raise ConfigError(f"{len(named)} tokens are called {token}: name one by its address")
    asset = named[0] if named else _address(token)
    decimals = (await read_decimals(ground.client.read, [asset], ground.head)).get(asset)
    if decimals is None:
        raise ConfigError(f"{to_hex(asset)} does not say its decimals: it is no token that can be named in whole units")
    return asset, UINT256_MAX if whole is None else whole_raw(whole, decimals)


def whole_raw(whole: str, decimals: int) -> int:
    """Raises `ConfigError` for what is no amount of a token with so many decimals."""
    digits, _, places = whole.partition(".")
    if not (digits + places).isascii() or not (digits + places).isdigit() or len(places) > decimals:
        raise ConfigError(f"{whole!r} is no amount of a token with {decimals} decimals")
    unit: int = 10**decimals
    return int(digits or "0") * unit + int(places.ljust(decimals, "0") or "0")


async def _held_raw(ground: Ground, identity: ExecutorIdentity, asset: Address) -> int:
    [answer] = await ground.client.read([Call(asset, encode_balance_of(identity.address))], ground.head)
    return decode_amount_raw(answer, f"what the executor holds of {to_hex(asset)}")


def _address(text: str) -> Address:
    try:
        return address_from_hex(text)
    except ValueError as error:
        raise ConfigError(f"no token of the configured markets is called so, and it is {error}") from None
