"""Where an ERC-20 keeps a balance or an allowance: found by access list, believed only when a write shows up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from eth_utils.crypto import keccak

from keeper.core.block import BlockRef
from keeper.core.errors import ChainError, MethodUnavailable, RpcFailure
from keeper.core.hexdata import decode_address, decode_hash, decode_list, decode_object
from keeper.core.units import Address, Hash32, to_hex
from keeper.execution.rpc import Rpc
from keeper.execution.tokens import encode_allowance, encode_balance_of
from keeper.execution.wire import pinned

ERC20_NAMESPACE = int("52c63247e1f47db19d5ce0460030c497f067ca4cebf71ba98eeadabe20bace00", 16)
"""Base of OpenZeppelin's namespaced ERC-20 storage (ERC-7201 "openzeppelin.storage.ERC20")."""

KNOWN_BASES = (*range(256), ERC20_NAMESPACE, ERC20_NAMESPACE + 1)

MARKER = 2**80 + 0x5EED
"""Written to prove a slot; small enough for tokens that pack a balance into 96 bits."""

MAX_CANDIDATES = 64


@dataclass(frozen=True, slots=True)
class Slot:
    """One word of storage. The contract may be another one than the token."""

    contract: Address
    key: Hash32


@dataclass(frozen=True, slots=True)
class Layout:
    """A mapping (nested for allowances) from accounts to words."""

    contract: Address
    base: int
    key_first: bool
    """Solidity hashes key then base; Vyper base then key."""

    def slot(self, path: Sequence[Address]) -> Slot:
        return Slot(self.contract, mapping_key(self.base, path, self.key_first))


def mapping_key(base: int, path: Sequence[Address], key_first: bool) -> Hash32:
    """The storage key of ``mapping[path[0]][path[1]]…`` declared at slot `base`."""
    word = base.to_bytes(32, "big")
    for account in path:
        key = account.rjust(32, b"\0")
        word = keccak(key + word if key_first else word + key)
    return Hash32(word)


def derive_layout(slot: Slot, path: Sequence[Address]) -> Layout | None:
    """The mapping that puts `path` at `slot`, when it is declared at a base that we try."""
    for base in KNOWN_BASES:
        for key_first in (True, False):
            if mapping_key(base, path, key_first) == slot.key:
                return Layout(slot.contract, base, key_first)
    return None


@dataclass
class SlotFinder:
    """Finds and remembers slots. None means that no candidate gave back what was written: the token packs, scales or
    computes what it reports, and nobody can deal it to an account."""

    rpc: Rpc
    _layouts: dict[tuple[Address, int], Layout] = field(default_factory=dict)
    _slots: dict[tuple[Address, tuple[Address, ...]], Slot | None] = field(default_factory=dict)

    async def balance(self, token: Address, account: Address, block: BlockRef) -> Slot | None:
        return await self._find(token, (account,), encode_balance_of, block)

    async def allowance(self, token: Address, owner: Address, spender: Address, block: BlockRef) -> Slot | None:
        return await self._find(token, (owner, spender), encode_allowance, block)

    async def _find(
        self, token: Address, path: tuple[Address, ...], encode: Callable[..., bytes], block: BlockRef
    ) -> Slot | None:
        if layout := self._layouts.get((token, len(path))):
            return layout.slot(path)
        if (token, path) in self._slots:
            return self._slots[token, path]
        call = {"to": to_hex(token), "data": to_hex(encode(*path))}
        slot = await self._first_proven(await self._candidates(call, block), call, block)
        self._slots[token, path] = slot
        if slot and (layout := derive_layout(slot, path)):
            self._layouts[token, len(path)] = layout
        return slot

    async def _candidates(self, call: dict[str, str], block: BlockRef) -> list[Slot]:
        try:
            answer = await self.rpc.request("eth_createAccessList", [call, pinned(block)])
        except (MethodUnavailable, RpcFailure):
            return []
        entries = decode_list(decode_object(answer, "access list answer").get("accessList"), "access list")
        found = [
            Slot(decode_address(entry.get("address"), "access list address"), decode_hash(key, "storage key"))
            for entry in (decode_object(entry, "access list entry") for entry in entries)
            for key in decode_list(entry.get("storageKeys"), "storage keys")
        ]
        return found[:MAX_CANDIDATES]

    async def _first_proven(self, candidates: Sequence[Slot], call: dict[str, str], block: BlockRef) -> Slot | None:
        """The last words touched are the likely ones: a proxy reads its implementation first."""
        ordered = list(reversed(candidates))
        written = to_hex(MARKER.to_bytes(32, "big"))
        answers = await self.rpc.batch(
            [
                ("eth_call", [call, pinned(block), {to_hex(slot.contract): {"stateDiff": {to_hex(slot.key): written}}}])
                for slot in ordered
            ]
        )
        for slot, answer in zip(ordered, answers, strict=True):
            if answer == written:
                return slot
            if isinstance(answer, ChainError) and not isinstance(answer, RpcFailure | MethodUnavailable):
                raise answer
        return None
