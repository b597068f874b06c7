"""What can be spent at one head, shared by all its orders and waves. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from keeper.core.decision import Promised
from keeper.core.order import Offer
from keeper.core.outcome import Reason, Skip
from keeper.core.standing import Funds
from keeper.core.units import Address

FundKey = tuple[Address, Address]
"""(debt asset, who pulls it)."""


@dataclass(slots=True)
class Budget:
    """What is left to spend at one head."""

    funds: Mapping[FundKey, Funds]
    gas_money_wei: int | None
    """Of the native coin, beyond what must stay;"""
    reserved_raw: dict[FundKey, int] = field(default_factory=dict)
    """Promised to orders that are under way or admitted at this head: they share the balance, and each spender's orders
    its allowance."""
    least_wei: int = 0
    """what must."""

    def take(self, offer: Offer, spender: Address, gas_wei: int) -> Skip | None:
        """Reserve what the offer needs; or why that is not possible."""
        plan = offer.plan
        for asset, needed_raw in offer.pulled_raw.items():
            funds = self.funds.get((asset, spender))
            if funds is None:
                return Skip(Reason.NO_INVENTORY, f"balance of 0x{asset.hex()} is not known", plan.verdict)
            promised_raw = sum(raw for (each, _), raw in self.reserved_raw.items() if each == asset)
            refusal = shortage(asset, needed_raw, funds, promised_raw, self.reserved_raw.get((asset, spender), 0))
            if refusal is not None:
                return Skip(refusal.reason, refusal.detail, plan.verdict)
        if self.gas_money_wei is not None and self.gas_money_wei < gas_wei:
            beyond = f" beyond the {self.least_wei} that must stay" if self.least_wei else ""
            detail = f"gas may cost {gas_wei} wei, {self.gas_money_wei} are left{beyond}"
            return Skip(Reason.NO_INVENTORY, detail, plan.verdict)
        self.reserve(offer, spender, gas_wei)
        return None

    def reserve(self, offer: Offer, spender: Address, gas_wei: int) -> None:
        """Promise what the offer may pull, and its gas."""
        self._promise(offer, spender, gas_wei, 1)

    def set_aside(self, promised: Promised) -> None:
        """Promise what transactions of an earlier run may still take."""
        for key, needed_raw in promised.debts_raw.items():
            self.reserved_raw[key] = self.reserved_raw.get(key, 0) + needed_raw
        if self.gas_money_wei is not None:
            self.gas_money_wei -= promised.gas_wei

    def release(self, offer: Offer, spender: Address, gas_wei: int) -> None:
        """Take back what `take` promised: nothing of the offer is on its way."""
        self._promise(offer, spender, gas_wei, -1)

    def _promise(self, offer: Offer, spender: Address, gas_wei: int, sign: int) -> None:
        for asset, needed_raw in offer.pulled_raw.items():
            self.reserved_raw[asset, spender] = self.reserved_raw.get((asset, spender), 0) + sign * needed_raw
        if self.gas_money_wei is not None:
            self.gas_money_wei -= sign * gas_wei


def shortage(asset: Address, needed_raw: int, funds: Funds, reserved_raw: int, allotted_raw: int) -> Skip | None:
    """Why `needed_raw` of an asset cannot be promised; None when it can. `reserved_raw` of the balance and `allotted_raw` of
    the allowance are promised already."""
    if funds.balance_raw is not None and funds.balance_raw - reserved_raw < needed_raw:
        if funds.balance_raw >= needed_raw:
            return Skip(Reason.RESERVED, f"{reserved_raw} of {funds.balance_raw} raw of 0x{asset.hex()} are promised")
        return Skip(Reason.NO_INVENTORY, f"needs {needed_raw} raw of 0x{asset.hex()}, has {funds.balance_raw}")
    if funds.allowance_raw is not None and funds.allowance_raw - allotted_raw < needed_raw:
        return Skip(
            Reason.NO_ALLOWANCE, f"needs an allowance of {needed_raw} raw of 0x{asset.hex()}, has {funds.allowance_raw}"
        )
    return None
