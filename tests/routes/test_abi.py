"""The selectors are those of the interfaces in `contracts_abi`, and every one of those is used."""

from __future__ import annotations

import json
from pathlib import Path

from eth_utils.crypto import keccak

from keeper.routes import selectors

ROOT = Path(__file__).parents[2] / "contracts_abi"


def test_selectors_are_those_of_the_abis() -> None:
    derived = set()
    for path in [*ROOT.glob("uniswap_v3/*.json"), *ROOT.glob("uniswap_v2/*.json")]:
        stored = json.loads(path.read_text())
        assert stored["origin"]["package"].startswith("@uniswap/") and stored["origin"]["contract"] == path.stem
        for entry in stored["abi"]:
            arguments = ",".join(each["type"] for each in entry["inputs"])
            derived.add(keccak(text=f"{entry['name']}({arguments})")[:4])
    assert {value for name, value in vars(selectors).items() if name.isupper()} == derived
