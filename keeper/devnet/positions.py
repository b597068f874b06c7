"""Open planned borrowers through the pool, hundreds in a second or two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from keeper.core.units import UINT256_MAX
from keeper.devnet import admin
from keeper.devnet.bulk import send_all, wide_blocks
from keeper.devnet.chain import Tx, salted_address
from keeper.devnet.market import Bed
from keeper.devnet.openings import Opening, Prices, amount_of, plan_positions, value_base
from keeper.devnet.spec import USD
from keeper.devnet.specials import Crash, special_openings

VARIABLE_RATE = 2
SUPPLIER = salted_address("supplier")
"""Provides the liquidity and supplies on behalf of the borrowers."""
DRAINER = salted_address("drainer")
"""Borrows what `drain` is to take away."""

_LEAST_LIQUIDITY_BASE = 5_000_000 * USD


async def open_positions(bed: Bed, n: int, seed: int = 1, crash: Crash | None = None) -> list[Opening]:
    """Plan and open `n` borrowers, and those made for the crash, on a chain that mines each transaction.

    Raises Reverted, and DevnetError if the crash is too mild.
    """
    prices = {symbol: await bed.price_base(symbol) for symbol in bed.deployment.symbols}
    extra = ("sUSDe",) if bed.deployment.version == "3.6" else ()
    openings = plan_positions(n, seed, prices, extra)
    if crash:
        openings = special_openings(bed.deployment.version, prices, crash) + openings
    await open_all(bed, openings, prices)
    return openings


async def open_all(bed: Bed, openings: Sequence[Opening], prices: Prices) -> None:
    """Open given borrowers, after supplying about twice what they borrow.

    The loan-to-value limits stand at the liquidation thresholds meanwhile, so that a borrower may start at the edge.
    """
    if not openings:
        return
    chain = bed.chain
    await chain.fund([SUPPLIER, *(each.borrower for each in openings)])
    await admin.raise_ltv(bed, to_threshold=True)
    async with wide_blocks(chain):
        await send_all(chain, _liquidity(bed, openings, prices), "supplying liquidity")
        modes = [bed.pool_tx(each.borrower, "setUserEMode", each.emode_id) for each in openings if each.emode_id]
        await send_all(chain, modes, "entering e-modes")
        await send_all(chain, [tx for each in openings for tx in _supplies(bed, each)], "supplying collateral")
        await send_all(chain, [tx for each in openings for tx in _borrows(bed, each)], "borrowing")
    await admin.raise_ltv(bed, to_threshold=False)


async def drain(bed: Bed, symbol: str, leave_raw: int = 0) -> None:
    """Leave only so much of one asset to be withdrawn: an account of ours borrows the rest, far from any edge.

    The asset must be borrowable, with more in the pool than that. Rates jump, as they would.
    """
    asset = bed.asset(symbol)
    pledge = bed.asset("WBTC" if symbol == "WETH" else "WETH")
    token = bed.contracts["Token"]
    held_raw = await bed.chain.call(asset.token, token, "balanceOf", asset.a_token)
    worth = value_base(held_raw, await bed.price_base(symbol), asset.decimals)
    pledge_raw = amount_of(3 * worth + USD, await bed.price_base(pledge.symbol), pledge.decimals)
    await bed.chain.fund([DRAINER])
    await bed.chain.send(DRAINER, pledge.token, token, "mint", DRAINER, pledge_raw)
    await bed.chain.send(DRAINER, pledge.token, token, "approve", bed.deployment.pool, UINT256_MAX)
    await bed.chain.transact(bed.pool_tx(DRAINER, "supply", pledge.token, pledge_raw, DRAINER, 0), "supply")
    borrow = (asset.token, held_raw - leave_raw, VARIABLE_RATE, 0, DRAINER)
    await bed.chain.transact(bed.pool_tx(DRAINER, "borrow", *borrow), "borrow")


def _liquidity(bed: Bed, openings: Sequence[Opening], prices: Prices) -> list[Tx]:
    """Tokens for the supplier, and its supply: twice what will be borrowed of each asset, and never little."""
    borrowed: Counter[str] = Counter()
    pledged: Counter[str] = Counter()
    for opening in openings:
        borrowed.update({leg.symbol: leg.amount_raw for leg in opening.debt})
        pledged.update({leg.symbol: leg.amount_raw for leg in opening.collateral})
    txs: list[Tx] = []
    for symbol in bed.deployment.symbols:
        asset = bed.asset(symbol)
        least = amount_of(_LEAST_LIQUIDITY_BASE, prices[symbol], asset.decimals)
        own = max(2 * borrowed[symbol], least) if asset.spec.borrowable else 0
        txs.append(bed.call_tx(SUPPLIER, asset.token, "Token", "mint", SUPPLIER, own + pledged[symbol]))
        txs.append(bed.call_tx(SUPPLIER, asset.token, "Token", "approve", bed.deployment.pool, UINT256_MAX))
        if own:
            txs.append(bed.pool_tx(SUPPLIER, "supply", asset.token, own, SUPPLIER, 0))
    return txs


def _supplies(bed: Bed, opening: Opening) -> list[Tx]:
    return [
        bed.pool_tx(SUPPLIER, "supply", bed.asset(leg.symbol).token, leg.amount_raw, opening.borrower, 0)
        for leg in opening.collateral
    ]


def _borrows(bed: Bed, opening: Opening) -> list[Tx]:
    who = opening.borrower
    return [
        bed.pool_tx(who, "borrow", bed.asset(leg.symbol).token, leg.amount_raw, VARIABLE_RATE, 0, who)
        for leg in opening.debt
    ]
