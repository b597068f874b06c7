"""From a plan to money: offer, order, submission, outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from keeper.core.block import BlockRef, Call, Log, PendingTransaction
from keeper.core.executor import Loan
from keeper.core.ledger import CallValue, Stake, Swapped, Valuation
from keeper.core.lending import LiquidationEvent
from keeper.core.plan import Plan, PlannedCall
from keeper.core.selling.deal import Dealt
from keeper.core.shares import Share
from keeper.core.units import Address, Hash32


@dataclass(frozen=True, slots=True)
class FeeQuote:
    """EIP-1559 fees for the next blocks, wei per gas."""

    base_fee_wei: int
    priority_fee_wei: int
    max_fee_wei: int


@dataclass(frozen=True, slots=True)
class Profit:
    """All in the market's base currency; integers, rounded against us."""

    received_base: int
    repaid_base: int
    gas_base: int
    premium_base: int = 0
    """What borrowed money cost."""
    slippage_base: int = 0
    """What selling cost against the oracle's prices; below 0 where the venues paid more."""

    @property
    def net_base(self) -> int:
        return self.received_base - self.repaid_base - self.gas_base - self.premium_base - self.slippage_base


@dataclass(frozen=True, slots=True)
class Offer:
    """A plan with its price tag."""

    plan: Plan
    gas: tuple[int, ...]
    """Gas per transaction: estimated at first, then simulated."""
    fees: FeeQuote
    profit: Profit
    dealt: Dealt | None = None
    """How the executor carries it; None: each call is a transaction of its own, from the signer's inventory."""

    loan: Loan | None = None
    """Who lends for it."""

    data_fee_wei: int = 0
    """What a rollup asks for posting each transaction on its parent chain, on top of gas, as of the head."""

    @property
    def worst_data_fee_wei(self) -> int:
        """No transaction can bound it. Twice what is asked: the parent chain's fees double in six of its blocks at the fastest,
        an eighth a block."""
        return 2 * self.data_fee_wei

    @property
    def carried(self) -> tuple[tuple[PlannedCall, ...], ...]:
        """The planned calls by transaction."""
        if self.dealt is None:
            return tuple((call,) for call in self.plan.calls)
        return tuple(deal.calls for deal in self.dealt.deals)

    @property
    def pulled_raw(self) -> Mapping[Address, int]:
        """What it takes of the signer's own tokens, per debt asset."""
        return self.plan.debts_raw if self.dealt is None else {}

    @property
    def spent_raw(self) -> Mapping[Address, int]:
        """What it takes of what signer or executor have, per debt asset; a loan is none of it."""
        return self.plan.debts_raw if self.dealt is None else self.dealt.spent_raw


@dataclass(frozen=True, slots=True)
class Behind:
    """A transaction that is not mined yet and that an order must stand right behind, in the same block."""

    transaction: PendingTransaction
    raw: bytes


@dataclass(frozen=True, slots=True)
class Order:
    """Admitted: what will be simulated and sent. Its calls are transactions, in order, of one signer."""

    attempt: str
    """Names the attempt in journal and explanations: head number, borrower's first bytes."""
    chain_id: int
    offer: Offer
    signer: Address
    spender: Address
    calls: tuple[Call, ...]
    gas_limits: tuple[int, ...]
    stakes: tuple[Stake, ...] = ()
    """What each call may cost at worst; known once the order was simulated."""
    swaps: tuple[Swapped, ...] = ()
    """What it sells and buys on venues; empty for one that spends inventory and keeps what it receives."""
    behind: Behind | None = None
    """Where it is only right once somebody else's transaction was mined."""
    executor: Address | None = None
    """Whose balances change; None: the signer's own."""
    members: tuple[Order, ...] = ()
    """Of one that several borrowers have in common: their own orders, the most urgent first. Attempt and plan are the first's,
    offer and call the whole."""
    shares: tuple[Share, ...] = ()
    """Everybody's in the one transaction, also on the members once they were sent; empty for one that is nobody else's."""

    @property
    def parts(self) -> tuple[Order, ...]:
        """One for each borrower."""
        return self.members or (self,)

    @property
    def plan(self) -> Plan:
        return self.offer.plan

    @property
    def borrower(self) -> Address:
        return self.offer.plan.borrower

    @property
    def measured_assets(self) -> list[Address]:
        """Those of which it is asked how much arrived, each once: what is seized, or the receipt for it; of the executor also
        what was owed, since it keeps that."""
        calls = [call for part in self.parts for call in part.plan.calls]
        assets = [call.pair.collateral_asset for call in calls]
        if self.executor is not None:
            assets += [call.pair.debt_asset for call in calls]
        routes = [route for deal in (self.offer.dealt.deals if self.offer.dealt else ()) for route in deal.routes]
        assets += [route.receipt for route in routes if route.receipt is not None]
        return list(dict.fromkeys(assets))


@dataclass(frozen=True, slots=True)
class SimulatedCall:
    gas_used: int
    logs: tuple[Log, ...]
    liquidations: tuple[LiquidationEvent, ...]


@dataclass(frozen=True, slots=True)
class Simulation:
    """What the node says the exact calls of an order would do on top of the orders before it."""

    calls: tuple[SimulatedCall, ...]
    health_factor_after_wad: int
    gained_raw: Mapping[Address, int] | None = None
    """What the balance of each of the order's `measured_assets` gained over all calls (below 0: lost); None when not asked."""
    members: tuple[Simulation, ...] = ()
    """What it does to each borrower of an order of several, in their order; the health is then the first's."""


class Answer(StrEnum):
    """What came back when a call was sent."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    """Proven not accepted."""
    UNKNOWN = "unknown"
    """It may be on its way."""
    NOT_SENT = "not_sent"
    """A dry run, or a call before it was not accepted."""


@dataclass(frozen=True, slots=True)
class SentTransaction:
    """One call of an order on its way. `transaction_hash` and `nonce` are None when nothing can be on its way."""

    call_index: int
    transaction_hash: Hash32 | None
    nonce: int | None
    answer: Answer
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Submission:
    order: Order
    mode: str
    """Which submitter took it, for the journal: dry, fork, live."""
    submitted_block: int
    transactions: tuple[SentTransaction, ...]
    """One per call of the order, in order."""
    simulation: Simulation
    """What was expected of exactly these calls."""

    @property
    def parts(self) -> tuple[Submission, ...]:
        """One for each borrower, with the same transaction."""
        parts = zip(self.order.members, self.simulation.members, strict=True)
        return tuple(replace(self, order=order, simulation=simulation) for order, simulation in parts) or (self,)


@dataclass(frozen=True, slots=True)
class MinedCall:
    """A transaction's receipt, as far as we judge it."""

    call_index: int
    transaction_hash: Hash32
    block: BlockRef
    succeeded: bool
    gas_used: int
    effective_gas_price_wei: int
    logs: tuple[Log, ...]
    revert: str | None
    lost_race: bool = False
    """It reverted because somebody else was first, by the reason that the contract gave."""
    value: CallValue | None = None
    """At its block's prices, the whole of it; None where one is missing."""
    shares: tuple[Share, ...] = ()
    """Who had it in common, with what was repaid for each."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What really happened to a borrower, read back in the block of the last mined call."""

    attempt: str
    borrower: Address
    market: Address
    mined: tuple[MinedCall, ...]
    liquidations: tuple[LiquidationEvent, ...]
    health_before_wad: int
    health_planned_wad: int
    target_wad: int
    health_after_wad: int | None
    """As the chain answers in the inclusion block; None when nothing was mined."""
    model_error_wad: int | None
    """Chain's health − our arithmetic on that block's row, indexes, prices and timestamp: must be 0."""
    amounts_match: bool | None
    """Repaid and received amounts equal our replay of the calls on the block before; None when disturbed or not mined."""
    disturbed: bool
    """Other logs of this borrower are in the inclusion block."""
    restored: bool
    """Health after reaches what the plan's verdict promised."""
    profit: Profit | None
    detail: str = ""

    @property
    def valuations(self) -> list[Valuation]:
        """For the ledger: what the mined calls were worth, as far as that is known, and which of them lost a race. Where one of
        an order's calls succeeded nobody else was first: what reverts after it is our own plan's."""
        alone = not any(call.succeeded for call in self.mined)
        return [
            Valuation(call.transaction_hash, call.block.hash, call.value, call.lost_race and alone, call.shares)
            for call in self.mined
            if call.value is not None or not call.succeeded
        ]


def attempt_name(block_number: int, borrower: Address) -> str:
    """`<head>-<first 4 bytes of the borrower>`: one attempt per borrower and head."""
    return f"{block_number}-{borrower[:4].hex()}"
