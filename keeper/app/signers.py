"""The signers of a live chain: their keys, each behind the policy for what a liquidator sends, and what each may spend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from keeper.app.ground import Ground
from keeper.app.keys import KeyRing
from keeper.app.parts import whole_tokens_raw
from keeper.app.terms import fee_cap_wei
from keeper.core.errors import ConfigError
from keeper.core.units import Address, to_hex
from keeper.execution.executor_calls import EXECUTE
from keeper.execution.signing.policy import GuardedSigner, SigningPolicy
from keeper.execution.tokens import read_decimals
from keeper.protocols.aave_v3.selectors import LIQUIDATION_CALL
from keeper.settings.signing import Signer as SignerSettings

LIQUIDATION_GAS_CAP = 10_000_000


@dataclass(frozen=True, slots=True)
class Opened:
    """One signer whose key answers."""

    where: str
    """Its table in the configuration."""
    settings: SignerSettings
    key: GuardedSigner

    @property
    def address(self) -> Address:
        return self.key.address


async def signers_of(keys: KeyRing, ground: Ground) -> Sequence[Opened]:
    """Everyone configured, in order. Raises `ConfigError`, for two with one key, too."""
    tables = ground.chain.signing
    if not tables:
        raise ConfigError(
            f"chains.{ground.name}.signer is missing: live mode needs a keystore, a remote_url or an aws_kms_key_id"
        )
    policy = _policy(ground)
    opened: dict[Address, Opened] = {}
    for place, settings in tables.items():
        where = f"chains.{ground.name}.{place}"
        try:
            key = await keys.open(settings)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        if key.address in opened:
            other = opened[key.address].where
            raise ConfigError(
                f"{where} has the key of {other}, {to_hex(key.address)}: each signer needs one of its own"
            )
        opened[key.address] = Opened(where, settings, GuardedSigner(key, policy))
    return list(opened.values())


def accounts_of(ground: Ground) -> tuple[Address, ...]:
    """Whose tokens are ours besides the signers'."""
    executor = ground.chain.executor_address
    return () if executor is None else (executor,)


def _policy(ground: Ground) -> SigningPolicy:
    """With an executor its `execute` alone."""
    executor = ground.chain.executor_address
    approvals: dict[Address, frozenset[Address]] = {}
    if ground.chain.carried_by_executor and executor is not None:
        calls = {executor: frozenset({EXECUTE})}
    else:
        calls = {market.pool: frozenset({LIQUIDATION_CALL}) for market in ground.markets}
        for market in ground.markets:
            for reserve in market.reserves:
                approvals[reserve.asset] = approvals.get(reserve.asset, frozenset()) | {market.pool}
    return SigningPolicy(
        chain_id=ground.chain_id,
        calls=calls,
        approvals=approvals,
        max_fee_cap_wei=fee_cap_wei(ground.chain),
        gas_limit_cap=LIQUIDATION_GAS_CAP,
    )


async def bounds_raw(signer: Opened, ground: Ground) -> Mapping[Address, int]:
    """The configured standing allowance of every asset, 0 for one that does not say its decimals; empty: as much as is held
    at start."""
    bound = signer.settings.allowance_bound
    if bound is None:
        return {}
    decimals = await token_decimals(ground)
    silent = {reserve.asset: 0 for market in ground.markets for reserve in market.reserves}
    where = f"{signer.where}.allowance_bound"
    return silent | {asset: whole_tokens_raw(bound, places, where) for asset, places in decimals.items()}


async def token_decimals(ground: Ground) -> Mapping[Address, int]:
    """Decimals of every listed asset whose token says them."""
    assets = list(dict.fromkeys(reserve.asset for market in ground.markets for reserve in market.reserves))
    return await read_decimals(ground.client.read, assets, ground.head)
