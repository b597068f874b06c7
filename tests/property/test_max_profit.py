"""`max_profit` against a scan over pairs, sizes, paths and splits that shares nothing with it but the pools themselves."""

from __future__ import annotations

import random
from itertools import combinations

from keeper.core.lending import Pair, Quote
from keeper.core.outcome import Reason, Skip
from keeper.core.selling.deal import Dealt
from keeper.core.selling.exchange import Path
from keeper.core.selling.objective import MaxProfit, choose
from keeper.protocols.aave_v3.market import Market
from tests.protocols.onchain import LONG, cases
from tests.routes.states import ADAPTER, WINDOW, Drawn, draw
from tests.unit.protocols.aave_v3.builders import LIQUIDATOR

STATES = cases(50, 300)
SIZES = 30 if LONG else 10
SPLITS = 16 if LONG else 8
ENDS = WINDOW.earliest_s, WINDOW.latest_s


class Scan:
    """All sizes of all pairs, on a grid that is made finer around the best."""

    def __init__(self, drawn: Drawn) -> None:
        self.drawn = drawn

    def best_base(self) -> int | None:
        found: list[int] = []
        state, position = self.drawn.state, self.drawn.position
        for pair in ADAPTER.pairs(state, position, LIQUIDATOR, ENDS[0]):
            if not isinstance(pair, Pair):
                continue
            for low, high in self._allowed(pair):
                found += self._scan(pair, low, high)
        return max(found, default=None)

    def _allowed(self, pair: Pair) -> list[tuple[int, int]]:
        """Accepted at both ends; nothing is gained by asking for more than is owed."""
        state, position = self.drawn.state, self.drawn.position
        first, second = (ADAPTER.allowed_debt_to_cover(state, position, pair, second) for second in ENDS)
        owed_raw = position.debt_scaled[pair.debt_id] * 3
        both = [(max(a, c), min(b, d, owed_raw)) for a, b in first for c, d in second]
        return [(low, self._useful(pair, low, high)) for low, high in both if low <= high]

    def _useful(self, pair: Pair, low: int, high: int) -> int:
        """The least request that does as much as the highest."""
        most = self._quotes(pair, high)
        while low < high:
            middle = (low + high) // 2
            if [each.seized_raw for each in self._quotes(pair, middle)] == [each.seized_raw for each in most]:
                high = middle
            else:
                low = middle + 1
        return high

    def _quotes(self, pair: Pair, request_raw: int) -> list[Quote]:
        state, position = self.drawn.state, self.drawn.position
        quotes = [ADAPTER.quote_liquidation(state, position, pair, request_raw, second) for second in ENDS]
        return [each for each in quotes if isinstance(each, Quote)]

    def _scan(self, pair: Pair, low: int, high: int) -> list[int]:
        found: list[tuple[int, int]] = []
        for _ in range(2):
            step = max(1, (high - low) // SIZES)
            for request_raw in {*range(low, high + 1, step), high}:
                net_base = self._net_base(pair, request_raw)
                if net_base is not None:
                    found.append((net_base, request_raw))
            if not found:
                return []
            _, best = max(found)
            low, high = max(low, best - step), min(high, best + step)
        return [net_base for net_base, _ in found]

    def _net_base(self, pair: Pair, request_raw: int) -> int | None:
        terms, quotes = self.drawn.terms, self._quotes(pair, request_raw)
        received_raw = min(each.received_raw for each in quotes)
        repaid_raw = max(each.repaid_raw for each in quotes)
        price, costs = terms.prices[pair.debt_asset], terms.costs

        def gas_raw(gas: int) -> int:
            wei = gas * costs.fee_per_gas_wei + costs.data_fee_wei
            return -(-wei * costs.native.price_base * price.unit_raw // (10**18 * price.price_base))

        sold = [
            out - gas_raw(costs.gas + gas)
            for out, gas in self._sales(terms.exchange.paths(pair.collateral_asset, pair.debt_asset), received_raw)
        ]
        if not sold:
            return None
        premium_raw = -(-request_raw * costs.premium // 10**6)
        return (max(sold) - repaid_raw - premium_raw) * price.price_base // price.unit_raw

    @staticmethod
    def _sales(paths: list[Path], amount_raw: int) -> list[tuple[int, int]]:
        """(out, gas) of every path, and of every split of two and of three that share no pool."""
        marks = [amount_raw * part // SPLITS for part in range(SPLITS + 1)]
        tables: list[dict[int, tuple[int, int]]] = []
        for path in paths:
            table = {0: (0, 0)}
            for mark in marks[1:]:
                fills = path.sell(mark)
                if fills is not None:
                    table[mark] = fills[-1].amount_out_raw, sum(each.gas for each in fills)
            tables.append(table)
        found = [table[amount_raw] for table in tables if amount_raw in table]
        for legs in (2, 3):
            for chosen in combinations(range(len(paths)), legs):
                pools = [hop.pool.address for place in chosen for hop in paths[place].hops]
                if len(set(pools)) == len(pools):
                    found += _splits([paths[place] for place in chosen], [tables[place] for place in chosen], marks)
        return found


def _splits(paths: list[Path], tables: list[dict[int, tuple[int, int]]], marks: list[int]) -> list[tuple[int, int]]:
    """The best of the grid: its rest, smaller than a step, goes to the last path."""
    best, best_out = None, -1
    whole = marks[-1]
    first_marks = marks[1:-1]
    for first in first_marks:
        for second in [whole - first] if len(paths) == 2 else [mark for mark in marks[1:] if mark < whole - first]:
            rest = whole - first - second
            near = max((mark for mark in marks if mark <= (rest or second)), default=0)
            shares = (first, near) if len(paths) == 2 else (first, second, near)
            if all(share in table for share, table in zip(shares, tables, strict=True)):
                out = sum(table[share][0] for share, table in zip(shares, tables, strict=True))
                if out > best_out:
                    best, best_out = (first, second), out
    if best is None:
        return []
    first, second = best
    exact = (first, second) if len(paths) == 2 else (first, second, whole - first - second)
    fills = [path.sell(share) for path, share in zip(paths, exact, strict=True)]
    if any(each is None for each in fills):
        return []
    return [
        (
            sum(each[-1].amount_out_raw for each in fills if each),
            sum(filled.gas for each in fills if each for filled in each),
        )
    ]


def test_max_profit_is_within_a_thousandth_of_the_best_there_is() -> None:
    rng = random.Random("max profit")
    compared, losing, worst = 0, 0, 0
    while compared < STATES:
        drawn = draw(rng)
        best_base = Scan(drawn).best_base()
        chosen = choose(MaxProfit(least_net_base=1), drawn.planner(), drawn.position, drawn.terms)
        if best_base is None or best_base < 1:
            # The scan tries fewer sizes: what it does not find may be there all the same.
            assert isinstance(chosen, Dealt) or chosen.reason in (Reason.UNPROFITABLE, Reason.NO_ROUTE)
            losing += 1
            continue
        assert not isinstance(chosen, Skip), (chosen, best_base)
        compared += 1
        missed = best_base - chosen.net_base
        worst = max(worst, missed * 10**6 // best_base)
        assert missed * 1_000 <= best_base, (missed, best_base, chosen)
        assert isinstance(drawn.state.market, Market)
    print(f"{compared} states, {losing} without profit, at most {worst} millionths below the scan's best")  # noqa: T201
