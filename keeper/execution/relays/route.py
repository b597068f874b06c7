"""The way of a sender's transactions past the public mempool.

To the sender it is a node: it takes raw transactions, and says which it knows. An order goes to the relays, for the next
block, again at every head for so many blocks; then it is given up, or published, as the operator wishes. What is of no use to
anybody else (a cancellation, an approval) is published at once.

The node's pending count does not see what is only with relays. The rules of `keeper.execution.nonces` hold all the same: an
open intent holds its nonce whether the node counts it or not. While a transaction is on offer here it is known; afterwards,
unless it was mined or published, it is lost at once: its nonce is taken by the next transaction, or cancelled in public,
and of all transactions with one nonce at most one is mined, whatever a relay may still do with its bytes. After a restart
nothing is on offer, no node knows what was, and so it is lost after some blocks.

While a pause stands nothing is offered again nor published: what was on offer is dropped, and lost like that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from keeper.concurrency import Group
from keeper.core.block import Call
from keeper.core.errors import ChainError, Defect
from keeper.core.order import Answer
from keeper.core.units import Hash32, hash_from_hex, to_hex
from keeper.execution.answers import TurnedAway
from keeper.execution.relays.relay import Offered, Relay, RelayMethod
from keeper.execution.rpc import Rpc
from keeper.execution.signing.envelope import decode_signed
from keeper.execution.signing.signer import TransactionFields
from keeper.execution.tokens import APPROVE

SEND = "eth_sendRawTransaction"
LOOK_UP = "eth_getTransactionByHash"
MOST_IN_BUNDLE = 100
"""What relays take; also the most that can be below one another and still be mined in the next block."""
OFFERED_EACH = 8
"""Of many that are on offer so many of the lowest nonces are offered anew in bundles of their own, and of the others every so
many'th, with all below it: one that would revert spoils only the bundles that hold it."""

Told = Callable[[str], Awaitable[None]]
"""One line about a relay that does not do its part, or about what became public."""
Halted = Callable[[], Awaitable[bool]]
"""Whether a pause stands at this moment."""


@dataclass(frozen=True, slots=True)
class RelayTerms:
    for_blocks: int
    """An order is offered for so many blocks."""
    then_public: bool
    """Whether it is published after them."""


@dataclass(slots=True)
class _Held:
    """One transaction on offer."""

    raw: bytes
    hash: Hash32
    nonce: int
    since_block: int
    before: bytes | None
    """Somebody else's transaction that must stand right before it."""
    taken_by: set[Relay] = field(default_factory=set)


class PrivateRoute:
    """`keeper.execution.rpc.Rpc` for one sender; an async context manager, inside which it goes on offering. `head_number`
    stands until `on_head` tells of another."""

    def __init__(
        self, node: Rpc, relays: Sequence[Relay], terms: RelayTerms, told: Told, head_number: int, halted: Halted
    ) -> None:
        self._node = node
        self._halted = halted
        self._relays = relays
        self._terms = terms
        self._told = told
        self._group = Group()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._head_number = head_number
        self._held: dict[int, _Held] = {}
        """By nonce."""
        self._behind: dict[Call, bytes] = {}
        self._alone: dict[Hash32, int] = {}
        """What was offered here and needs nothing right before it, with its nonce."""
        self._said: dict[Relay, str] = {}
        """What was told of each relay last; forgotten once it does its part."""

    async def __aenter__(self) -> PrivateRoute:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        try:
            await self._group.__aexit__(None, None, None)
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    # -- as a node -----------------------------------------------------------------------------------------------

    async def request(self, method: str, params: Sequence[Any] = ()) -> Any:
        """A raw transaction that no relay takes is turned away, if it is not to be published later."""
        if method == SEND:
            return await self._send(bytes.fromhex(params[0][2:]))
        return self._known(method, params, await self._node.request(method, params))

    async def batch(self, entries: Sequence[tuple[str, Sequence[Any]]]) -> Sequence[Any | ChainError]:
        if any(method == SEND for method, _ in entries):
            raise Defect("a transaction is sent by itself, never in a batch")
        answers = await self._node.batch(entries)
        return [self._known(method, params, answer) for (method, params), answer in zip(entries, answers, strict=True)]

    def _known(self, method: str, params: Sequence[Any], answer: Any) -> Any:
        """A transaction on offer is known, though not to the node."""
        if method != LOOK_UP or answer is not None:
            return answer
        wanted = hash_from_hex(params[0])
        return {"hash": params[0]} if any(held.hash == wanted for held in self._held.values()) else None

    # -- sending -------------------------------------------------------------------------------------------------

    def stand_behind(self, call: Call, before: bytes | None) -> None:
        """The next transaction that makes this call is offered right behind another, raw one, in one bundle for the next block
        and for no other; None when there will be none."""
        if before is None:
            self._behind.pop(call, None)
        else:
            self._behind[call] = before

    def may_repeat(self, raw: bytes) -> bool:
        """Whether a lost transaction may be sent once more. Not what was only good behind another one, and nothing of an
        earlier run, of which that is not known."""
        envelope = decode_signed(raw)
        return _is_anybodys(envelope.fields) or envelope.hash in self._alone

    async def _send(self, raw: bytes) -> str:
        envelope = decode_signed(raw)
        nonce = envelope.fields.nonce
        self._held.pop(nonce, None)  # whatever has its nonce takes its place
        if _is_anybodys(envelope.fields):
            answer: str = await self._node.request(SEND, [to_hex(raw)])
            return answer
        before = self._behind.pop(envelope.fields.call, None)
        if before is None:
            self._alone[envelope.hash] = nonce
        held = self._held[nonce] = _Held(raw, envelope.hash, nonce, self._head_number, before)
        refusals = await self._refusals(held)
        if refusals is not None and (before is not None or not self._terms.then_public):
            self._drop(held)
            raise TurnedAway(-32000, f"rejected transaction: no relay takes it ({'; '.join(refusals)})")
        return to_hex(held.hash)

    async def _refusals(self, held: _Held) -> list[str] | None:
        """None once one relay has taken it, or may have; else why each did not. The others are heard in the background."""
        offers = [self._spawn(self._offer(relay, held)) for relay in self._relays_for(held)]
        refusals, unknown = [], False
        for done in asyncio.as_completed(offers):
            offered = await done
            if offered.answer is Answer.ACCEPTED:
                return None
            unknown |= offered.answer is Answer.UNKNOWN
            refusals.append(offered.detail)
        return None if unknown else refusals

    def _relays_for(self, held: _Held) -> list[Relay]:
        """Those that have something to be told: who takes single transactions goes on by itself, and puts none behind
        another."""
        return [
            relay
            for relay in self._relays
            if relay.method is RelayMethod.BUNDLE or (held.before is None and relay not in held.taken_by)
        ]

    async def _offer(self, relay: Relay, held: _Held) -> Offered:
        bundle = self._bundle(held)
        if relay.method is RelayMethod.BUNDLE and len(bundle) > MOST_IN_BUNDLE:
            return Offered(Answer.UNKNOWN)  # its turn comes once those below it are mined
        last_block = held.since_block + self._terms.for_blocks
        offered = await relay.offer(bundle, self._head_number + 1, last_block)
        if offered.answer is Answer.ACCEPTED:
            held.taken_by.add(relay)
            self._said.pop(relay, None)
        elif self._said.get(relay) != offered.detail:
            self._said[relay] = offered.detail
            await self._told(offered.detail)
        return offered

    def _bundle(self, held: _Held) -> list[bytes]:
        """It can be mined only after those of lower nonces that nobody else knows."""
        bundle: list[bytes] = []
        for nonce, each in sorted(self._held.items()):
            if nonce < held.nonce or each is held:
                bundle += [raw for raw in (each.before, each.raw) if raw is not None and raw not in bundle]
        return bundle

    # -- going on ------------------------------------------------------------------------------------------------

    def on_head(self, number: int, used_nonces: int) -> Sequence[Hash32]:
        """Offer again, for the block after this head, whatever is still on offer; `used_nonces` of our own are in blocks by
        then. Returns at once, with what is given up: not mined, and neither offered nor published any more."""
        if number == self._head_number:
            return []
        self._head_number = number
        self._alone = {each: nonce for each, nonce in self._alone.items() if nonce >= used_nonces}
        for held in [each for each in self._held.values() if each.nonce < used_nonces]:
            self._drop(held)
        ours = [each for _, each in sorted(self._held.items())]
        over = [each for each in ours if self._is_over(each, number)]
        published = [each for each in over if each.before is None and self._terms.then_public]
        given_up = [each for each in over if each not in published]
        for held in given_up:
            self._drop(held)
        self._spawn(self._go_on([each for each in ours if each not in over], published))
        return [each.hash for each in given_up]

    async def _go_on(self, offered: Sequence[_Held], published: Sequence[_Held]) -> None:
        if offered and await self._halted():
            for held in offered:
                self._drop(held)
        self._offer_anew([each for each in offered if self._is_held(each)])
        await self._publish_all(published)

    def _offer_anew(self, ours: Sequence[_Held]) -> None:
        for place, held in enumerate(ours):
            if place < OFFERED_EACH or place % OFFERED_EACH == 0 or held is ours[-1]:
                for relay in self._relays_for(held):
                    self._spawn(self._offer(relay, held))

    async def _publish_all(self, held: Sequence[_Held]) -> None:
        """By nonce."""
        for each in held:
            if self._is_held(each) and not await self._halted() and self._is_held(each):
                await self._publish(each)
            self._drop(each)

    def _is_over(self, held: _Held, number: int) -> bool:
        """What stands behind another transaction was for one block only."""
        return number - held.since_block >= (1 if held.before is not None else self._terms.for_blocks)

    async def _publish(self, held: _Held) -> None:
        """Once; what a node's answer leaves open is found out as for anything that was sent."""
        text = f"{to_hex(held.hash)} was not mined through relays in {self._terms.for_blocks} blocks: it is published"
        try:
            await self._node.request(SEND, [to_hex(held.raw)])
        except ChainError as error:
            text = f"{text}, but {error}"
        await self._told(text)

    def _is_held(self, held: _Held) -> bool:
        """Whether nothing took its place meanwhile."""
        return self._held.get(held.nonce) is held

    def _drop(self, held: _Held) -> None:
        if self._is_held(held):
            del self._held[held.nonce]

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _is_anybodys(fields: TransactionFields) -> bool:
    """Nothing is gained by seeing it before it is mined."""
    return fields.call.calldata == b"" or fields.call.calldata[:4] == APPROVE
