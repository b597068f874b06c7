"""What kind of market stands at an address, as of one block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from keeper.core.block import BlockRef
from keeper.core.errors import MarketError
from keeper.core.lending import LendingAdapter
from keeper.core.units import Address, to_hex
from keeper.pipeline.tasks import drive
from keeper.ports import Chain

Market = TypeVar("Market")
State = TypeVar("State")

ASK_AGAIN_S = 10
"""How often a market of no known kind is looked at without any sign that it changed."""


class Discovery(Generic[Market, State]):
    """The market at one address, read again when something says that it is another, and whether its kind is known."""

    def __init__(
        self,
        chain: Chain,
        adapter: LendingAdapter[Market, State],
        entry: Address,
        check_preset: Callable[[Market], None],
    ) -> None:
        self.unknown: str | None = None
        """Why the market is of no known kind since it changed; None while it is of one."""
        self._known_again = False
        self._chain = chain
        self._adapter = adapter
        self._entry = entry
        self._check_preset = check_preset
        self._checked = False
        """Whether the market was held against its preset: later changes are announced by the market itself."""
        self._asked_s = self._asked_block = 0

    async def find(self, block: BlockRef, rules: str | None) -> tuple[Market, bool]:
        """The market as it is at `block`; and whether the named rules, those in use until now, fit it (None: any do). Raises
        `MarketError` and `ChainError`."""
        candidates = await discover(self._chain, self._adapter, self._entry, block)
        if not self._checked:
            self._check_preset(candidates[0])
            self._checked = True
        same = [market for market in candidates if self._adapter.rules_name(market) == rules]
        return (same or candidates)[0], rules is None or bool(same)

    async def find_again(self, head: BlockRef, market: Market) -> tuple[Market, bool]:
        """After a change, as `find`; `settle` once what it returned is in use. A market of no known kind stays what it was, as
        far as that goes; once it is known again no rules fit what happened meanwhile."""
        self._known_again = False
        self._asked_s, self._asked_block = head.timestamp_s, head.number
        try:
            found, rules_fit = await self.find(head, self._adapter.rules_name(market))
        except MarketError as error:
            self.unknown = str(error)
            return market, True
        self._known_again = True
        return found, rules_fit and self.unknown is None

    def settle(self) -> None:
        """What `find_again` found last is in use."""
        if self._known_again:
            self.unknown = None

    def is_due(self, head: BlockRef) -> bool:
        """Now and then while the market is of no known kind, though no log asks for it."""
        return self.unknown is not None and abs(head.timestamp_s - self._asked_s) >= ASK_AGAIN_S

    def is_undone_by(self, common_block: int) -> bool:
        """Whether a reorg to this block takes back what was found last."""
        return common_block < self._asked_block


async def discover(
    chain: Chain, adapter: LendingAdapter[Market, State], entry: Address, block: BlockRef
) -> Sequence[Market]:
    """The market under every set of rules that may be its own, likeliest first. Raises `MarketError` when there is none."""
    candidates = adapter.candidates(await drive(adapter.discover(entry), lambda calls: chain.read(calls, block)))
    if not candidates:
        raise MarketError(f"{to_hex(entry)}: no known rules fit this market ({adapter.protocol})")
    return candidates
