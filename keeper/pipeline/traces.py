"""What lately moved each row: kept so that a row found wrong comes with the logs that may have made it so."""

from __future__ import annotations

from collections import deque

from keeper.core.block import Log
from keeper.core.differences import LoggedChange
from keeper.core.lending import BalanceChange, BookEvent, CategorySet, MarketChanged
from keeper.core.units import Address

KEPT = 4_096
TOLD = 20
"""With one difference, the latest ones."""


class Traces:
    """The last `KEPT` events, whoever they touched: some 300 bytes each."""

    def __init__(self, kept: int = KEPT) -> None:
        self._traces: deque[tuple[Log, BookEvent]] = deque(maxlen=kept)
        self._right_at: dict[Address, int] = {}
        """Rows that were compared with the chain at this block since the oldest trace, and were the same."""
        self.since_block: int | None = None
        """Nothing that was noted from this block on has been forgotten."""

    def note(self, log: Log, event: BookEvent) -> None:
        if self.since_block is None:
            self.since_block = log.block_number
        if len(self._traces) == self._traces.maxlen:
            self.since_block = self._traces[0][0].block_number + 1
        self._traces.append((log, event))

    def was_right(self, account: Address, block_number: int) -> None:
        """Nothing up to this block made the row wrong."""
        if self._traces:
            self._right_at[account] = block_number
        if len(self._right_at) > KEPT:
            oldest = self._traces[0][0].block_number
            self._right_at = {who: block for who, block in self._right_at.items() if block >= oldest}
        while len(self._right_at) > KEPT:
            del self._right_at[next(iter(self._right_at))]

    def rewind(self, common_block: int) -> None:
        """Forget what a reorg took back."""
        while self._traces and self._traces[-1][0].block_number > common_block:
            self._traces.pop()
        self._right_at = {who: block for who, block in self._right_at.items() if block <= common_block}

    def of(self, account: Address | None, reserve_id: int | None) -> tuple[LoggedChange, ...]:
        """The latest that touched the account since it was last right; without an account, that touched the reserve. What
        changed the market may have touched anybody."""
        since = self._right_at.get(account, -1) if account is not None else -1
        found: deque[tuple[Log, BookEvent]] = deque(maxlen=TOLD)
        for log, event in self._traces:
            if isinstance(event, MarketChanged):
                touched = True
            elif account is None:
                touched = isinstance(event, BalanceChange) and event.reserve_id == reserve_id
            else:
                touched = event.account == account
            if touched and log.block_number > since:
                found.append((log, event))
        return tuple(
            LoggedChange(log.block_number, log.transaction_hash, log.log_index, in_words(event)) for log, event in found
        )


def in_words(event: BookEvent) -> str:
    """An event as the journal keeps it."""
    if isinstance(event, BalanceChange):
        return (
            f"{event.kind.value} {event.side.value} of reserve {event.reserve_id}: value {event.value},"
            f" interest {event.balance_increase_raw} raw, index {event.index_ray} ray"
        )
    if isinstance(event, MarketChanged):
        return f"the market changed: {event.event}"
    if isinstance(event, CategorySet):
        return f"e-mode set to {event.category}"
    return f"reserve {event.reserve_id} switched {'on' if event.enabled else 'off'} as collateral"
