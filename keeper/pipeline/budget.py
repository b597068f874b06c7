"""What the signers can spend at one head, shared by all its orders and waves. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from keeper.core.decision import Promised
from keeper.core.order import Offer
from keeper.core.outcome import Reason, Skip
from keeper.core.signers import Need, Purse, assign
from keeper.core.standing import Funds
from keeper.core.units import UINT256_MAX, Address

FundKey = tuple[Address, Address]
"""(debt asset, who pulls it)."""
NO_ROOM = "as many transactions as may be are on their way: waits for the next blocks"


@dataclass(slots=True)
class Budget:
    """What is left to one signer."""

    funds: Mapping[FundKey, Funds]
    gas_money_wei: int | None
    """Of the native coin, beyond what must stay;"""
    reserved_raw: dict[FundKey, int] = field(default_factory=dict)
    """Promised to orders that are under way or admitted at this head: they share the balance, and each spender's orders
    its allowance."""
    least_wei: int = 0
    """what must."""

    def refusal(self, offer: Offer, spender: Address, gas_wei: int) -> Skip | None:
        """Why an offer cannot be paid for; None when it can."""
        plan = offer.plan
        for asset, needed_raw in offer.spent_raw.items():
            funds = self.funds.get((asset, spender))
            if funds is None:
                return Skip(Reason.NO_INVENTORY, f"balance of 0x{asset.hex()} is not known", plan.verdict)
            allotted_raw = self.reserved_raw.get((asset, spender), 0)
            refusal = shortage(asset, needed_raw, funds, self._promised_raw(asset), allotted_raw)
            if refusal is not None:
                return Skip(refusal.reason, refusal.detail, plan.verdict)
        if self.gas_money_wei is not None and self.gas_money_wei < gas_wei:
            beyond = f" beyond the {self.least_wei} that must stay" if self.least_wei else ""
            detail = f"gas may cost {gas_wei} wei, {self.gas_money_wei} are left{beyond}"
            return Skip(Reason.NO_INVENTORY, detail, plan.verdict)
        return None

    def purse(self, signer: Address, room: int | None, assets: Iterable[Address], spender: Address) -> Purse:
        """What is left as the rule for several signers sees it; what is without bound as more than anybody needs."""
        funds_raw: dict[Address, int] = {}
        for asset in assets:
            funds = self.funds.get((asset, spender))
            if funds is not None:
                funds_raw[asset] = min(
                    _left(funds.balance_raw, self._promised_raw(asset)),
                    _left(funds.allowance_raw, self.reserved_raw.get((asset, spender), 0)),
                )
        gas_money_wei = UINT256_MAX if self.gas_money_wei is None else self.gas_money_wei
        return Purse(signer, UINT256_MAX if room is None else room, gas_money_wei, funds_raw)

    def _promised_raw(self, asset: Address) -> int:
        return sum(raw for (each, _), raw in self.reserved_raw.items() if each == asset)

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
        """Take that back: nothing of the offer is on its way."""
        self._promise(offer, spender, gas_wei, -1)

    def _promise(self, offer: Offer, spender: Address, gas_wei: int, sign: int) -> None:
        for asset, needed_raw in offer.spent_raw.items():
            self.reserved_raw[asset, spender] = self.reserved_raw.get((asset, spender), 0) + sign * needed_raw
        if self.gas_money_wei is not None:
            self.gas_money_wei -= sign * gas_wei


def _left(held_raw: int | None, promised_raw: int) -> int:
    return UINT256_MAX if held_raw is None else held_raw - promised_raw


@dataclass(frozen=True, slots=True)
class Budgets:
    """What is left to each signer, in the configured order."""

    by_signer: Mapping[Address, Budget]

    def take(
        self,
        offer: Offer,
        spender: Address,
        gas_wei: int,
        rooms: Mapping[Address, int | None],
        reserved: Mapping[Address, Address],
    ) -> Address | Skip:
        """Reserve what the offer needs of the signer that takes it; or why nobody does. `rooms`: how many more transactions
        each may put on their way, of those that may send; `reserved`: borrowers that belong to one."""
        borrower, verdict = offer.plan.borrower, offer.plan.verdict
        need = Need(borrower, len(offer.gas), gas_wei, offer.spent_raw)
        purses = [self.by_signer[signer].purse(signer, room, need.pulls_raw, spender) for signer, room in rooms.items()]
        [signer] = assign([need], purses, reserved)
        if signer is not None:
            self.by_signer[signer].reserve(offer, spender, gas_wei)
            return signer
        owner = reserved.get(borrower)
        asked = [each for each in rooms if owner in (None, each)]
        if not asked:
            return Skip(
                Reason.RESERVED, "its last transaction may still be mined, and its signer sends nothing now", verdict
            )
        refusals = [self.by_signer[each].refusal(offer, spender, gas_wei) for each in asked]
        return next((each for each in refusals if each is not None), Skip(Reason.RESERVED, NO_ROOM, verdict))

    def reserve(self, signer: Address, offer: Offer, spender: Address, gas_wei: int) -> None:
        self.by_signer[signer].reserve(offer, spender, gas_wei)

    def release(self, signer: Address, offer: Offer, spender: Address, gas_wei: int) -> None:
        self.by_signer[signer].release(offer, spender, gas_wei)


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
