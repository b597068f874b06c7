"""Calls of the executor as bytes and back, and its words; held against its interface and its source."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from keeper.core.block import Log
from keeper.core.errors import ConfigError, Defect, MalformedResponse
from keeper.core.executor import ExecutorPlan, ExecutorRole, LiquidationStep, Loan, LoanSource
from keeper.core.swap import ALL_RAW, StepKind, SwapStep
from keeper.core.units import Address, Hash32
from keeper.devnet.artifacts import abi_type
from keeper.execution import executor_calls as calls
from keeper.execution.executor_orders import created_address
from keeper.execution.executor_state import code_hash_of, recognise

ROOT = Path(__file__).resolve().parents[3]
ABI = json.loads((ROOT / "contracts_abi" / "executor" / "Executor.json").read_text())["abi"]
SOURCE = (ROOT / "contracts" / "Executor.vy").read_text()
EXECUTOR, MARKET, DEBT, COLLATERAL, BORROWER, DEBT_TOKEN, VENUE = (Address(bytes([n]) * 20) for n in range(1, 8))
CALLED_BY_OTHERS = {
    "executeOperation",
    "onMorphoFlashLoan",
    "uniswapV3FlashCallback",
    "uniswapV3SwapCallback",
}


def step(kind: StepKind, calldata: bytes = b"") -> SwapStep:
    return SwapStep(kind, VENUE, COLLATERAL, DEBT, ALL_RAW, 7, True, calldata)


PLAN = ExecutorPlan(
    market=MARKET,
    debt_asset=DEBT,
    liquidations=(
        LiquidationStep(COLLATERAL, BORROWER, DEBT_TOKEN, 11, 13),
        LiquidationStep(COLLATERAL, VENUE, DEBT_TOKEN, 17, 19, True, 10**18),
    ),
    swaps=(step(StepKind.ROUTER, b"first"), step(StepKind.POOL_V3), step(StepKind.ROUTER, b"and second")),
    loan=Loan(LoanSource.POOL_V3, VENUE, lends_token0=True),
    latest_s=23,
    least_gain_raw=-29,
)


def signature(entry: dict[str, object]) -> str:
    inputs = entry["inputs"]
    assert isinstance(inputs, list)
    return f"{entry['name']}({','.join(abi_type(each) for each in inputs)})"


def test_selectors_and_topics_are_those_of_the_interface() -> None:
    functions = {
        str(entry["name"]).upper(): keccak(text=signature(entry))[:4]
        for entry in ABI
        if entry["type"] == "function" and entry["name"] not in CALLED_BY_OTHERS
    }
    events = {
        re.sub(r"(?<!^)(?=[A-Z])", "_", entry["name"]).upper() + "_TOPIC": keccak(text=signature(entry))
        for entry in ABI
        if entry["type"] == "event"
    }
    constants = {
        name: value
        for name, value in vars(calls).items()
        if name.isupper() and not name.startswith("_") and isinstance(value, bytes)
    }
    assert constants == functions | events


def test_the_argument_types_are_those_of_the_interface() -> None:
    [execute] = [entry for entry in ABI if entry.get("name") == "execute"]
    assert tuple(abi_type(each) for each in execute["inputs"]) == calls.EXECUTE_TYPES


def test_roles_sources_and_venues_are_numbered_as_in_the_contract() -> None:
    def members(flag: str) -> list[str]:
        body = SOURCE.split(f"flag {flag}:\n")[1].split("\n\n")[0]
        return [line.split("#")[0].strip() for line in body.splitlines()]

    assert {role.name: int(role) for role in ExecutorRole} == {n: 1 << i for i, n in enumerate(members("Role"))}
    assert {each.name: int(each) for each in LoanSource} == {n: 1 << i for i, n in enumerate(members("Source"))}
    venues = {kind.name: number for kind, number in calls._VENUES.items()}
    assert venues == {name: 1 << place for place, name in enumerate(members("Venue"))}


def test_every_reason_of_the_contract_has_its_words() -> None:
    assert set(re.findall(r', "(\w+)"$', SOURCE, re.MULTILINE)) == set(calls.REFUSALS)


@pytest.mark.parametrize(
    "plan",
    [
        PLAN,
        replace(PLAN, swaps=(), least_gain_raw=5),
        replace(PLAN, loan=Loan(LoanSource.INVENTORY)),
        replace(PLAN, loan=Loan(LoanSource.MARKET, MARKET)),
        replace(PLAN, loan=Loan(LoanSource.MORPHO, VENUE), swaps=(step(StepKind.PAIR_V2),)),
    ],
)
def test_a_plan_comes_back_from_its_calldata(plan: ExecutorPlan) -> None:
    call = calls.encode_execute(EXECUTOR, plan)
    assert call.target == EXECUTOR
    assert calls.decode_execute(call.calldata) == plan
    assert plan.needed_raw == 32


@pytest.mark.parametrize("cut", [3, 4, 100, 1])
def test_a_call_that_is_cut_off_is_none(cut: int) -> None:
    calldata = calls.encode_execute(EXECUTOR, PLAN).calldata
    with pytest.raises(MalformedResponse):
        calls.decode_execute(calldata[:-cut] if cut == 1 else calldata[:cut])


@pytest.mark.parametrize(
    "changes",
    [
        {"liquidations": ()},
        {"liquidations": PLAN.liquidations * 5},
        {"swaps": (step(StepKind.POOL_V3),) * 9},
        {"swaps": (step(StepKind.ROUTER, bytes(6_145)),)},
        {"swaps": (step(StepKind.POOL_V3, b"calldata"),)},
        {"loan": Loan(LoanSource.INVENTORY, MARKET)},
        {"loan": Loan(LoanSource.MORPHO)},
        {"loan": Loan(LoanSource.MARKET, VENUE)},
    ],
)
def test_what_the_contract_cannot_take_is_no_plan(changes: dict[str, object]) -> None:
    with pytest.raises(Defect):
        replace(PLAN, **changes)  # type: ignore[arg-type]


def test_a_refusal_in_words() -> None:
    def reason(text: str) -> bytes:
        return keccak(text="Error(string)")[:4] + encode(["string"], [text])

    assert calls.explain_refusal(reason("lost")) == "the borrowers' debts changed: somebody was first"
    for foreign in (b"", b"\x01\x02\x03\x04", reason("ERC20: paused"), reason("lost")[:20]):
        assert calls.explain_refusal(foreign) is None


def log(topic: bytes, whom: Address, word: int, **changes: object) -> Log:
    there = Log(
        EXECUTOR, (topic, whom.rjust(32, b"\0")), word.to_bytes(32, "big"), 1, Hash32(bytes(32)), Hash32(bytes(32)), 0
    )
    return replace(there, **changes)  # type: ignore[arg-type]


def test_the_last_log_says_how_things_stand() -> None:
    logs = [
        log(calls.OPERATOR_SET_TOPIC, BORROWER, 1),
        log(calls.ALLOWED_TOPIC, MARKET, 1),
        log(calls.LOSS_LEFT_SET_TOPIC, DEBT, 5),
        log(calls.WITHDRAWN_TOPIC, DEBT, 5),
        log(calls.ALLOWED_TOPIC, MARKET, 13),
        log(calls.OPERATOR_SET_TOPIC, BORROWER, 0),
    ]
    assert calls.decode_settings_logs(logs) == ({BORROWER: False}, {MARKET: ExecutorRole(13)}, {DEBT: 5})
    with pytest.raises(MalformedResponse):
        calls.decode_settings_logs([log(calls.ALLOWED_TOPIC, MARKET, 1, data=b"\x01")])


def test_our_code_is_known_by_all_but_what_the_constructor_left() -> None:
    runtime = b"the code" * 9
    code = runtime + BORROWER.rjust(32, b"\0") + VENUE.rjust(32, b"\0")
    known = recognise(EXECUTOR, code, runtime)
    assert (known.owner, known.recipient, known.code_hash) == (BORROWER, VENUE, code_hash_of(runtime))
    others = (b"", code[:-1], code + b"\0", b"T" + code[1:], runtime, runtime + bytes([1]) + code[-63:])
    for other in others:
        with pytest.raises(ConfigError):
            recognise(EXECUTOR, other, runtime)


def test_where_a_contract_comes_to_stand() -> None:
    """A sender and its first two contracts, as they stand on a public chain."""
    sender = Address(bytes.fromhex("6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0"))
    assert created_address(sender, 0).hex() == "cd234a471b72ba2f1ccf0a70fcaba648a5eecd8d"
    assert created_address(sender, 1).hex() == "343c43a37d37dff08ae8c4a11544c718abb4fcf8"
