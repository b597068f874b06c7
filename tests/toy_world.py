"""A chain in memory with toy lending pools and tokens on it: blocks, logs, transactions, reorgs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from keeper.core.block import BlockRef, Call, CallResult, Log
from keeper.core.errors import BlockUnavailable
from keeper.core.lending import Position, Refusal, Side
from keeper.core.outcome import Skip
from keeper.core.units import RAY, UINT256_MAX, Address, Hash32
from tests.toy_arithmetic import ToyMarket, ToyReserve, ToyRules, ToyState, terms_of, value_position
from tests.toy_market import TOPICS

GENESIS_S = 1_000_000
BLOCK_S = 2
GAS_PER_CALL = 200_000


@dataclass
class Pool:
    """What one market's contracts store, and what they do. `rules` are the true ones, whatever the keeper believes."""

    entry: Address
    address: Address
    reserves: dict[int, ToyReserve]
    prices_base: dict[int, int | None]
    rules: ToyRules = field(default_factory=ToyRules)
    revision: int = 1
    liquidity_raw: dict[int, int] = field(default_factory=dict)
    index_ray: dict[int, int] = field(default_factory=dict)
    rate_ray_s: dict[int, int] = field(default_factory=dict)
    rows: dict[Address, Position] = field(default_factory=dict)
    misreports_health: bool = False

    def __post_init__(self) -> None:
        for reserve_id in self.reserves:
            self.liquidity_raw.setdefault(reserve_id, 10**40)
            self.index_ray.setdefault(reserve_id, RAY)
            self.rate_ray_s.setdefault(reserve_id, 0)

    def copy(self) -> Pool:
        """Of its own: every dictionary is, and what they hold never changes."""
        return replace(
            self,
            reserves=dict(self.reserves),
            prices_base=dict(self.prices_base),
            liquidity_raw=dict(self.liquidity_raw),
            index_ray=dict(self.index_ray),
            rate_ray_s=dict(self.rate_ray_s),
            rows=dict(self.rows),
        )

    def state(self) -> ToyState:
        market = ToyMarket(self.entry, self.address, self.revision, self.rules, self.reserves)
        return ToyState(market, self.prices_base, self.liquidity_raw, self.index_ray, self.rate_ray_s)

    def row(self, account: Address) -> Position:
        return self.rows.get(account) or Position(account, {}, {}, frozenset(), 0)

    def answer(self, function: str, arguments: dict[str, Any], timestamp_s: int) -> object | None:
        """A read's answer; None where the contract reverts."""
        if function == "config":
            reserves = [
                [r.id, r.asset.hex(), r.unit, r.threshold_bps, r.ltv_bps, r.bonus_bps, r.active, r.paused]
                for r in self.reserves.values()
            ]
            return {"revision": self.revision, "reserves": reserves}
        if function == "state":
            return [self.prices_base, self.liquidity_raw, self.index_ray, self.rate_ray_s]
        if function == "totals":
            reserve_id = arguments["reserve"]
            return [
                sum(row.collateral_scaled.get(reserve_id, 0) for row in self.rows.values()),
                sum(row.debt_scaled.get(reserve_id, 0) for row in self.rows.values()),
                RAY,
                self.state().debt_index_ray(reserve_id, timestamp_s),
            ]
        row = self.row(Address(bytes.fromhex(arguments["account"])))
        if function == "row":
            collateral, debt = sorted(row.collateral_scaled.items()), sorted(row.debt_scaled.items())
            return [collateral, debt, sorted(row.collateral_enabled), row.category]
        health = value_position(self.state(), row, timestamp_s)
        if isinstance(health, Skip):
            return None
        return [
            health.health_factor_wad + self.misreports_health,
            health.collateral_base,
            health.debt_base,
            health.available_borrows_base,
            health.liquidation_threshold_bps,
            health.ltv_bps,
        ]


@dataclass
class Tokens:
    """Balances and allowances of the accounts that matter."""

    balances_raw: dict[tuple[Address, Address], int] = field(default_factory=dict)
    """Per (asset, owner)."""
    allowances_raw: dict[tuple[Address, Address, Address], int] = field(default_factory=dict)
    """Per (asset, owner, spender)."""
    native_wei: dict[Address, int] = field(default_factory=dict)


@dataclass
class State:
    """Everything as of one block."""

    pools: dict[Address, Pool]
    """By the pool's own address."""
    tokens: Tokens = field(default_factory=Tokens)

    def copy(self) -> State:
        tokens = self.tokens
        copied = Tokens(dict(tokens.balances_raw), dict(tokens.allowances_raw), dict(tokens.native_wei))
        return State({address: pool.copy() for address, pool in self.pools.items()}, copied)


@dataclass(frozen=True)
class Receipt:
    succeeded: bool
    error: str
    logs: tuple[Log, ...]
    gas_used: int


@dataclass(frozen=True)
class Transaction:
    sender: Address
    call: Call
    hash: Hash32


@dataclass(frozen=True)
class Block:
    ref: BlockRef
    state: State
    logs: tuple[Log, ...]
    receipts: dict[Hash32, Receipt]


class Draft:
    """The block being built: actions change its state and emit its logs."""

    def __init__(self, parent: Block, timestamp_s: int) -> None:
        self.state = parent.state.copy()
        self.number = parent.ref.number + 1
        self.timestamp_s = timestamp_s
        self.logs: list[Log] = []

    def emit(self, pool: Address, name: str, **fields: object) -> Log:
        placeholder = Hash32(bytes(32))
        log = Log(
            pool, (TOPICS[name],), json.dumps(fields).encode(), self.number, placeholder, placeholder, len(self.logs)
        )
        self.logs.append(log)
        return log

    def move(self, pool: Pool, account: Address, side: Side, reserve_id: int, scaled: int, log: str = "Moved") -> None:
        """Change a balance, with its log."""
        row = pool.row(account)
        balances = dict(row.collateral_scaled if side is Side.COLLATERAL else row.debt_scaled)
        after = balances.pop(reserve_id, 0) + scaled
        assert after >= 0, "the toy's stories keep balances positive"
        if after:
            balances[reserve_id] = after
        if side is Side.COLLATERAL:
            pool.rows[account] = replace(row, collateral_scaled=balances)
        else:
            pool.rows[account] = replace(row, debt_scaled=balances)
        self.emit(pool.address, log, account=account.hex(), reserve=reserve_id, side=side.value, scaled=scaled)

    def flag(self, pool: Pool, account: Address, reserve_id: int, *, enabled: bool) -> None:
        row = pool.row(account)
        flag = frozenset({reserve_id})
        after = row.collateral_enabled | flag if enabled else row.collateral_enabled - flag
        pool.rows[account] = replace(row, collateral_enabled=after)
        self.emit(pool.address, "Flag", account=account.hex(), reserve=reserve_id, enabled=enabled)

    def liquidate(self, sender: Address, call: Call) -> Receipt:
        """Execute a liquidation call; a failed one leaves nothing behind."""
        arguments = json.loads(call.calldata)
        pool = self.state.pools[call.target]
        borrower = Address(bytes.fromhex(arguments["borrower"]))
        row, first = pool.row(borrower), len(self.logs)
        terms = terms_of(pool.state(), row, arguments["collateral"], arguments["debt"], self.timestamp_s)
        quote = terms if isinstance(terms, Refusal) else terms.quote(arguments["request"])
        if isinstance(quote, Refusal):
            return Receipt(False, quote.contract_error, (), GAS_PER_CALL)
        collateral, debt = pool.reserves[arguments["collateral"]].asset, pool.reserves[arguments["debt"]].asset
        tokens, spender = self.state.tokens, pool.address
        if tokens.balances_raw.get((debt, sender), 0) < quote.repaid_raw:
            return Receipt(False, "InsufficientBalance", (), GAS_PER_CALL)
        if tokens.allowances_raw.get((debt, sender, spender), 0) < quote.repaid_raw:
            return Receipt(False, "InsufficientAllowance", (), GAS_PER_CALL)
        tokens.balances_raw[debt, sender] -= quote.repaid_raw
        tokens.allowances_raw[debt, sender, spender] -= quote.repaid_raw
        tokens.balances_raw[collateral, sender] = tokens.balances_raw.get((collateral, sender), 0) + quote.received_raw
        after = quote.position_after
        for reserve_id, before_scaled in row.collateral_scaled.items():
            if (gone := before_scaled - after.collateral_scaled.get(reserve_id, 0)) > 0:
                self.move(pool, borrower, Side.COLLATERAL, reserve_id, -gone)
        for reserve_id, before_scaled in row.debt_scaled.items():
            if (gone := before_scaled - after.debt_scaled.get(reserve_id, 0)) > 0:
                self.move(pool, borrower, Side.DEBT, reserve_id, -gone)
        for reserve_id in sorted(row.collateral_enabled - after.collateral_enabled):
            self.flag(pool, borrower, reserve_id, enabled=False)
        pool.liquidity_raw[arguments["collateral"]] -= quote.received_raw
        self.emit(
            pool.address,
            "Liquidated",
            borrower=borrower.hex(),
            collateral=collateral.hex(),
            debt=debt.hex(),
            repaid=quote.repaid_raw,
            received=quote.received_raw,
            liquidator=sender.hex(),
        )
        return Receipt(True, "", tuple(self.logs[first:]), GAS_PER_CALL)


Action = Callable[[Draft], None]


class World:
    """The canonical chain. `mine` appends; `reorg` cuts, and what is mined then has other hashes."""

    def __init__(self, *pools: Pool) -> None:
        ref = BlockRef(0, Hash32(b"\1" * 32), Hash32(bytes(32)), GENESIS_S, 10, 30_000_000)
        self.blocks = [Block(ref, State({pool.address: pool for pool in pools}), (), {})]
        self.mempool: list[Transaction] = []
        self._branch = 0

    @property
    def tip(self) -> Block:
        return self.blocks[-1]

    def mine(self, *actions: Action, seconds: int = BLOCK_S, include: bool = True, revert: str = "") -> BlockRef:
        """One more block. `include`: whether it takes the transactions that wait; `revert`: they all fail like this."""
        parent = self.tip
        draft = Draft(parent, parent.ref.timestamp_s + seconds)
        for action in actions:
            action(draft)
        receipts = {}
        if include:
            for transaction in self.mempool:
                failed = Receipt(False, revert, (), GAS_PER_CALL)
                receipts[transaction.hash] = failed if revert else draft.liquidate(transaction.sender, transaction.call)
            self.mempool.clear()
        seed = parent.ref.hash + bytes([self._branch])
        ref = BlockRef(
            draft.number, Hash32(hashlib.sha256(seed).digest()), parent.ref.hash, draft.timestamp_s, 10, 30_000_000
        )
        logs = tuple(replace(log, block_hash=ref.hash) for log in draft.logs)
        self.blocks.append(Block(ref, draft.state, logs, receipts))
        return ref

    def mine_empty(self, count: int) -> BlockRef:
        for _ in range(count):
            self.mine()
        return self.tip.ref

    def reorg(self, to_block: int) -> None:
        """Forget every block after `to_block`, with the transactions in them."""
        del self.blocks[to_block + 1 :]
        self._branch += 1

    def block(self, ref: BlockRef) -> Block:
        """Raises `BlockUnavailable` when it is not on the chain."""
        if ref.number >= len(self.blocks) or self.blocks[ref.number].ref.hash != ref.hash:
            raise BlockUnavailable(f"block {ref.number} is not on the chain")
        return self.blocks[ref.number]

    def read(self, call: Call, ref: BlockRef) -> CallResult:
        state = self.block(ref).state
        arguments = json.loads(call.calldata)
        function = arguments.pop("function")
        answer: object | None = None
        if function == "pool":
            answer = next((pool.address.hex() for pool in state.pools.values() if pool.entry == call.target), None)
        elif call.target in state.pools:
            answer = state.pools[call.target].answer(function, arguments, ref.timestamp_s)
        return CallResult(answer is not None, b"" if answer is None else json.dumps(answer).encode())

    def send(self, sender: Address, calls: Sequence[Call]) -> list[Transaction]:
        sent = []
        for call in calls:
            seed = b"".join([sender, call.target, call.calldata, str(len(self.blocks)).encode()])
            sent.append(Transaction(sender, call, Hash32(hashlib.sha256(seed).digest())))
        self.mempool += sent
        return sent

    def receipt(self, transaction_hash: Hash32) -> tuple[Block, Receipt] | None:
        for block in self.blocks:
            if transaction_hash in block.receipts:
                return block, block.receipts[transaction_hash]
        return None


def rich(owner: Address) -> Action:
    """Gives the owner all the money that it could need, in every pool's assets."""

    def act(draft: Draft) -> None:
        tokens = draft.state.tokens
        tokens.native_wei[owner] = 10**24
        for pool in draft.state.pools.values():
            for reserve in pool.reserves.values():
                tokens.balances_raw[reserve.asset, owner] = UINT256_MAX
                tokens.allowances_raw[reserve.asset, owner, pool.address] = UINT256_MAX

    return act
