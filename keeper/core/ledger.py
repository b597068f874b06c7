"""What our transactions cost and moved: one entry per mined transaction, whatever came of it.

Amounts are integers: `_wei` native coin, `_raw` token units, `_base` the market's base currency, `_wad` whole units of the
base currency with 18 decimals, so that markets with other decimals can be added up.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from keeper.core.block import Log
from keeper.core.shares import Share
from keeper.core.units import WAD, Address, Hash32

TRANSFER_TOPIC = bytes.fromhex("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef")
"""keccak256("Transfer(address,address,uint256)"), ERC-20."""


class Purpose(StrEnum):
    """What a transaction of ours is for. Stable names: the store keeps them as text."""

    LIQUIDATION = "liquidation"
    ALLOWANCE = "allowance"
    CANCEL = "cancel"
    """It does nothing but use a nonce."""
    OWNER = "owner"
    """A person's order to our own executor: deploying it, what it may do, taking out what it holds."""


PASSES_A_PAUSE = frozenset({Purpose.CANCEL, Purpose.OWNER})
"""What may be sent while a pause stands: it takes no risk, and who pauses may want to take the money home."""


@dataclass(frozen=True, slots=True)
class Stake:
    """The most that one transaction can cost, whatever becomes of it."""

    gas_wei: int
    """Gas limit times the highest fee, and a rollup's data fee at worst."""
    notional_wad: int
    """Debt that it may repay."""
    loss_wad: int
    """All of its gas, and what it repays beyond what it brings."""


@dataclass(frozen=True, slots=True)
class Swapped:
    """What an order sells on a venue, and what it gets for it there, both at the prices of the market's oracle."""

    sold_base: int
    bought_base: int


@dataclass(frozen=True, slots=True)
class Movement:
    """By how much our balance of one token changed; never 0."""

    token: Address
    change_raw: int


@dataclass(frozen=True, slots=True)
class CallValue:
    """What a mined liquidation was worth at its block's prices, rounded against us. A reverted one brought and repaid 0."""

    received_base: int
    repaid_base: int
    native_price_base: int
    """Of one whole native coin."""
    base_unit: int
    """One whole unit of the base currency."""
    premium_base: int = 0
    """What borrowed money cost."""
    slippage_base: int = 0
    """What became of the collateral beyond its price: received − repaid − premium − what our tokens are worth more."""

    @property
    def kept_base(self) -> int:
        """By so much our tokens are worth more."""
        return self.received_base - self.repaid_base - self.premium_base - self.slippage_base

    def gas_base(self, cost_wei: int) -> int:
        """Rounded up."""
        return -(-cost_wei * self.native_price_base // WAD)

    def net_base(self, cost_wei: int) -> int:
        return self.kept_base - self.gas_base(cost_wei)

    def notional_wad(self) -> int:
        return base_to_wad_ceil(self.repaid_base, self.base_unit)

    def loss_wad(self, cost_wei: int) -> int:
        """0 where it earned something."""
        return base_to_wad_ceil(max(0, -self.net_base(cost_wei)), self.base_unit)


@dataclass(frozen=True, slots=True)
class Entry:
    """One mined transaction of ours, as its receipt tells."""

    chain_id: int
    signer: Address
    transaction_hash: Hash32
    nonce: int
    attempt: str
    purpose: Purpose
    borrower: Address | None
    call_index: int
    block_number: int
    block_hash: Hash32
    timestamp_s: int
    succeeded: bool
    gas_used: int
    gas_price_wei: int
    """What was paid per gas."""
    l1_fee_wei: int
    """On top of gas, where a rollup says so in the receipt."""
    movements: tuple[Movement, ...]

    @property
    def cost_wei(self) -> int:
        return self.gas_used * self.gas_price_wei + self.l1_fee_wei


@dataclass(frozen=True, slots=True)
class Valuation:
    """What an entry was worth, known once its block was read."""

    transaction_hash: Hash32
    block_hash: Hash32
    """Of another block the same transaction is worth something else."""
    value: CallValue | None
    """None where a price is missing."""
    lost_race: bool = False
    """It reverted, and by its own reason because somebody else was first."""
    shares: tuple[Share, ...] = ()
    """With what was repaid for each, where several attempts had it in common."""


def base_to_wad_ceil(amount_base: int, base_unit: int) -> int:
    """Whole units of the base currency with 18 decimals, rounded up."""
    return -(-amount_base * WAD // base_unit)


def movements_of(logs: Sequence[Log], accounts: Collection[Address]) -> tuple[Movement, ...]:
    """By how much the accounts' balances changed together, by the ERC-20 `Transfer` logs of one transaction; tokens in order
    of their address, those that did not change left out.

    Exact for tokens whose logs say what they move. One that keeps a fee for itself, or rebases, tells another number."""
    changes: dict[Address, int] = {}
    for log in logs:
        if len(log.topics) != 3 or log.topics[0] != TRANSFER_TOPIC or len(log.data) != 32:
            continue
        moved_raw = int.from_bytes(log.data)
        sender, receiver = Address(log.topics[1][12:]), Address(log.topics[2][12:])
        change_raw = moved_raw * (receiver in accounts) - moved_raw * (sender in accounts)
        changes[log.address] = changes.get(log.address, 0) + change_raw
    return tuple(Movement(token, change_raw) for token, change_raw in sorted(changes.items()) if change_raw)
