"""One chain as the pipeline sees it: `keeper.ports.Chain` over a pool of endpoints."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import TypeVar

from eth_utils.crypto import keccak

from keeper.chain.acceptance import nothing_known
from keeper.chain.adaptive import TARGET_BODY_BYTES, AdaptiveSize
from keeper.chain.after import ReadsAfter
from keeper.chain.announced import Announcements
from keeper.chain.blocks import read_header, read_headers
from keeper.chain.fees import HISTORY_BLOCKS, FeeReader
from keeper.chain.header_chain import DEPTH, HeaderChain
from keeper.chain.heads import Stall, heads
from keeper.chain.logs import MAX_SPAN, read_block_logs, read_logs
from keeper.chain.passed import Passed
from keeper.chain.pending import PendingFeed
from keeper.chain.reads import PinnedReads
from keeper.chain.rpc import Rpc
from keeper.chain.watchdog import Watchdog
from keeper.core.bidding import first_bid
from keeper.core.block import BlockRef, Call, CallResult, Log, PendingTransaction
from keeper.core.errors import BlockUnavailable, ChainError, MalformedResponse, MethodUnavailable, ReorgTooDeep
from keeper.core.hexdata import decode_bytes
from keeper.core.lending import LogFilter, Reads
from keeper.core.order import FeeQuote
from keeper.core.units import Address, Hash32, to_hex

USUAL_WINDOW_BLOCKS = 2
"""So long a transaction must be able to wait at the fee that it bids."""

MOST_BLOCKS_BY_HASH = 8
"""Logs of at most so many blocks are asked for block by block, by hash: sound even behind a balancer whose nodes lag."""

T = TypeVar("T")


class ChainClient:
    """Pinned reads, checked logs and the header chain of one chain."""

    def __init__(
        self,
        rpc: Rpc,
        *,
        poll_s: float,
        fee_cap_wei: int,
        priority_percentile: int,
        window_blocks: int = USUAL_WINDOW_BLOCKS,
        log_span: int = MAX_SPAN,
        reorg_depth: int = DEPTH,
        announced: Announcements | None = None,
        watchdog: Watchdog | None = None,
        pending: PendingFeed | None = None,
        quiet_after_s: float | None = None,
        stall_after_s: float | None = None,
        on_stall: Callable[[Stall], None] | None = None,
        on_error: Callable[[ChainError], None] | None = None,
    ) -> None:
        self._rpc = rpc
        self._poll_s = poll_s
        self._fee_cap_wei = fee_cap_wei
        self._window_blocks = window_blocks
        self._fees = FeeReader(rpc, blocks=HISTORY_BLOCKS, percentile=priority_percentile)
        self._passed = Passed()
        self._span = AdaptiveSize(log_span, TARGET_BODY_BYTES)
        self._reorg_depth = reorg_depth
        self._announced = announced
        self._watchdog = watchdog
        self._pending = pending or PendingFeed(rpc, (), 0)
        self._quiet_after_s = quiet_after_s
        self._stall_after_s = stall_after_s
        self._on_stall = on_stall
        self._on_error = on_error
        self._reads = PinnedReads(rpc)
        self._after = ReadsAfter(rpc)
        self._headers: HeaderChain | None = None

    def heads(self) -> AsyncIterator[BlockRef]:
        return heads(
            self._rpc,
            interval_s=self._poll_s,
            quiet_after_s=self._quiet_after_s,
            announced=self._announced,
            watchdog=self._watchdog,
            passed=self._passed,
            stall_after_s=self._stall_after_s,
            on_stall=self._on_stall,
            on_error=self._on_error,
        )

    def pending(self, to: Collection[Address]) -> AsyncGenerator[PendingTransaction, None]:
        return self._pending.pending(to)

    async def raw(self, transaction_hash: Hash32) -> bytes | None:
        """The signed bytes of a transaction; None where no node has it any more, or none gives bytes."""
        try:
            answer = await self._rpc.request("eth_getRawTransactionByHash", [to_hex(transaction_hash)])
        except MethodUnavailable:
            return None
        raw = decode_bytes(answer, "the bytes of a transaction") if answer is not None else b""
        if raw and keccak(raw) != transaction_hash:
            raise MalformedResponse("the bytes of a transaction are not those of its hash")
        return raw or None

    async def latest(self) -> BlockRef:
        if self._watchdog is not None:
            return await self._watchdog.latest()
        return await read_header(self._rpc, "latest")

    async def extend(self, head: BlockRef) -> int:
        """See `keeper.ports.Chain`. A reorg deeper than the window has nothing in common that we know: 0."""
        if self._headers is None:
            self._headers = HeaderChain(self._rpc, head, depth=self._reorg_depth)
            return head.number
        try:
            with self._doubting():
                return (await self._headers.extend(head, self._known)).ancestor.number
        except ReorgTooDeep:
            self._headers = HeaderChain(self._rpc, head, depth=self._reorg_depth)
            return 0

    def _known(self, block_hash: Hash32) -> BlockRef | None:
        """A header that was announced, or came along with a head."""
        announced = None if self._announced is None else self._announced.find(block_hash)
        return announced or self._passed.find(block_hash)

    @contextmanager
    def _doubting(self) -> Iterator[None]:
        """A block that the endpoints do not have, or have otherwise, may have been announced wrongly."""
        try:
            yield
        except (BlockUnavailable, MalformedResponse):
            if self._announced is not None:
                self._announced.doubted = True
            raise

    async def ancestor(self, number: int, of: BlockRef) -> BlockRef:
        """In one exchange with the header at `of`'s number: the node that answers follows the same chain."""
        found, there = await read_headers(self._rpc, [number, of.number])
        if there.hash != of.hash:
            raise BlockUnavailable(f"block {of.number} {to_hex(of.hash)} is no longer on the chain")
        return found

    async def logs(
        self, log_filter: LogFilter, from_block: int, to: BlockRef
    ) -> AsyncGenerator[tuple[int, Sequence[Log]], None]:
        recent = self._headers_after(from_block - 1, to)
        if recent is not None:
            if recent:
                with self._doubting():
                    found = await read_block_logs(self._rpc, log_filter, recent)
                yield to.number, found
            return
        hash_at = nothing_known if self._headers is None else self._headers.hash_at
        chunks = read_logs(self._rpc, log_filter, from_block, to, span=self._span, hash_at=hash_at)
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk.to_block, chunk.logs

    def _headers_after(self, block_number: int, to: BlockRef) -> list[BlockRef] | None:
        """The few headers above `block_number` up to `to`, linked by parent hash; None when they are many or not known."""
        if self._headers is None or to.number - block_number > MOST_BLOCKS_BY_HASH:
            return None
        found: list[BlockRef] = []
        header: BlockRef | None = to
        while header is not None and header.number > block_number:
            found.insert(0, header)
            header = self._headers.find(header.parent_hash) if header.number - 1 > block_number else None
        return found if not found or found[0].number == block_number + 1 else None

    async def read(self, calls: Sequence[Call], block: BlockRef) -> Sequence[CallResult]:
        with self._doubting():
            return await self._reads.read(calls, block)

    async def read_after(
        self, calls: Sequence[Call], block: BlockRef, timestamp_s: int, first: Sequence[PendingTransaction] = ()
    ) -> Sequence[CallResult] | None:
        return await self._after.read(calls, block, timestamp_s, first)

    async def drive(self, reads: Reads[T], block: BlockRef) -> T:
        """Run reads that depend on reads, every batch at `block`."""
        return await self._reads.drive(reads, block)

    async def fees(self) -> FeeQuote:
        """What a new transaction bids (`first_bid`)."""
        tip = None if self._headers is None else self._headers.tip
        asked = await self._fees.read(tip or await read_header(self._rpc, "latest"))
        return first_bid(asked, self._window_blocks, self._fee_cap_wei)
