"""A made-up Aave 3.6 market of any size: its rows, the logs that led to them, and its contracts' answers.

Every index is one ray and stands still, so what a row stores is what its logs said. Nothing ever moves after the last log.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from keeper.core.block import BlockRef, Call, CallResult, Log
from keeper.core.lending import Health, Position
from keeper.core.units import RAY, Address, Hash32
from keeper.protocols.aave_v3 import selectors as s
from keeper.protocols.aave_v3.adapter import AaveV3
from keeper.protocols.aave_v3.market import Market
from keeper.protocols.aave_v3.state import State
from keeper.protocols.aave_v3.words import WORD, encode_word

USD = 10**8
UNIT = 10**18
FIRST_S = 1_700_000_000
BLOCK_S = 12
POOL_REVISION = 9
CHAIN_ID = 990_001
PROVIDER, POOL, CONFIGURATOR, ORACLE = (Address(bytes([kind]) * 20) for kind in (0xE1, 0xE2, 0xE3, 0xE4))
_CONFIG = 8_000 | 8_250 << 16 | 10_500 << 32 | 18 << 48 | 1 << 56 | 1_000 << 152


def asset(reserve_id: int) -> Address:
    return Address(b"\xa5" + reserve_id.to_bytes(19))


def a_token(reserve_id: int) -> Address:
    return Address(b"\xa7" + reserve_id.to_bytes(19))


def debt_token(reserve_id: int) -> Address:
    return Address(b"\xd7" + reserve_id.to_bytes(19))


def header(number: int) -> BlockRef:
    """The chain has one block of each number."""
    return BlockRef(number, _hash(number), _hash(number - 1), FIRST_S + BLOCK_S * number, 10**9, 30_000_000)


def _hash(number: int) -> Hash32:
    return Hash32(b"\xb1" + (number + 1).to_bytes(31))


@dataclass(frozen=True)
class Size:
    borrowers: int
    reserves: int = 30
    blocks: int = 10_000
    """The logs are spread over this many; empty blocks may follow."""
    seed: int = 1


@dataclass
class SyntheticMarket:
    """2.2 collaterals and one debt for each borrower, health around 1.4."""

    size: Size
    rows: dict[Address, Position] = field(init=False)
    totals: dict[Address, int] = field(init=False)
    """By token, scaled."""

    def __post_init__(self) -> None:
        rng = random.Random(self.size.seed)
        self.rows = {row.borrower: row for row in (self._row(rng) for _ in range(self.size.borrowers))}
        self.totals = {}
        for row in self.rows.values():
            for token_of, balances in ((a_token, row.collateral_scaled), (debt_token, row.debt_scaled)):
                for reserve_id, scaled in balances.items():
                    token = token_of(reserve_id)
                    self.totals[token] = self.totals.get(token, 0) + scaled
        self._answers = self._contract_answers()

    def _row(self, rng: random.Random) -> Position:
        ids = range(self.size.reserves)
        collateral = {i: rng.randrange(10**20, 10**21) for i in rng.sample(ids, rng.choice((1, 2, 2, 3, 3)))}
        debt = {rng.choice(ids): sum(collateral.values()) * rng.randrange(40, 70) // 100}
        return Position(Address(rng.randbytes(20)), collateral, debt, frozenset(collateral), 0)

    # -- logs ----------------------------------------------------------------------------------------------------

    def logs(self) -> Iterator[Log]:
        """In order: each borrower supplies, each collateral is switched on, then it borrows."""
        per_block = -(-len(self.rows) // self.size.blocks)
        index = 0
        for place, row in enumerate(self.rows.values()):
            block = header(1 + place // per_block)
            if place % per_block == 0:
                index = 0
            for address, topics, content in _log_bodies(row):
                transaction = Hash32(place.to_bytes(32))
                yield Log(address, topics, content, block.number, block.hash, transaction, index)
                index += 1

    # -- answers -------------------------------------------------------------------------------------------------

    def answer(self, call: Call, block: BlockRef) -> CallResult:
        """What the contract returns; a revert without a word for what it does not have."""
        function = self._answers.get((call.target, call.calldata[:4]))
        if function is None:
            return CallResult(ok=False, returndata=b"")
        argument = call.calldata[4:]
        return CallResult(ok=True, returndata=function(argument[-20:], block))

    def _contract_answers(self) -> Mapping[tuple[Address, bytes], Callable[[bytes, BlockRef], bytes]]:
        def fixed(*words: int | bytes) -> Callable[[bytes, BlockRef], bytes]:
            packed = b"".join(map(encode_word, words))
            return lambda argument, block: packed

        reserves = range(self.size.reserves)
        found: dict[tuple[Address, bytes], Callable[[bytes, BlockRef], bytes]] = {
            (PROVIDER, s.GET_POOL): fixed(POOL),
            (PROVIDER, s.GET_POOL_CONFIGURATOR): fixed(CONFIGURATOR),
            (PROVIDER, s.GET_PRICE_ORACLE): fixed(ORACLE),
            (PROVIDER, s.GET_PRICE_ORACLE_SENTINEL): fixed(0),
            (ORACLE, s.BASE_CURRENCY_UNIT): fixed(USD),
            (ORACLE, s.GET_ASSET_PRICE): fixed(USD),
            (ORACLE, s.GET_SOURCE_OF_ASSET): fixed(0),
            (POOL, s.ADDRESSES_PROVIDER): fixed(PROVIDER),
            (POOL, s.POOL_REVISION): fixed(POOL_REVISION),
            (POOL, s.GET_RESERVES_LIST): fixed(WORD, self.size.reserves, *map(asset, reserves)),
            (POOL, s.GET_E_MODE_CATEGORY_COLLATERAL_CONFIG): fixed(0, 0, 0),
            (POOL, s.GET_RESERVE_NORMALIZED_INCOME): fixed(RAY),
            (POOL, s.GET_RESERVE_NORMALIZED_VARIABLE_DEBT): fixed(RAY),
            (POOL, s.GET_VIRTUAL_UNDERLYING_BALANCE): fixed(10**30),
            (POOL, s.GET_USER_E_MODE): fixed(0),
            (POOL, s.GET_RESERVE_DATA): lambda argument, block: _reserve_data(argument[-1], block),
            (POOL, s.GET_USER_CONFIGURATION): lambda argument, block: encode_word(_flags(self._of(argument))),
            (POOL, s.GET_USER_ACCOUNT_DATA): lambda argument, block: self._account_data(self._of(argument), block),
        }
        for selector in (
            s.GET_E_MODE_CATEGORY_LTVZERO_BITMAP,
            s.RESERVE_INTEREST_RATE_STRATEGY,
            s.GET_RESERVE_DEFICIT,
            s.GET_E_MODE_CATEGORY_COLLATERAL_BITMAP,
            s.GET_LIQUIDATION_GRACE_PERIOD,
        ):
            found[POOL, selector] = fixed(0)
        for reserve_id in reserves:
            found[a_token(reserve_id), s.SCALED_BALANCE_OF] = self._balances(reserve_id, debt=False)
            found[debt_token(reserve_id), s.SCALED_BALANCE_OF] = self._balances(reserve_id, debt=True)
            for token in (a_token(reserve_id), debt_token(reserve_id)):
                found[token, s.SCALED_TOTAL_SUPPLY] = fixed(self.totals.get(token, 0))
            found[asset(reserve_id), s.SYMBOL] = fixed(f"S{reserve_id:02}".encode().ljust(WORD, b"\0"))
        return found

    def _balances(self, reserve_id: int, *, debt: bool) -> Callable[[bytes, BlockRef], bytes]:
        def answer(argument: bytes, block: BlockRef) -> bytes:
            row = self._of(argument)
            return encode_word((row.debt_scaled if debt else row.collateral_scaled).get(reserve_id, 0))

        return answer

    def _of(self, argument: bytes) -> Position:
        account = Address(argument)
        return self.rows.get(account) or Position(account, {}, {}, frozenset(), 0)

    def _account_data(self, row: Position, block: BlockRef) -> bytes:
        health = AaveV3().health(self.state(block), row, block.timestamp_s)
        assert isinstance(health, Health)
        numbers = (
            health.collateral_base,
            health.debt_base,
            health.available_borrows_base,
            health.liquidation_threshold_bps,
            health.ltv_bps,
            health.health_factor_wad,
        )
        return b"".join(map(encode_word, numbers))

    def market(self) -> Market:
        """As the keeper discovers it."""
        steps = AaveV3().discover(PROVIDER)
        results: Sequence[CallResult] | None = None
        while True:
            try:
                calls = next(steps) if results is None else steps.send(results)
            except StopIteration as done:
                market: Market = AaveV3().candidates(done.value)[0]
                return market
            results = [self.answer(call, header(0)) for call in calls]

    def state(self, block: BlockRef) -> State:
        known = self.__dict__.get("_state")
        if known is None or known.block != block:
            market = self.__dict__.setdefault("_market", self.market())
            answers = [self.answer(call, block) for call in AaveV3().encode_state(market)]
            known = self.__dict__["_state"] = AaveV3().decode_state(market, block, answers)
        state: State = known
        return state


def _flags(row: Position) -> int:
    borrowed = sum(1 << 2 * reserve_id for reserve_id in row.debt_scaled)
    return borrowed | sum(2 << 2 * reserve_id for reserve_id in row.collateral_enabled)


def _reserve_data(reserve_id: int, block: BlockRef) -> bytes:
    numbers = (_CONFIG, RAY, 0, RAY, 0, 0, block.timestamp_s, reserve_id)
    tokens = (a_token(reserve_id), bytes(20), debt_token(reserve_id), bytes(20))
    return _words(*numbers) + b"".join(map(encode_word, tokens)) + _words(0, 0, 0)


def _log_bodies(row: Position) -> Iterator[tuple[Address, tuple[bytes, ...], bytes]]:
    who = encode_word(row.borrower)
    for reserve_id, scaled in row.collateral_scaled.items():
        yield a_token(reserve_id), (s.MINT_TOPIC, who, who), _words(scaled, 0, RAY)
        flag = (s.RESERVE_USED_AS_COLLATERAL_ENABLED_TOPIC, encode_word(asset(reserve_id)), who)
        yield POOL, flag, b""
    for reserve_id, scaled in row.debt_scaled.items():
        yield debt_token(reserve_id), (s.MINT_TOPIC, who, who), _words(scaled, 0, RAY)
        topics = (s.BORROW_TOPIC, encode_word(asset(reserve_id)), who, encode_word(0))
        yield POOL, topics, encode_word(row.borrower) + _words(scaled, 2, 0)


def _words(*numbers: int) -> bytes:
    return b"".join(map(encode_word, numbers))
