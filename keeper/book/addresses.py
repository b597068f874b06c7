"""Where an account's row is: sorted prefixes of 8 bytes, with a small dictionary for what came since the last merge.

Twelve bytes an account instead of a dictionary's hundred and more. The full address stands in the row and is compared there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from keeper.core.errors import Defect
from keeper.core.units import Address

RECENT_MOST = 4_096
PREFIX_BYTES = 8


class AddressIndex:
    """Account → row number."""

    def __init__(self, address_at: Callable[[int], bytes]) -> None:
        self._address_at = address_at
        """Reads the address back from a row."""
        self._prefixes: NDArray[np.uint64] = np.empty(0, dtype=np.uint64)
        self._rows: NDArray[np.uint32] = np.empty(0, dtype=np.uint32)
        self._recent: dict[Address, int] = {}

    def __len__(self) -> int:
        return len(self._rows) + len(self._recent)

    def find(self, account: Address) -> int | None:
        """Its row number; None for an account that is not here."""
        recent = self._recent.get(account)
        if recent is not None:
            return recent
        place = self._place(account)
        return None if place is None else int(self._rows[place])

    def put(self, account: Address, row: int) -> None:
        """A new account, or another row for a known one."""
        place = self._place(account) if account not in self._recent else None
        if place is not None:
            self._rows[place] = row
            return
        self._recent[account] = row
        if len(self._recent) > max(RECENT_MOST, len(self._rows) // 32):
            self._merge()

    def remove(self, accounts: Iterable[Address]) -> None:
        """Forget them; an account that is not here is passed over."""
        places = []
        for account in accounts:
            if self._recent.pop(account, None) is None:
                place = self._place(account)
                if place is not None:
                    places.append(place)
        if places:
            self._prefixes = np.delete(self._prefixes, places)
            self._rows = np.delete(self._rows, places)

    def replace_all(self, accounts: NDArray[np.uint8], rows: NDArray[np.uint32]) -> None:
        """All accounts at once: n × 20 bytes and their row numbers."""
        prefixes = prefixes_of(accounts)
        order = np.argsort(prefixes, kind="stable")
        self._prefixes, self._rows = prefixes[order], rows[order]
        self._recent = {}

    def move(self, accounts: NDArray[np.uint8], rows: NDArray[np.uint32]) -> None:
        """Other rows for known accounts (n × 20 bytes). Their addresses must still stand in the old rows."""
        self._merge()
        prefixes = prefixes_of(accounts)
        places = self._prefixes.searchsorted(prefixes)
        shared = self._prefixes.searchsorted(prefixes, side="right") - places > 1
        for which in np.flatnonzero(shared).tolist():
            found = self._place(Address(accounts[which].tobytes()))
            if found is None:
                raise Defect(f"0x{accounts[which].tobytes().hex()} has a row and is not in the index")
            places[which] = found
        self._rows[places] = rows

    def in_order(self) -> NDArray[np.uint32]:
        """All row numbers by ascending prefix: an order that does not depend on where the rows are."""
        self._merge()
        return self._rows

    def _place(self, account: Address) -> int | None:
        prefix = int.from_bytes(account[:PREFIX_BYTES], "big")
        place = int(self._prefixes.searchsorted(np.uint64(prefix)))
        while place < len(self._prefixes) and int(self._prefixes[place]) == prefix:
            if self._address_at(int(self._rows[place])) == account:
                return place
            place += 1
        return None

    def _merge(self) -> None:
        if not self._recent:
            return
        accounts = np.frombuffer(b"".join(self._recent), dtype=np.uint8).reshape(-1, 20)
        rows = np.fromiter(self._recent.values(), dtype=np.uint32, count=len(self._recent))
        prefixes = prefixes_of(accounts)
        order = np.argsort(prefixes, kind="stable")
        places = self._prefixes.searchsorted(prefixes[order])
        self._prefixes = np.insert(self._prefixes, places, prefixes[order])
        self._rows = np.insert(self._rows, places, rows[order])
        self._recent = {}


def prefixes_of(accounts: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The first 8 bytes of each address as a number that sorts as the bytes do."""
    return np.ascontiguousarray(accounts[:, :PREFIX_BYTES]).view(">u8")[:, 0].astype(np.uint64)
