"""A chain that answers by script: return data encoded by eth-abi from the contracts' own interfaces."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from eth_abi.abi import encode

from keeper.core.block import Call, CallResult
from keeper.core.units import RAY, Address, to_hex
from keeper.protocols.aave_v3 import selectors as s
from keeper.protocols.aave_v3.market import Reserve
from keeper.protocols.aave_v3.words import call
from tests.unit.protocols.aave_v3.builders import CONFIGURATOR, NOW_S, ORACLE, POOL, PROVIDER, make_reserve

ABI = Path(__file__).parents[4] / "contracts_abi"
NO_FUNCTION = CallResult(ok=False, returndata=b"")
NOT_THE_POOL = CallResult(ok=False, returndata=bytes.fromhex("08c379a0") + encode(["string"], ["23"]))

Found = TypeVar("Found")


def outputs(contract: str, function: str) -> list[str]:
    """Output types of a function, as eth-abi writes them."""

    def kind(argument: dict[str, Any]) -> str:
        if not argument["type"].startswith("tuple"):
            return str(argument["type"])
        return f"({','.join(kind(part) for part in argument['components'])}){argument['type'][5:]}"

    entries = json.loads((ABI / f"{contract}.json").read_text())["abi"]
    (entry,) = [entry for entry in entries if entry["name"] == function and entry["type"] == "function"]
    return [kind(output) for output in entry["outputs"]]


RESERVE_DATA = outputs("aave_v3/Pool", "getReserveData")


def config_word(*, threshold_bps: int = 8000, category: int = 0, virtual: bool = True) -> int:
    return (
        7500
        | threshold_bps << 16
        | 10_500 << 32
        | 6 << 48
        | 1 << 56
        | 1000 << 152
        | category << 168
        | int(virtual) << 252
    )


def reserve_row(reserve: Reserve, word: int) -> list[Any]:
    return [
        (word,),
        RAY + 1,
        2,
        RAY + 3,
        4,
        0,
        NOW_S,
        reserve.id,
        to_hex(reserve.a_token),
        to_hex(reserve.stable_debt_token or Address(bytes(20))),
        to_hex(reserve.variable_debt_token),
        to_hex(Address(bytes(20))),
        0,
        0,
        0,
    ]


class Script:
    """Answers by (target, calldata). What is not in it has no such function."""

    def __init__(self) -> None:
        self.answers: dict[tuple[Address, bytes], CallResult] = {}
        self.batches: list[Sequence[Call]] = []

    def say(
        self, target: Address, selector: bytes, arguments: Sequence[int | bytes], types: list[str], *values: Any
    ) -> None:
        self.set(target, selector, arguments, CallResult(ok=True, returndata=encode(types, values)))

    def set(self, target: Address, selector: bytes, arguments: Sequence[int | bytes], result: CallResult) -> None:
        self.answers[(target, call(target, selector, *arguments).calldata)] = result

    def read(self, calls: Sequence[Call]) -> list[CallResult]:
        return [self.answers.get((one.target, one.calldata), NO_FUNCTION) for one in calls]

    def drive(self, reads: Generator[Sequence[Call], Sequence[CallResult], Found]) -> Found:
        try:
            batch = next(reads)
            while True:
                assert batch, "an empty batch is a wasted trip"
                self.batches.append(batch)
                batch = reads.send(self.read(batch))
        except StopIteration as finished:
            found: Found = finished.value
            return found


_PROBES = {
    "3.1": (s.GET_LIQUIDATION_GRACE_PERIOD, 0),
    "3.2": (s.GET_E_MODE_CATEGORY_COLLATERAL_BITMAP, 0),
    "3.3": (s.GET_RESERVE_DEFICIT, 0),
    "3.4": (s.RESERVE_INTEREST_RATE_STRATEGY, 0),
    "3.6": (s.GET_E_MODE_CATEGORY_LTVZERO_BITMAP, 0),
    "3.7": (s.GET_IS_E_MODE_CATEGORY_ISOLATED, 0),
}


def scripted_market(release: str, *, revision: int, unit: int = 10**8) -> Script:
    """Two reserves, e-mode 7 with reserve 1, as a market of this release answers discovery."""
    script = Script()
    for selector, address in (
        (s.GET_POOL, POOL),
        (s.GET_POOL_CONFIGURATOR, CONFIGURATOR),
        (s.GET_PRICE_ORACLE, ORACLE),
        (s.GET_PRICE_ORACLE_SENTINEL, Address(bytes(20))),
    ):
        script.say(PROVIDER, selector, (), ["address"], to_hex(address))
    script.say(POOL, s.ADDRESSES_PROVIDER, (), ["address"], to_hex(PROVIDER))
    script.say(POOL, s.POOL_REVISION, (), ["uint256"], revision)
    script.say(ORACLE, s.BASE_CURRENCY_UNIT, (), ["uint256"], unit)
    for since, (selector, argument) in _PROBES.items():
        if release >= since:
            script.say(POOL, selector, (argument,), ["uint256"], 0)
    old = release < "3.2"
    reserves = [make_reserve(i, stable=old) for i in (3, 1)]
    script.say(POOL, s.GET_RESERVES_LIST, (), ["address[]"], [to_hex(one.asset) for one in reserves])
    for one in reserves:
        word = config_word(category=7 if old and one.id == 1 else 0)
        script.say(POOL, s.GET_RESERVE_DATA, (one.asset,), RESERVE_DATA, reserve_row(one, word))
        script.say(one.asset, s.SYMBOL, (), ["string"], one.symbol)
        if one.stable_debt_token is not None:
            script.say(one.stable_debt_token, s.TOTAL_SUPPLY, (), ["uint256"], 0)
        if release != "3.0.0":
            script.set(one.a_token, s.HANDLE_REPAYMENT, (0, 0, 0), NOT_THE_POOL)
    _say_categories(script, release, old)
    return script


def _say_categories(script: Script, release: str, old: bool) -> None:
    nowhere = to_hex(Address(bytes(20)))
    for i in range(1, 256):
        terms = (9000, 9300, 10_100) if i == 7 else (0, 0, 0)
        if old:
            kinds = outputs("aave_v3/Pool", "getEModeCategoryData")
            script.say(POOL, s.GET_E_MODE_CATEGORY_DATA, (i,), kinds, (*terms, nowhere, "seven" if i == 7 else ""))
        else:
            kinds = outputs("aave_v3/Pool", "getEModeCategoryCollateralConfig")
            script.say(POOL, s.GET_E_MODE_CATEGORY_COLLATERAL_CONFIG, (i,), kinds, terms)
    if not old:
        script.say(POOL, s.GET_E_MODE_CATEGORY_COLLATERAL_BITMAP, (7,), ["uint128"], 0b1010)
    if release >= "3.6":
        script.say(POOL, s.GET_E_MODE_CATEGORY_LTVZERO_BITMAP, (7,), ["uint128"], 0b1000)
    if release >= "3.7":
        script.say(POOL, s.GET_IS_E_MODE_CATEGORY_ISOLATED, (7,), ["bool"], True)
