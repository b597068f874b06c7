"""Stable-rate debt, which the keeper does not know: a market that has any is refused by name."""

from __future__ import annotations

from keeper.devnet import admin
from keeper.devnet.chain import ON, salted_address
from keeper.devnet.market import Bed
from tests.devnet.keeping import fund

STABLE_RATE = 1
_WHO = salted_address("stable borrower")
_COIN = 10**18


async def borrow_at_a_stable_rate(bed: Bed) -> None:
    """3.0.2 only: an account of its own borrows a whole DAI."""
    await admin.set_stable_borrowing(bed, "DAI", ON)
    ether = bed.asset("WETH").token
    await fund(bed, _WHO)
    await bed.chain.send(_WHO, ether, bed.contracts["Token"], "approve", bed.deployment.pool, _COIN)
    await bed.chain.transact(bed.pool_tx(_WHO, "supply", ether, _COIN, _WHO, 0))
    await bed.chain.transact(bed.pool_tx(_WHO, "borrow", bed.asset("DAI").token, _COIN, STABLE_RATE, 0, _WHO))


async def repay_it(bed: Bed) -> None:
    """All of it, with its interest."""
    dai = bed.asset("DAI").token
    await bed.chain.send(_WHO, dai, bed.contracts["Token"], "approve", bed.deployment.pool, 2 * _COIN)
    await bed.chain.transact(bed.pool_tx(_WHO, "repay", dai, 2**256 - 1, STABLE_RATE, _WHO))
