"""Every selector, topic and error constant is derived again from the ABIs, and every ABI entry is used."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from eth_utils.crypto import keccak

from keeper.protocols.aave_v3 import reverts, selectors

ROOT = Path(__file__).parents[2] / "contracts_abi"
AAVE = sorted((ROOT / "aave_v3").glob("*.json"))
FILES = [*AAVE, *sorted((ROOT / "erc20").glob("*.json"))]
RENAMED = {
    # Two contracts have an event of this name, with different arguments.
    ("StableDebtToken", "MINT_TOPIC"): "STABLE_MINT_TOPIC",
}
RENAMED_ERRORS = {"InvalidLiqThreshold": "InvalidLiquidationThreshold", "InvalidLiqBonus": "InvalidLiquidationBonus"}

Entry = dict[str, Any]


def read(path: Path) -> Entry:
    content: Entry = json.loads(path.read_text())
    return content


def entries(kind: str, files: list[Path] | None = None) -> list[tuple[str, Entry]]:
    return [(path.stem, entry) for path in files or FILES for entry in read(path)["abi"] if entry["type"] == kind]


def signature(entry: Entry) -> str:
    def kind(argument: Entry) -> str:
        if not argument["type"].startswith("tuple"):
            return str(argument["type"])
        return f"({','.join(kind(part) for part in argument['components'])}){argument['type'][5:]}"

    return f"{entry['name']}({','.join(kind(argument) for argument in entry['inputs'])})"


def constant_name(name: str) -> str:
    """`getUserEMode` → GET_USER_E_MODE; what is a constant in the contract keeps its name."""
    if name.isupper():
        return name
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    return re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", spaced).upper()


def test_selectors_and_topics_are_those_of_the_abis() -> None:
    derived = {constant_name(entry["name"]): keccak(text=signature(entry))[:4] for _, entry in entries("function")}
    for contract, entry in entries("event"):
        name = f"{constant_name(entry['name'])}_TOPIC"
        derived[RENAMED.get((contract, name), name)] = keccak(text=signature(entry))
    constants = {name: value for name, value in vars(selectors).items() if name.isupper() and isinstance(value, bytes)}
    assert constants == derived


def test_custom_errors_are_those_of_the_abis() -> None:
    derived = {keccak(text=signature(entry))[:4].hex(): entry["name"] for _, entry in entries("error")}
    assert derived == reverts.CUSTOM_ERRORS


def test_error_codes_have_the_names_of_the_same_errors_since() -> None:
    codes = {code: name for path in AAVE for code, name in read(path).get("codes", {}).items()}
    assert codes.keys() == reverts.CODES.keys()
    for code, constant in codes.items():
        plain = constant.replace("_", "").lower()
        names = {name.lower(): name for name in (*reverts.CODES.values(), *RENAMED_ERRORS)}
        expected = RENAMED_ERRORS.get(names[plain], names[plain])
        assert reverts.CODES[code] == expected
    # Where the error still exists, the spelling is the contract's.
    modern = {name.lower(): name for name in reverts.CUSTOM_ERRORS.values()}
    assert all(modern.get(name.lower(), name) == name for name in reverts.CODES.values())


@pytest.mark.parametrize("selector, text", [(reverts.ERROR_STRING, "Error(string)"), (reverts.PANIC, "Panic(uint256)")])
def test_built_in_errors(selector: bytes, text: str) -> None:
    assert selector == keccak(text=text)[:4]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_names_its_origin(path: Path) -> None:
    origin = read(path)["origin"]
    assert origin["package"]
    assert origin["version"]


def test_one_entry_has_one_signature_everywhere() -> None:
    """The same function in several files would hide a difference between releases."""
    known: dict[str, set[str]] = {}
    for contract, entry in entries("function") + entries("event"):
        key = RENAMED.get((contract, f"{constant_name(entry['name'])}_TOPIC"), entry["name"] + entry["type"])
        known.setdefault(key, set()).add(signature(entry))
    assert all(len(signatures) == 1 for signatures in known.values())
