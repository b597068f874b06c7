"""Compile contracts with the npm build of solc and keep the result in the cache folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from keeper.devnet.artifacts import Artifact, link_offsets
from keeper.devnet.cache import Say, build_once, cache_root, quiet
from keeper.devnet.errors import DevnetError
from keeper.devnet.packages import install, node, package_key, run_tool

_HERE = Path(__file__).parent
_DRIVER = _HERE / "compile.js"
_RESULT = "artifacts.json"

_SETTINGS: dict[str, Any] = {
    "optimizer": {"enabled": True, "runs": 200},
    "metadata": {"bytecodeHash": "none"},
}
_COMPILER = "solc", "shanghai"
"""A set of npm's packages, and what it compiles for."""
_OLDER_COMPILER = "solc_0819", "paris"
_OUTPUTS = ["abi", "evm.bytecode.object", "evm.bytecode.linkReferences", "evm.deployedBytecode.object"]

_AAVE_V36 = "@aave-dao/aave-v3-origin/src/contracts"
_AAVE_V36_CONTRACTS = {
    "instances": ("PoolInstance", "PoolConfiguratorInstance", "ATokenInstance", "VariableDebtTokenInstance"),
    "protocol/configuration": ("PoolAddressesProviderRegistry", "PoolAddressesProvider", "ACLManager"),
    "misc": ("AaveOracle", "DefaultReserveInterestRateStrategyV2", "PriceOracleSentinel"),
    "helpers": ("AaveProtocolDataProvider", "UiPoolDataProviderV3", "LiquidationDataProvider"),
    "protocol/libraries/logic": (
        "BorrowLogic",
        "ConfiguratorLogic",
        "FlashLoanLogic",
        "LiquidationLogic",
        "PoolLogic",
        "SupplyLogic",
    ),
}
_AAVE_V36_REMAPPINGS = [
    "aave/=@aave-dao/aave-v3-origin/src/",
    "openzeppelin-contracts/=@openzeppelin/",
    "openzeppelin-contracts-upgradeable/contracts/=@openzeppelin/contracts-upgradeable/",
    "solidity-utils/=@bgd-labs/solidity-utils/src/",
]

Artifacts = Mapping[str, Artifact]


def own_artifacts(say: Say = quiet) -> Artifacts:
    """The devnet's own contracts: tokens, feeds, multicall."""
    return folder_artifacts("own", _HERE / "contracts", say)


def folder_artifacts(name: str, folder: Path, say: Say = quiet) -> Artifacts:
    """All contracts of the Solidity files in one folder, which need no packages."""
    sources = {path.name: path.read_text() for path in sorted(folder.glob("*.sol"))}
    wanted = {file: ["*"] for file in sources}
    return _cached(name, sources, wanted, [], None, say)


def aave_v36_artifacts(say: Say = quiet) -> Artifacts:
    """Aave v3.6, compiled from its published sources: about half a minute when it is not in the cache."""
    wanted = {
        f"{_AAVE_V36}/{folder}/{name}.sol": [name] for folder, names in _AAVE_V36_CONTRACTS.items() for name in names
    }
    entries = "".join(f'import "{path}";\n' for path in wanted)
    sources = {"Entry.sol": "// SPDX-License-Identifier: MIT\npragma solidity ^0.8.0;\n" + entries}
    return _cached("aave_v36", sources, wanted, _AAVE_V36_REMAPPINGS, "aave_v36", say)


def morpho_artifacts(say: Say = quiet) -> Artifacts:
    """Morpho Blue, compiled from its published sources by the compiler that they name: some seconds, once."""
    path = "@morpho-org/morpho-blue/src/Morpho.sol"
    sources = {"Entry.sol": f'// SPDX-License-Identifier: MIT\npragma solidity ^0.8.0;\nimport "{path}";\n'}
    return _cached("morpho", sources, {path: ["Morpho"]}, [], "morpho", say, _OLDER_COMPILER)


def _cached(
    name: str,
    sources: Mapping[str, str],
    wanted: Mapping[str, list[str]],
    remappings: list[str],
    package_set: str | None,
    say: Say,
    compiler: tuple[str, str] = _COMPILER,
) -> Artifacts:
    compiler_set, evm_version = compiler
    selection = {path: dict.fromkeys(contracts, _OUTPUTS) for path, contracts in wanted.items()}
    job = {
        "language": "Solidity",
        "sources": {path: {"content": text} for path, text in sources.items()},
        "settings": _SETTINGS | {"evmVersion": evm_version, "remappings": remappings, "outputSelection": selection},
    }
    keys = [package_key(each) for each in (compiler_set, package_set) if each is not None]
    digest = hashlib.sha256(json.dumps([job, keys], sort_keys=True).encode()).hexdigest()[:16]
    entry = cache_root() / "artifacts" / f"{name}-{digest}"

    def build(draft: Path) -> None:
        solc = install(compiler_set, say)
        modules = install(package_set, say) if package_set is not None else solc
        say(f"compiling {name}" + (" (about half a minute, once)" if name == "aave_v36" else ""))
        (draft / _RESULT).write_text(json.dumps(_compile(name, job, solc, modules)))

    build_once(entry, build, say)
    return {key: Artifact(name=key, **value) for key, value in json.loads((entry / _RESULT).read_text()).items()}


def _compile(name: str, job: Mapping[str, Any], solc: Path, modules: Path) -> dict[str, dict[str, Any]]:
    request = json.dumps({"solc": str(solc), "modules": str(modules), "input": job})
    text = run_tool([node(), str(_DRIVER)], f"compiling {name}", cwd=_HERE, stdin=request)
    try:
        answer = json.loads(text)
    except ValueError:
        raise DevnetError(f"compiling {name}: solc answered no JSON") from None
    errors = [each for each in answer.get("errors", ()) if each["severity"] == "error"]
    if errors:
        raise DevnetError(f"compiling {name}: {errors[0].get('formattedMessage', errors[0]['message']).strip()}")
    return dict(_plain(answer["contracts"].values()))


def _plain(files: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, dict[str, Any]]]:
    for contracts in files:
        for contract, output in contracts.items():
            code = output["evm"]["bytecode"]
            yield (
                contract,
                {
                    "abi": output["abi"],
                    "bytecode": code["object"],
                    "runtime": output["evm"]["deployedBytecode"]["object"],
                    "links": link_offsets(code["linkReferences"]),
                },
            )
