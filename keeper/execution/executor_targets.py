"""Whether an address is what the owner is about to allow it as, by what it answers: a typing error must not become a role."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from keeper.core.block import BlockRef, Call, CallResult
from keeper.core.errors import ConfigError
from keeper.core.executor import ExecutorRole
from keeper.core.hexdata import decode_bytes
from keeper.core.units import Address, to_hex
from keeper.execution.executor_state import ROLE_WORDS
from keeper.execution.rpc import Rpc
from keeper.execution.tokens import Read, encode_allowance
from keeper.execution.wire import pinned

TOKEN0 = bytes.fromhex("0dfe1681")
TOKEN1 = bytes.fromhex("d21220a7")
FEE = bytes.fromhex("ddca3f43")
GET_RESERVES = bytes.fromhex("0902f1ac")
IS_IRM_ENABLED = bytes.fromhex("f2b863ce")
"""Morpho Blue's, of the zero address: always answered."""
_NOBODY = Address(bytes(20))
_MARKS: dict[ExecutorRole, tuple[tuple[bytes, int], ...]] = {
    ExecutorRole.POOL_V3: ((TOKEN0, 32), (TOKEN1, 32), (FEE, 32)),
    ExecutorRole.PAIR_V2: ((TOKEN0, 32), (TOKEN1, 32), (GET_RESERVES, 96)),
    ExecutorRole.MORPHO: ((IS_IRM_ENABLED + bytes(32), 32),),
}
"""What such a contract answers, and how long each answer is."""


async def check_target(
    rpc: Rpc, read: Read, target: Address, roles: ExecutorRole, pools: Collection[Address], block: BlockRef
) -> None:
    """Raises `ConfigError` when `target` does not look like what it is to be. `pools`: of the configured markets."""
    code = await rpc.request("eth_getCode", [to_hex(target), pinned(block)])
    if not decode_bytes(code, "code of a target"):
        raise ConfigError(f"there is no contract at {to_hex(target)}: correct the address")
    if ExecutorRole.MARKET in roles and target not in pools:
        known = ", ".join(to_hex(pool) for pool in pools)
        raise ConfigError(f"{to_hex(target)} is not the pool of a configured market (those are {known})")
    for role, marks in _MARKS.items():
        if role in roles and not _all_answered(await read([Call(target, each) for each, _ in marks], block), marks):
            raise ConfigError(f"{to_hex(target)} does not answer as a {ROLE_WORDS[role]} would: correct the address")
    if ExecutorRole.ROUTER in roles:
        await _check_router(read, target, roles, pools, block)


async def _check_router(
    read: Read, target: Address, roles: ExecutorRole, pools: Collection[Address], block: BlockRef
) -> None:
    """A router is called with an operator's own calldata: with a token or a market that would be all there is."""
    if roles != ExecutorRole.ROUTER:
        raise ConfigError(f"{to_hex(target)} cannot be a router and something else: choose one")
    if target in pools:
        raise ConfigError(
            f"{to_hex(target)} is a market: as a router operators could take out what the executor supplied"
        )
    [answer] = await read([Call(target, encode_allowance(_NOBODY, _NOBODY))], block)
    if answer.ok and len(answer.returndata) == 32:
        raise ConfigError(f"{to_hex(target)} is a token: as a router operators could take all that the executor holds")


def _all_answered(answers: Sequence[CallResult], marks: Sequence[tuple[bytes, int]]) -> bool:
    return all(
        answer.ok and len(answer.returndata) == length for answer, (_, length) in zip(answers, marks, strict=True)
    )
