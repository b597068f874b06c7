"""Money for an account that is to liquidate."""

from __future__ import annotations

from collections import Counter

from keeper.core.units import Address
from keeper.devnet.market import ADMIN, Bed

_FACTOR = 2


async def fill_purse(bed: Bed, account: Address) -> None:
    """Coin for gas, and of every token twice what the bed's borrowers owe together. Raises Reverted."""
    await bed.chain.fund([account])
    owed_raw: Counter[str] = Counter()
    for opening in bed.openings:
        owed_raw.update({leg.symbol: leg.amount_raw for leg in opening.debt})
    for symbol, amount_raw in owed_raw.items():
        mint = bed.call_tx(ADMIN, bed.asset(symbol).token, "Token", "mint", account, _FACTOR * amount_raw)
        await bed.chain.transact(mint, f"minting {symbol}")
