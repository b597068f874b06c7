"""Every reason for a "no", provoked on the real contracts: the adapter's refusal carries the contract's own error."""

from __future__ import annotations

from itertools import product

from eth_utils.crypto import keccak

from keeper.core.lending import Pair, Refusal
from keeper.core.outcome import Reason
from keeper.core.units import UINT256_MAX, Address, to_hex
from keeper.devnet import admin
from keeper.devnet.chain import OFF, salted_address
from keeper.devnet.market import Bed
from keeper.devnet.openings import Leg, Opening
from keeper.devnet.positions import drain, open_all
from keeper.devnet.script import set_prices
from keeper.devnet.spec import USD
from keeper.protocols.aave_v3.market import Market
from keeper.protocols.aave_v3.refusals import PANIC_ARITHMETIC, WITHOUT_DATA
from tests.protocols.liquidator import LIQUIDATOR, Liquidator, equipped_liquidator
from tests.protocols.onchain import Watcher

BORROWER = salted_address("refused")
PLAIN = Opening(
    BORROWER, "plain", (Leg("WETH", 10 * 10**18), Leg("WBTC", 10**7)), (Leg("USDC", 25_000 * 10**6), Leg("DAI", 10**21))
)
"""32 000 of WETH at 83.5 % and 6 400 of WBTC at 78 %, against 26 000 of debt."""
PRICE_AT_097 = {"WETH": 2_435 * USD}
PRICE_AT_090 = {"WETH": 2_210 * USD}
ACTIVE_BIT = 1 << 56
THRESHOLD_BITS = 0xFFFF << 16
BONUS_BITS = 0xFFFF << 32


class Stage:
    """A borrower before the contract and before the adapter."""

    def __init__(self, bed: Bed, watcher: Watcher, market: Market, liquidator: Liquidator) -> None:
        self.bed = bed
        self.watcher = watcher
        self.market = market
        self.liquidator = liquidator

    async def expect(
        self,
        reason: Reason,
        error: str,
        collateral: str = "WETH",
        debt: str = "USDC",
        *,
        caller: Address = LIQUIDATOR,
        request_raw: int = UINT256_MAX,
    ) -> None:
        """Contract and adapter both refuse the pair, with this error."""
        pair = self._pair(collateral, debt)
        look = await self.watcher.look(self.market, [BORROWER])
        position, at_s = look.positions[BORROWER], look.state.block.timestamp_s + 1
        assert await self.liquidator.refusal(BORROWER, pair, request_raw, at_s, caller) == error
        adapter = self.watcher.adapter
        pairs = adapter.pairs(look.state, position, caller, at_s)
        ids = list(product(sorted(position.collateral_scaled), sorted(position.debt_scaled)))
        if (pair.collateral_id, pair.debt_id) in ids:
            refusal = pairs[ids.index((pair.collateral_id, pair.debt_id))]
            assert isinstance(refusal, Refusal)
            assert (refusal.skip.reason, refusal.contract_error) == (reason, error)
        if caller == LIQUIDATOR:
            quoted = adapter.quote_liquidation(look.state, position, pair, request_raw, at_s)
            assert isinstance(quoted, Refusal)
            assert (quoted.skip.reason, quoted.contract_error) == (reason, error)
            assert adapter.allowed_debt_to_cover(look.state, position, pair, at_s) == []

    async def expect_success(self, collateral: str = "WETH", debt: str = "USDC") -> None:
        """What is refused is refused for the reason under test alone."""
        look = await self.watcher.look(self.market, [BORROWER])
        at_s = look.state.block.timestamp_s + 1
        assert await self.liquidator.refusal(BORROWER, self._pair(collateral, debt), UINT256_MAX, at_s) is None
        assert any(
            isinstance(pair, Pair)
            for pair in self.watcher.adapter.pairs(look.state, look.positions[BORROWER], LIQUIDATOR, at_s)
        )

    def _pair(self, collateral: str, debt: str) -> Pair:
        one, other = self.bed.asset(collateral), self.bed.asset(debt)
        return Pair(one.reserve_id, other.reserve_id, one.token, other.token, 0, 0)

    async def change_configuration(self, symbol: str, *, clear: int) -> None:
        """Clear bits of a reserve's configuration in storage: what the configurator refuses while there are suppliers."""
        pool, rpc = to_hex(self.bed.deployment.pool), self.bed.chain.rpc
        word = int((await self.bed.pool("getReserveData", self.bed.asset(symbol).token))[0][0])
        for slot in range(200):
            key = keccak(self.bed.asset(symbol).token.rjust(32, b"\0") + slot.to_bytes(32, "big"))
            if int(await rpc.request("eth_getStorageAt", [pool, to_hex(key), "latest"]), 16) == word:
                await rpc.request("anvil_setStorageAt", [pool, to_hex(key), f"{word & ~clear:#066x}"])
                await rpc.request("evm_mine")
                return
        raise AssertionError("the pool's reserve mapping was not found")


async def stage(bed: Bed, opening: Opening = PLAIN) -> Stage:
    await open_all(bed, [opening], {symbol: await bed.price_base(symbol) for symbol in bed.deployment.symbols})
    watcher = Watcher(bed)
    market = await watcher.discover()
    return Stage(bed, watcher, market, await equipped_liquidator(bed, market))


async def test_healthy(bed: Bed) -> None:
    here = await stage(bed)
    await here.expect(Reason.HEALTHY_NOW, "HealthFactorNotBelowThreshold")
    await set_prices(bed, PRICE_AT_097)
    await here.expect_success()


async def test_own_position(bed: Bed) -> None:
    here = await stage(bed)
    await set_prices(bed, PRICE_AT_097)
    if bed.deployment.version == "3.6":
        await here.expect(Reason.SELF_LIQUIDATION, "SelfLiquidation", caller=BORROWER)
    else:
        look = await here.watcher.look(here.market, [BORROWER])
        pairs = here.watcher.adapter.pairs(look.state, look.positions[BORROWER], BORROWER, look.state.block.timestamp_s)
        assert all(isinstance(pair, Pair) for pair in pairs)


async def test_paused_on_either_side(bed: Bed) -> None:
    here = await stage(bed)
    await set_prices(bed, PRICE_AT_097)
    for symbol in ("WETH", "USDC"):
        await admin.pause(bed, symbol)
        await here.expect(Reason.RESERVE_PAUSED, "ReservePaused")
        await admin.unpause(bed, symbol)
    await admin.pause(bed, "GUSD")
    await here.expect_success()


async def test_frozen_is_no_obstacle(bed: Bed) -> None:
    here = await stage(bed)
    await set_prices(bed, PRICE_AT_097)
    await admin.set_frozen(bed, "WETH", frozen=True)
    await here.expect_success()


async def test_inactive_on_either_side(bed: Bed) -> None:
    here = await stage(bed)
    await set_prices(bed, PRICE_AT_097)
    await here.change_configuration("USDC", clear=ACTIVE_BIT)
    await here.expect(Reason.RESERVE_INACTIVE, "ReserveInactive")
    await here.expect_success(debt="DAI")
    await here.change_configuration("WETH", clear=ACTIVE_BIT)
    await here.expect(Reason.RESERVE_INACTIVE, "ReserveInactive", debt="DAI")


async def test_grace_period_to_its_last_second(bed36: Bed) -> None:
    here = await stage(bed36)
    await set_prices(bed36, PRICE_AT_097)
    await admin.pause(bed36, "WETH")
    await admin.unpause(bed36, "WETH", grace_period_s=600)
    await here.expect(Reason.GRACE_PERIOD, "LiquidationGraceSentinelCheckFailed")
    look = await here.watcher.look(here.market, [BORROWER])
    until_s = look.state.reserves[bed36.asset("WETH").reserve_id].grace_until_s
    # The refusal is judged one second after the latest block.
    await bed36.chain.advance(until_s - 1 - look.state.block.timestamp_s)
    assert await bed36.chain.now_s() == until_s - 1
    await here.expect(Reason.GRACE_PERIOD, "LiquidationGraceSentinelCheckFailed")
    await bed36.chain.advance(1)
    await here.expect_success()


async def test_sentinel_holds_only_shallow_liquidations(bed: Bed) -> None:
    here = await stage(bed)
    uptime = await admin.set_sentinel(bed, grace_period_s=600)
    await set_prices(bed, PRICE_AT_097)
    await admin.set_sequencer(bed, uptime, up=False)
    # The market still knows no sentinel: until it is discovered again, nothing shallow is allowed.
    await here.expect(Reason.SEQUENCER_SENTINEL, "PriceOracleSentinelCheckFailed")
    here.market = await here.watcher.discover()
    await here.expect(Reason.SEQUENCER_SENTINEL, "PriceOracleSentinelCheckFailed")
    await admin.set_sequencer(bed, uptime, up=True)
    await here.expect(Reason.SEQUENCER_SENTINEL, "PriceOracleSentinelCheckFailed")
    await bed.chain.advance(601)
    await here.expect_success()
    await admin.set_sequencer(bed, uptime, up=False)
    await set_prices(bed, PRICE_AT_090)
    await here.expect_success()


async def test_supplied_but_not_collateral(bed: Bed) -> None:
    here = await stage(bed)
    wbtc = bed.asset("WBTC").token
    await bed.chain.transact(bed.pool_tx(BORROWER, "setUserUseReserveAsCollateral", wbtc, OFF))
    await set_prices(bed, PRICE_AT_090)
    await here.expect(Reason.NOT_COLLATERAL, "CollateralCannotBeLiquidated", collateral="WBTC")
    await here.expect_success()


async def test_a_collateral_without_a_threshold_up_to_3_5(bed302: Bed) -> None:
    here = await stage(bed302)
    await set_prices(bed302, PRICE_AT_097)
    await here.change_configuration("WBTC", clear=THRESHOLD_BITS)
    await here.expect(Reason.NOT_COLLATERAL, "CollateralCannotBeLiquidated", collateral="WBTC")
    await here.expect_success()


async def test_an_asset_that_is_not_owed(bed: Bed) -> None:
    here = await stage(bed)
    await set_prices(bed, PRICE_AT_097)
    await here.expect(Reason.SIMULATION_REVERTED, "SpecifiedCurrencyNotBorrowedByUser", debt="GUSD")


async def test_no_bonus_from_3_6(bed36: Bed) -> None:
    """Outside its e-mode a flagged collateral may have neither threshold nor bonus."""
    here = await stage(bed36)
    await set_prices(bed36, PRICE_AT_090)
    await here.change_configuration("WBTC", clear=THRESHOLD_BITS | BONUS_BITS)
    # The protocol fee divides by the bonus; without a fee the burn of nothing fails.
    await here.expect(Reason.ZERO_BONUS, WITHOUT_DATA, collateral="WBTC")
    await admin.set_protocol_fee(bed36, "WBTC", 0)
    await here.expect(Reason.ZERO_BONUS, "InvalidBurnAmount", collateral="WBTC")
    await here.expect_success()


async def test_collateral_that_is_all_lent_out(bed: Bed) -> None:
    here = await stage(bed)
    await drain(bed, "WETH")
    await set_prices(bed, PRICE_AT_097)
    await here.expect(Reason.NO_COLLATERAL_LIQUIDITY, PANIC_ARITHMETIC)


async def test_collateral_that_is_mostly_lent_out(bed: Bed) -> None:
    here = await stage(bed)
    left_raw = 10**17
    await drain(bed, "WETH", leave_raw=left_raw)
    await set_prices(bed, PRICE_AT_097)
    look = await here.watcher.look(here.market, [BORROWER])
    position, at_s = look.positions[BORROWER], look.state.block.timestamp_s + 1
    pair, adapter = here._pair("WETH", "USDC"), here.watcher.adapter
    ((low, high),) = adapter.allowed_debt_to_cover(look.state, position, pair, at_s)
    assert low <= 2
    assert await here.liquidator.refusal(BORROWER, pair, high, at_s) is None
    assert await here.liquidator.refusal(BORROWER, pair, high + 1, at_s) == PANIC_ARITHMETIC


async def test_a_price_that_cannot_be_read(bed: Bed) -> None:
    here = await stage(bed)
    await set_prices(bed, PRICE_AT_097)
    await admin.set_answer(bed, "WBTC", 0)
    # Any asset of the position: here one that the call itself does not touch.
    await here.expect(Reason.UNPRICEABLE, WITHOUT_DATA)
