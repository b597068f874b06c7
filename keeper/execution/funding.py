"""What the liquidator can spend: its real balances, or whatever a rehearsal deals it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from keeper.core.block import BlockRef, Call, CallResult
from keeper.core.hexdata import decode_quantity
from keeper.core.order import Order
from keeper.core.standing import Funds
from keeper.core.units import Address, to_hex
from keeper.execution.rpc import Rpc
from keeper.execution.slots import Slot, SlotFinder
from keeper.execution.tokens import decode_amount_raw, encode_allowance, encode_balance_of
from keeper.execution.wire import pinned

Spending = tuple[Address, Address]
"""(asset, spender): whose allowance lets it pull the asset."""

Read = Callable[[Sequence[Call], BlockRef], Awaitable[Sequence[CallResult]]]


@dataclass(frozen=True, slots=True)
class LiveFunding:
    """The signer's own balances and standing allowances, pinned."""

    read: Read
    rpc: Rpc
    owner: Address

    async def spendable(self, debts: Sequence[Spending], block: BlockRef) -> Mapping[Spending, Funds]:
        """A token that does not answer is left out: an unread balance is not 0, and the others do not depend on it."""
        wanted = list(dict.fromkeys(debts))
        calls = [
            call
            for asset, spender in wanted
            for call in (
                Call(asset, encode_balance_of(self.owner)),
                Call(asset, encode_allowance(self.owner, spender)),
            )
        ]
        answers = await self.read(calls, block) if calls else ()
        found: dict[Spending, Funds] = {}
        for spending, balance, allowance in zip(wanted, answers[::2], answers[1::2], strict=True):
            if all(answer.ok and len(answer.returndata) >= 32 for answer in (balance, allowance)):
                found[spending] = Funds(
                    decode_amount_raw(balance, "the balance"), decode_amount_raw(allowance, "the allowance")
                )
        return found

    async def gas_money_wei(self, block: BlockRef) -> int | None:
        return decode_quantity(
            await self.rpc.request("eth_getBalance", [to_hex(self.owner), pinned(block)]), "the native balance"
        )


@dataclass(frozen=True, slots=True)
class Dealt:
    """Words of storage that give an account what some orders need."""

    writes: tuple[tuple[Slot, int], ...]
    undealable: frozenset[Spending]
    """No slot was proven for these: orders that need them cannot be simulated."""


@dataclass(frozen=True, slots=True)
class DealtFunding:
    """A rehearsal's money: without bound, written into the state that the calls see."""

    slots: SlotFinder
    owner: Address

    async def spendable(self, debts: Sequence[Spending], block: BlockRef) -> Mapping[Spending, Funds]:
        return {debt: Funds(balance_raw=None, allowance_raw=None) for debt in debts}

    async def gas_money_wei(self, block: BlockRef) -> int | None:
        return None

    async def deal(self, needs_raw: Mapping[Spending, int], block: BlockRef) -> Dealt:
        """Twice `needs_raw` of each asset and as much allowance: spending down to nothing frees storage, and the gas
        measured would be less than that of a liquidator who has more."""
        balances: dict[Address, int] = {}
        writes: dict[Slot, int] = {}
        undealable: set[Spending] = set()
        for (asset, spender), need_raw in needs_raw.items():
            balance = await self.slots.balance(asset, self.owner, block)
            allowance = await self.slots.allowance(asset, self.owner, spender, block)
            if balance is None or allowance is None:
                undealable.add((asset, spender))
                continue
            balances[asset] = balances.get(asset, 0) + need_raw
            writes[balance] = 2 * balances[asset]
            writes[allowance] = 2 * need_raw
        return Dealt(tuple(writes.items()), frozenset(undealable))


def needs_of(orders: Sequence[Order]) -> Mapping[Spending, int]:
    """What the calls of these orders may pull from the signer's own account, together."""
    needs: dict[Spending, int] = {}
    for order in orders:
        for asset, need_raw in order.offer.pulled_raw.items():
            key = (asset, order.spender)
            needs[key] = needs.get(key, 0) + need_raw
    return needs
