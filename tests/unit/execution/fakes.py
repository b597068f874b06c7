"""A node and a store in memory, small enough to see through: for what a real node does only when it fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from eth_account import Account

from keeper.core.block import BlockRef, Call
from keeper.core.errors import ChainError, MethodUnavailable, RpcFailure
from keeper.core.intent import OPEN_STATUSES, Intent, IntentStatus, Mark
from keeper.core.ledger import Entry, Purpose
from keeper.core.order import FeeQuote
from keeper.core.units import Address, Hash32, hash_from_hex, to_hex
from keeper.execution.sender import Sender, Sending
from keeper.execution.signing.envelope import decode_signed
from keeper.execution.signing.keystore import KeystoreSigner

CHAIN_ID = 31337
KEY = bytes.fromhex("11" * 32)
POOL = Address(b"\x50" * 20)
TOKEN = Address(b"\x70" * 20)
BORROWER = Address(b"\xb0" * 20)
OTHER_BORROWER = Address(b"\xb1" * 20)
LIQUIDATE = bytes.fromhex("00a718a9")
FEES = FeeQuote(base_fee_wei=10, priority_fee_wei=1, max_fee_wei=21)


def signer() -> KeystoreSigner:
    return KeystoreSigner(Account.from_key(KEY))


def head(number: int) -> BlockRef:
    return BlockRef(
        number=number,
        hash=Hash32(number.to_bytes(32, "big")),
        parent_hash=Hash32((number - 1).to_bytes(32, "big")),
        timestamp_s=1_000 + 12 * number,
        base_fee_wei=10,
        gas_limit=30_000_000,
    )


def sending(
    borrower: Address | None = BORROWER, attempt: str = "1-b0b0b0b0", call_index: int = 0, tag: int = 0
) -> Sending:
    call = Call(POOL, LIQUIDATE + tag.to_bytes(32, "big"))
    purpose = Purpose.ALLOWANCE if borrower is None else Purpose.LIQUIDATION
    return Sending(call, 500_000, FEES, attempt, borrower, call_index, purpose)


@dataclass
class MemoryIntents:
    """The port `Intents` without a disk."""

    rows: dict[Hash32, Intent] = field(default_factory=dict)
    blocks: dict[Hash32, int | None] = field(default_factory=dict)
    entries: dict[Hash32, Entry] = field(default_factory=dict)
    """The ledger."""

    async def open_intents(self, chain_id: int, signer: Address) -> Sequence[Intent]:
        mine = [row for row in self.rows.values() if (row.chain_id, row.signer) == (chain_id, signer)]
        return sorted((row for row in mine if row.status in OPEN_STATUSES), key=lambda row: row.nonce)

    async def mined_intents(
        self, chain_id: int, signer: Address, last_blocks: int
    ) -> Sequence[tuple[Intent, int, Hash32]]:
        return [
            (self.rows[each], entry.block_number, entry.block_hash)
            for each, entry in self.entries.items()
            if (entry.chain_id, entry.signer) == (chain_id, signer)
        ]

    async def dropped_intents(self, chain_id: int, signer: Address, last_blocks: int) -> Sequence[Intent]:
        used = {(entry.chain_id, entry.signer, entry.nonce) for entry in self.entries.values()}
        dropped = [row for row in self.rows.values() if row.status is IntentStatus.DROPPED]
        return [row for row in dropped if (chain_id, signer, row.nonce) in used]

    async def record_intents(self, intents: Sequence[Intent]) -> None:
        self.rows |= {intent.transaction_hash: intent for intent in intents}

    async def mark_intents(self, marks: Sequence[Mark]) -> None:
        for mark in marks:
            self.rows[mark.transaction_hash] = replace(self.rows[mark.transaction_hash], status=mark.status)
            self.blocks[mark.transaction_hash] = mark.block_number
            self.entries.pop(mark.transaction_hash, None)
            if mark.entry is not None:
                self.entries[mark.transaction_hash] = mark.entry

    def statuses(self) -> list[tuple[int, str]]:
        return sorted((row.nonce, row.status.value) for row in self.rows.values())


@dataclass
class MemoryNode:
    """One account's nonces, a mempool and blocks. `answer` replaces the answer to the next send; `swallow` keeps its bytes
    from arriving."""

    store: MemoryIntents | None = None
    mined: dict[int, Hash32] = field(default_factory=dict)
    pool: dict[int, Hash32] = field(default_factory=dict)
    receipts: dict[Hash32, dict[str, Any]] = field(default_factory=dict)
    answer: object = None
    swallow: bool = False
    sends: list[bytes] = field(default_factory=list)
    recorded_first: list[bool] = field(default_factory=list)
    trouble: ChainError | None = None
    """Raised by every request until it is cleared."""
    fees: dict[Hash32, tuple[int, int]] = field(default_factory=dict)
    """Highest and priority fee of all that it was ever sent."""

    async def request(self, method: str, params: Sequence[Any] = ()) -> Any:
        if self.trouble is not None:
            raise self.trouble
        if method == "eth_getTransactionCount":
            count = len(self.mined)
            while params[1] == "pending" and count in self.pool:
                count += 1
            return hex(count)
        if method == "eth_sendRawTransaction":
            return self._take(bytes.fromhex(params[0][2:]))
        if method == "eth_getTransactionByHash":
            wanted = hash_from_hex(params[0])
            known = wanted in self.pool.values() or wanted in self.mined.values()
            return {"hash": params[0]} if known else None
        if method == "eth_getTransactionReceipt":
            return self.receipts.get(hash_from_hex(params[0]))
        if method == "eth_getBlockByHash":
            return _header(hash_from_hex(params[0]))
        raise MethodUnavailable(method)

    async def batch(self, entries: Sequence[tuple[str, Sequence[Any]]]) -> list[Any | ChainError]:
        return [await self.request(method, params) for method, params in entries]

    def mine(self, nonce: int, block_number: int, transaction_hash: Hash32 | None = None, status: int = 1) -> None:
        """Put the pool's transaction of this nonce (or another one) into a block."""
        mined = transaction_hash or self.pool[nonce]
        self.pool.pop(nonce, None)
        self.mined[nonce] = mined
        self.receipts[mined] = {
            "transactionHash": to_hex(mined),
            "from": to_hex(signer().address),
            "blockHash": to_hex(head(block_number).hash),
            "blockNumber": hex(block_number),
            "status": hex(status),
            "gasUsed": hex(300_000),
            "effectiveGasPrice": hex(11),
            "logs": [],
        }

    def _take(self, raw: bytes) -> str:
        decoded = decode_signed(raw)
        self.sends.append(raw)
        self.recorded_first.append(self.store is not None and decoded.hash in self.store.rows)
        bid = (decoded.fields.max_fee_wei, decoded.fields.priority_fee_wei)
        if decoded.fields.nonce < len(self.mined):
            raise RpcFailure(-32000, "nonce too low")
        before = self.pool.get(decoded.fields.nonce, decoded.hash)
        if before != decoded.hash and not _bumped(bid, self.fees[before]):
            raise RpcFailure(-32000, "replacement transaction underpriced")
        self.fees[decoded.hash] = bid
        if not self.swallow:
            self.pool[decoded.fields.nonce] = decoded.hash
        self.swallow = False
        answer, self.answer = self.answer, None
        if isinstance(answer, ChainError):
            raise answer
        return answer if isinstance(answer, str) else to_hex(decoded.hash)


def _header(block_hash: Hash32) -> dict[str, Any]:
    """Of the block that `head` makes; another hash of the same number is a block beside it."""
    number = int.from_bytes(block_hash[1:])
    return {
        "number": hex(number),
        "hash": to_hex(block_hash),
        "parentHash": to_hex(head(number - 1).hash),
        "timestamp": hex(head(number).timestamp_s + block_hash[0]),
        "baseFeePerGas": "0xa",
        "gasLimit": hex(30_000_000),
    }


def _bumped(new_wei: tuple[int, int], old_wei: tuple[int, int]) -> bool:
    """As geth asks: a tenth more of both, and strictly more."""
    return all(10 * new >= 11 * old and new > old for new, old in zip(new_wei, old_wei, strict=True))


def sender_on(node: MemoryNode, store: MemoryIntents) -> Sender:
    node.store = store
    return Sender(node, signer(), store, CHAIN_ID)


async def started_on(node: MemoryNode, store: MemoryIntents, at: int = 1) -> Sender:
    sender = sender_on(node, store)
    await sender.start(head(at))
    return sender


async def sent_on(node: MemoryNode, store: MemoryIntents) -> tuple[Sender, Hash32]:
    """A sender that has sent one transaction at head 1, and that transaction's hash."""
    sender = await started_on(node, store)
    sent = await sender.send(sending(), head(1))
    assert sent.transaction_hash is not None
    return sender, sent.transaction_hash
