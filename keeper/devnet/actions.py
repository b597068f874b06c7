"""Random things that people do to a market, for tests that compare a mirror of it with the chain.

`equip` the accounts once, then call `random_action` as often as wanted. What the contract refuses is an outcome too:
it changes nothing, and the caller may count it.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from keeper.core.units import UINT256_MAX, WAD, Address, to_hex
from keeper.devnet.bulk import send_all, wide_blocks
from keeper.devnet.chain import Tx, salted_address
from keeper.devnet.errors import Reverted
from keeper.devnet.market import Bed
from keeper.devnet.positions import VARIABLE_RATE
from keeper.devnet.script import set_prices
from keeper.devnet.spec import ASSETS, EMODES, USD, asset_spec

_PURSE_USD = 10**12
_MONTH_S = 30 * 86_400
_MOVING = ("WETH", "WBTC", "DAI", "GUSD", "wstETH")


@dataclass(frozen=True)
class Done:
    """What was tried: its name, by whom, and whether the contract refused it."""

    name: str
    sender: Address
    refused: bool = False


@dataclass(frozen=True)
class _Turn:
    """One account's chance to do something."""

    rng: random.Random
    bed: Bed
    accounts: Sequence[Address]
    who: Address

    def symbol(self) -> str:
        return self.rng.choice(self.bed.deployment.symbols)

    def other(self) -> Address:
        return self.rng.choice([each for each in self.accounts if each != self.who])

    def part_of(self, whole_raw: int) -> int:
        """Some of it: at times one unit, at times all but one."""
        pick = self.rng.randrange(20)
        if pick == 0:
            return 1
        if pick == 1:
            return max(1, whole_raw - 1)
        return max(1, whole_raw * self.rng.randint(1, 999) // 1_000)

    async def balance(self, token: Address) -> int:
        balance: int = await self.bed.chain.call(token, self.bed.contracts["Token"], "balanceOf", self.who)
        return balance

    async def holding(self, debt: bool) -> tuple[str, int] | None:
        """An asset that the account supplied (or owes), and how much; None if there is none."""
        found = []
        for symbol in self.bed.deployment.symbols:
            asset = self.bed.asset(symbol)
            balance = await self.balance(asset.v_token if debt else asset.a_token)
            if balance:
                found.append((symbol, balance))
        return self.rng.choice(found) if found else None


def new_accounts(n: int, seed: int) -> list[Address]:
    """Fresh accounts, the same for the same arguments."""
    return [salted_address(f"actor {seed}/{index}") for index in range(n)]


async def equip(bed: Bed, accounts: Sequence[Address]) -> None:
    """Give each account coin, a fortune of every token, and the approvals to use them in the pool."""
    await bed.chain.fund(accounts)
    txs: list[Tx] = []
    for who in accounts:
        for symbol in bed.deployment.symbols:
            asset = bed.asset(symbol)
            purse_raw = _PURSE_USD * USD // asset.spec.price_base * 10**asset.decimals
            txs.append(bed.call_tx(who, asset.token, "Token", "mint", who, purse_raw))
            txs.append(bed.call_tx(who, asset.token, "Token", "approve", bed.deployment.pool, UINT256_MAX))
    async with wide_blocks(bed.chain):
        await send_all(bed.chain, txs, "equipping accounts")


async def random_action(
    rng: random.Random, bed: Bed, accounts: Sequence[Address], names: Sequence[str] | None = None
) -> Done:
    """Do one thing that is possible now, chosen by `rng` among `names` (default: all); what it comes to also depends on
    the chain's clock."""
    names = ACTION_NAMES if names is None else names
    while True:
        turn = _Turn(rng, bed, accounts, rng.choice(accounts))
        name = rng.choices(names, weights=[_ACTIONS[each][0] for each in names])[0]
        try:
            if await _ACTIONS[name][1](turn):
                return Done(name, turn.who)
        except Reverted:
            return Done(name, turn.who, refused=True)


async def _pool(turn: _Turn, function: str, *args: object) -> bool:
    await turn.bed.chain.transact(turn.bed.pool_tx(turn.who, function, *args), function)
    return True


async def _supply(turn: _Turn) -> bool:
    symbol = turn.symbol()
    asset = turn.bed.asset(symbol)
    whole_raw = turn.rng.choice((50, 5_000, 500_000)) * USD * 10**asset.decimals // asset.spec.price_base
    beneficiary = turn.who if turn.rng.random() < 0.8 else turn.other()
    return await _pool(turn, "supply", asset.token, turn.part_of(whole_raw), beneficiary, 0)


async def _withdraw(turn: _Turn) -> bool:
    held = await turn.holding(debt=False)
    if held is None:
        return False
    amount_raw = UINT256_MAX if turn.rng.random() < 0.2 else turn.part_of(held[1])
    return await _pool(turn, "withdraw", turn.bed.asset(held[0]).token, amount_raw, turn.who)


async def _borrow(turn: _Turn) -> bool:
    available_base = (await turn.bed.pool("getUserAccountData", turn.who))[2]
    if available_base < USD:
        return False
    mode = await turn.bed.pool("getUserEMode", turn.who)
    choices = [spec.symbol for spec in ASSETS if spec.borrowable]
    if mode:
        choices = [symbol for each in EMODES if each.category_id == mode for symbol in each.borrowable]
    asset = turn.bed.asset(turn.rng.choice(choices))
    whole_raw = available_base * 10**asset.decimals // await turn.bed.price_base(asset.symbol)
    if whole_raw == 0:
        return False
    return await _pool(turn, "borrow", asset.token, turn.part_of(whole_raw), VARIABLE_RATE, 0, turn.who)


async def _borrow_for_another(turn: _Turn) -> bool:
    """The delegate takes the money, the delegator the debt."""
    delegator, symbol = turn.other(), turn.rng.choice(("USDC", "WETH"))
    asset = turn.bed.asset(symbol)
    consent = turn.bed.call_tx(
        delegator, asset.v_token, "VariableDebtToken", "approveDelegation", turn.who, UINT256_MAX
    )
    await turn.bed.chain.transact(consent, "approveDelegation")
    amount_raw = 20 * USD * 10**asset.decimals // asset.spec.price_base
    return await _pool(turn, "borrow", asset.token, amount_raw, VARIABLE_RATE, 0, delegator)


async def _repay(turn: _Turn) -> bool:
    owed = await turn.holding(debt=True)
    if owed is None:
        return False
    amount_raw = UINT256_MAX if turn.rng.random() < 0.3 else turn.part_of(owed[1])
    return await _pool(turn, "repay", turn.bed.asset(owed[0]).token, amount_raw, VARIABLE_RATE, turn.who)


async def _repay_for_another(turn: _Turn) -> bool:
    other = turn.other()
    owed = await _Turn(turn.rng, turn.bed, turn.accounts, other).holding(debt=True)
    if owed is None:
        return False
    token = turn.bed.asset(owed[0]).token
    return await _pool(turn, "repay", token, turn.part_of(owed[1]), VARIABLE_RATE, other)


async def _repay_with_a_tokens(turn: _Turn) -> bool:
    owed = await turn.holding(debt=True)
    if owed is None:
        return False
    asset = turn.bed.asset(owed[0])
    if not await turn.balance(asset.a_token):
        await _pool(turn, "supply", asset.token, turn.part_of(owed[1]), turn.who, 0)
    amount_raw = UINT256_MAX if turn.rng.random() < 0.3 else turn.part_of(owed[1])
    return await _pool(turn, "repayWithATokens", asset.token, amount_raw, VARIABLE_RATE)


async def _transfer_a_tokens(turn: _Turn) -> bool:
    held = await turn.holding(debt=False)
    if held is None:
        return False
    to = turn.other() if turn.rng.random() < 0.8 else salted_address(f"holder {turn.rng.randrange(5)}")
    amount_raw = held[1] if turn.rng.random() < 0.15 else turn.part_of(held[1])
    a_token = turn.bed.asset(held[0]).a_token
    await turn.bed.chain.transact(turn.bed.call_tx(turn.who, a_token, "AToken", "transfer", to, amount_raw), "transfer")
    return True


async def _toggle_collateral(turn: _Turn) -> bool:
    held = await turn.holding(debt=False)
    if held is None:
        return False
    return await _pool(turn, "setUserUseReserveAsCollateral", turn.bed.asset(held[0]).token, turn.rng.random() < 0.5)


async def _change_emode(turn: _Turn) -> bool:
    return await _pool(turn, "setUserEMode", turn.rng.randrange(len(EMODES) + 1))


async def _mint_to_treasury(turn: _Turn) -> bool:
    return await _pool(turn, "mintToTreasury", [turn.bed.asset(turn.symbol()).token])


async def _liquidate(turn: _Turn) -> bool:
    """Somebody below health 1, any pair of theirs, any amount, both payouts."""
    sick = [each for each in await _below_one(turn.bed, turn.accounts) if each != turn.who]
    if not sick:
        return False
    borrower = turn.rng.choice(sick)
    (flags,) = await turn.bed.pool("getUserConfiguration", borrower)
    pledged = [each for each in turn.bed.deployment.assets.values() if flags >> (2 * each.reserve_id + 1) & 1]
    owed = [each for each in turn.bed.deployment.assets.values() if flags >> (2 * each.reserve_id) & 1]
    if not pledged or not owed:
        return False
    collateral, debt = turn.rng.choice(pledged), turn.rng.choice(owed)
    debt_raw = await turn.bed.chain.call(debt.v_token, turn.bed.contracts["Token"], "balanceOf", borrower)
    amount_raw = UINT256_MAX if turn.rng.random() < 0.4 else turn.part_of(debt_raw)
    in_a_tokens = turn.rng.random() < 0.5
    return await _pool(turn, "liquidationCall", collateral.token, debt.token, borrower, amount_raw, in_a_tokens)


async def _below_one(bed: Bed, accounts: Sequence[Address]) -> list[Address]:
    function = bed.contracts["Pool"].function("getUserAccountData")
    calls = [{"to": to_hex(bed.deployment.pool), "data": to_hex(function.encode((each,)))} for each in accounts]
    answers = await bed.chain.batch([("eth_call", [call, "latest"]) for call in calls], "account reads")
    healths = [function.decode(bytes.fromhex(answer[2:]))[5] for answer in answers]
    return [each for each, health in zip(accounts, healths, strict=True) if health < WAD]


async def _move_price(turn: _Turn) -> bool:
    """Up or down by up to a tenth, at times by a third, never far from where it belongs."""
    symbol = turn.rng.choice(_MOVING)
    spec = asset_spec(symbol)
    home = spec.price_base * 117 // 100 if spec.root else spec.price_base
    present = await turn.bed.price_base(symbol)
    pulled = (present * 2 + home) // 3
    most_bps = 3_000 if turn.rng.random() < 0.15 else 1_000
    price = pulled * (10_000 + turn.rng.randint(-most_bps, most_bps)) // 10_000
    await set_prices(turn.bed, {symbol: price})
    return True


async def _let_time_pass(turn: _Turn) -> bool:
    await turn.bed.chain.advance(turn.rng.choice((1, 12, 3_600, 86_400, turn.rng.randrange(1, _MONTH_S))))
    return True


_ACTIONS: dict[str, tuple[int, Callable[[_Turn], Awaitable[bool]]]] = {
    "supply": (14, _supply),
    "withdraw": (10, _withdraw),
    "borrow": (16, _borrow),
    "borrow_for_another": (2, _borrow_for_another),
    "repay": (8, _repay),
    "repay_for_another": (3, _repay_for_another),
    "repay_with_a_tokens": (5, _repay_with_a_tokens),
    "transfer_a_tokens": (8, _transfer_a_tokens),
    "toggle_collateral": (5, _toggle_collateral),
    "change_emode": (5, _change_emode),
    "mint_to_treasury": (2, _mint_to_treasury),
    "liquidate": (16, _liquidate),
    "move_price": (12, _move_price),
    "let_time_pass": (6, _let_time_pass),
}
"""Weight and deed. A deed returns False if there is nothing to do it to."""

ACTION_NAMES: tuple[str, ...] = tuple(_ACTIONS)
