"""Blocks, logs and pinned reads as plain values."""

from __future__ import annotations

from dataclasses import dataclass

from keeper.core.units import Address, Hash32


@dataclass(frozen=True, slots=True)
class BlockRef:
    """One block header, as far as we use it."""

    number: int
    hash: Hash32
    parent_hash: Hash32
    timestamp_s: int
    base_fee_wei: int | None
    gas_limit: int


@dataclass(frozen=True, slots=True)
class Log:
    """One event log of a mined transaction."""

    address: Address
    topics: tuple[bytes, ...]
    data: bytes
    block_number: int
    block_hash: Hash32
    transaction_hash: Hash32
    log_index: int


@dataclass(frozen=True, slots=True)
class Call:
    """A message call: a read when pinned to a block, or the body of a transaction."""

    target: Address
    calldata: bytes


@dataclass(frozen=True, slots=True)
class CallResult:
    """Answer to a `Call`. When not `ok`, `returndata` is the revert data."""

    ok: bool
    returndata: bytes


@dataclass(frozen=True, slots=True)
class PendingTransaction:
    """A transaction that a node has heard of and no block holds yet. It may never be mined."""

    hash: Hash32
    sender: Address
    to: Address | None
    """None where it creates a contract."""
    input: bytes
    value_wei: int
    gas_limit: int
    max_fee_wei: int
    priority_fee_wei: int
    nonce: int
