"""Pending transactions, as far as a node tells them: whole, or by hash and then looked up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Sequence

from keeper.chain.notice import Notice, NoticeKind, Tell, untold
from keeper.chain.rotation import FIRST_PAUSE_S, Rotation
from keeper.chain.rpc import Rpc
from keeper.chain.sockets import SocketAddress
from keeper.chain.subscription import Patience, Subscription, subscribed
from keeper.concurrency import check_wanted
from keeper.core.block import PendingTransaction
from keeper.core.errors import ChainError, MalformedResponse
from keeper.core.hexdata import decode_address, decode_bytes, decode_hash, decode_object, decode_quantity
from keeper.core.units import Address, Hash32, to_hex

CHOICES = (["newPendingTransactions", True], ["newPendingTransactions"])
"""Whole transactions, else hashes. Some nodes take the first and send hashes all the same."""

MOST_REMEMBERED = 10_000
GATHERED_FOR_S = 0.2
MOST_LOOKED_UP = 20
"""Of the hashes that came within that time, in one request: at most 100 a second, whatever the chain's traffic."""


class PendingFeed:
    """`keeper.ports.Pending` over sockets of its own."""

    def __init__(
        self,
        rpc: Rpc,
        addresses: Sequence[SocketAddress],
        chain_id: int,
        *,
        tell: Tell = untold,
        on_error: Callable[[ChainError], None] = lambda error: None,
        patience: Patience | None = None,
        first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        self._rpc = rpc
        self._addresses = addresses
        self._chain_id = chain_id
        self._tell = tell
        self._on_error = on_error
        self._patience = patience
        self._first_pause_s = first_pause_s
        self._told: set[str] = set()

    async def pending(self, to: Collection[Address]) -> AsyncGenerator[PendingTransaction, None]:
        """See `keeper.ports.Pending`."""
        rotation = Rotation(self._addresses, self._first_pause_s)
        wanted, seen = frozenset(to), _Seen()
        while (address := rotation.current) is not None:
            pause_s = 0.0
            check_wanted()
            try:
                async with subscribed(address, self._chain_id, *CHOICES, patience=self._patience) as subscription:
                    while True:
                        for transaction in await self._announced(subscription, wanted):
                            if seen.first_time(transaction.hash):
                                yield transaction
                        rotation.worked()
            except ChainError as error:
                self._on_error(error)
                pause_s = rotation.failed(error)
            await asyncio.sleep(pause_s)
        self._say_once("no node of ws_url or ipc_path announces pending transactions: price updates show when mined")

    async def _announced(self, subscription: Subscription, wanted: frozenset[Address]) -> list[PendingTransaction]:
        """Of what is announced next, the transactions that are wanted."""
        announced = await subscription.next()
        if isinstance(announced, str):
            return await self._looked_up(await self._gathered(announced, subscription), wanted)
        return self._chosen(announced, wanted)

    def _chosen(self, announced: object, wanted: frozenset[Address]) -> list[PendingTransaction]:
        """The transaction, when it is wanted. An odd one is passed over: the connection is not to blame."""
        try:
            fields = decode_object(announced, "pending transaction")
            if fields.get("to") is None or fields.get("blockHash") is not None:
                return []
            if decode_address(fields["to"], "target of a pending transaction") not in wanted:
                return []
            return [decode_pending(fields)]
        except MalformedResponse as error:
            self._on_error(error)
            return []

    async def _gathered(self, first: str, subscription: Subscription) -> list[Hash32]:
        """The hashes of a short while. Beyond a bound they are dropped: they cannot all be asked for."""
        hashes, dropped = [decode_hash(first, "hash of a pending transaction")], 0
        try:
            async with asyncio.timeout(GATHERED_FOR_S):
                while True:
                    announced = await subscription.next()
                    if len(hashes) < MOST_LOOKED_UP:
                        hashes.append(decode_hash(announced, "hash of a pending transaction"))
                    else:
                        dropped += 1
        except TimeoutError:
            pass
        if dropped:
            self._say_once(
                f"{subscription.label} announces pending transactions by hash only, and more of them than are looked up"
                f" ({MOST_LOOKED_UP} in {GATHERED_FOR_S:g} s): some price updates show only when mined"
            )
        return hashes

    async def _looked_up(self, hashes: Sequence[Hash32], wanted: frozenset[Address]) -> list[PendingTransaction]:
        """Those that are still pending, as the endpoints know them."""
        try:
            answers = await self._rpc.batch([("eth_getTransactionByHash", [to_hex(each)]) for each in hashes])
        except ChainError as error:
            self._on_error(error)
            return []
        found: list[PendingTransaction] = []
        for answer in answers:
            if isinstance(answer, ChainError):
                self._on_error(answer)
            elif answer is not None:
                found += self._chosen(answer, wanted)
        return found

    def _say_once(self, detail: str) -> None:
        if detail not in self._told:
            self._told.add(detail)
            self._tell(Notice(NoticeKind.NO_PENDING, detail))


class _Seen:
    """Hashes of the last transactions: one that is announced again is no news."""

    def __init__(self) -> None:
        self._hashes: dict[Hash32, None] = {}

    def first_time(self, transaction_hash: Hash32) -> bool:
        if transaction_hash in self._hashes:
            return False
        self._hashes[transaction_hash] = None
        if len(self._hashes) > MOST_REMEMBERED:
            del self._hashes[next(iter(self._hashes))]
        return True


def decode_pending(announced: object) -> PendingTransaction:
    """A transaction as JSON-RPC sends it. Raises `MalformedResponse` when it is not as promised."""
    fields = decode_object(announced, "pending transaction")
    to = fields.get("to")
    max_fee = fields.get("maxFeePerGas") or fields.get("gasPrice")
    body = fields.get("input", fields.get("data"))
    if max_fee is None:
        raise MalformedResponse("a pending transaction names no fee")
    return PendingTransaction(
        hash=decode_hash(fields.get("hash"), "hash of a pending transaction"),
        sender=decode_address(fields.get("from"), "sender of a pending transaction"),
        to=None if to is None else decode_address(to, "target of a pending transaction"),
        input=decode_bytes(body, "input of a pending transaction"),
        value_wei=decode_quantity(fields.get("value"), "value of a pending transaction"),
        gas_limit=decode_quantity(fields.get("gas"), "gas of a pending transaction"),
        max_fee_wei=decode_quantity(max_fee, "fee of a pending transaction"),
        priority_fee_wei=decode_quantity(fields.get("maxPriorityFeePerGas") or max_fee, "tip of a pending transaction"),
        nonce=decode_quantity(fields.get("nonce"), "nonce of a pending transaction"),
    )
