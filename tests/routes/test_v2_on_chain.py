"""Our arithmetic of a V2 pair against the real contract: what we say goes out is accepted, one unit more is not."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from keeper.core.swap import StepKind
from keeper.core.units import Address
from keeper.devnet.chain import Tx
from keeper.devnet.errors import Reverted
from keeper.devnet.market import Bed
from keeper.devnet.uniswap import Uniswap, deploy_uniswap, open_v2_pair
from keeper.routes.v2_pair import V2Pair
from tests.protocols.onchain import cases
from tests.routes.on_chain import TRADER, equip, following, pool_at


async def swapped(bed: Bed, uniswap: Uniswap, pair: V2Pair, token_in: Address, paid_raw: int, out_raw: int) -> None:
    """As the executor does it: send, then ask. Raises Reverted."""
    await bed.chain.transact(bed.call_tx(TRADER, token_in, "Token", "transfer", pair.address, paid_raw))
    amounts = (0, out_raw) if token_in == pair.token0 else (out_raw, 0)
    call = uniswap.contracts["UniswapV2Pair"].function("swap").encode((*amounts, TRADER, b""))
    await bed.chain.transact(Tx(TRADER, pair.address, call), "swap")


async def test_a_pair_gives_what_we_say_and_no_unit_more(bed36: Bed) -> None:
    rng = random.Random("v2")
    uniswap = await deploy_uniswap(bed36)
    address = await open_v2_pair(bed36, uniswap, "WETH", "USDC", 1_000_000)
    watch = following(bed36, uniswap, ("WETH", "USDC"))
    await watch.discover()
    await equip(bed36, uniswap, ("WETH", "USDC"))
    for _ in range(cases(8, 60)):
        for exact_out in (False, True):
            seen = pool_at(await watch.look(("WETH", "USDC")), address)
            assert isinstance(seen, V2Pair) and seen.margin_bps == 5
            pair = replace(seen, margin_bps=0)
            symbol = rng.choice(("WETH", "USDC"))
            token, unit = watch.token(symbol), 10 ** bed36.asset(symbol).decimals
            sold = pair.sell(token, rng.randint(1, 50) * unit // rng.choice((1, 10, 1_000)))
            assert sold is not None
            if exact_out:
                sold = pair.buy(token, sold.amount_out_raw)
                assert sold is not None
            with pytest.raises(Reverted):
                await swapped(bed36, uniswap, pair, token, sold.amount_in_raw, sold.amount_out_raw + 1)
            await _skim(bed36, uniswap, pair)
            await swapped(bed36, uniswap, pair, token, sold.amount_in_raw, sold.amount_out_raw)
            after = pool_at(await watch.look(("WETH", "USDC")), address)
            assert isinstance(after, V2Pair) and isinstance(sold.after, V2Pair)
            assert (after.reserve0_raw, after.reserve1_raw) == (sold.after.reserve0_raw, sold.after.reserve1_raw)


async def _skim(bed: Bed, uniswap: Uniswap, pair: V2Pair) -> None:
    """Take back what a refused swap left there."""
    await bed.chain.send(TRADER, pair.address, uniswap.contracts["UniswapV2Pair"], "skim", TRADER)


def test_a_margin_is_off_every_sale_and_none_of_an_exact_output() -> None:
    first, second = Address(b"\1" * 20), Address(b"\2" * 20)
    plain, careful = (V2Pair(Address(b"\3" * 20), first, second, 30, 10**24, 10**12, margin) for margin in (0, 5))
    whole, less = plain.sell(first, 10**21), careful.sell(first, 10**21)
    assert whole is not None and less is not None
    assert less.amount_out_raw == whole.amount_out_raw * 9_995 // 10_000
    assert careful.buy(first, 10**9) is not None and not careful.takes_exact_orders
    step = careful.step(first, 5, 4, exact_out=False)
    assert step.kind is StepKind.PAIR_V2 and step.zero_for_one and step.token_out == second
    assert plain.sell(first, 0) is None and plain.buy(first, 10**12) is None
