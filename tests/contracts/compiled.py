"""The executor as it is, and as it would be without a guard; and contracts of ours around it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from keeper.devnet.artifacts import Artifact
from keeper.devnet.compile import folder_artifacts

ROOT = Path(__file__).resolve().parents[2]
EXECUTOR_SOURCE = ROOT / "contracts" / "Executor.vy"
EXECUTOR_ARTIFACT = ROOT / "contracts_abi" / "executor" / "Executor.json"
HERE = Path(__file__).parent / "hostile"


def committed_executor() -> Artifact:
    """The artifact that is deployed in earnest."""
    stored = json.loads(EXECUTOR_ARTIFACT.read_text())
    return _artifact("Executor", stored["abi"], stored["bytecode"])


def committed_runtime() -> bytes:
    """The deployed code, without what the constructor appends."""
    return bytes.fromhex(json.loads(EXECUTOR_ARTIFACT.read_text())["runtime"].removeprefix("0x"))


def compiled(source: str, name: str) -> Artifact:
    """Raises CalledProcessError, whose `stderr` is the compiler's complaint."""
    vyper = Path(sys.executable).with_name("vyper")
    with tempfile.TemporaryDirectory(prefix="keeper-vyper-") as folder:
        path = Path(folder) / f"{name}.vy"
        path.write_text(source)
        command = [str(vyper), "-f", "abi,bytecode", path.name]
        output = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    abi, bytecode = output.stdout.strip().splitlines()
    return _artifact(name, json.loads(abi), bytecode)


@cache
def own(name: str) -> Artifact:
    """A contract of this folder's `hostile`."""
    return folder_artifacts("hostile", HERE)[name]


def _artifact(name: str, abi: list[dict[str, object]], bytecode: str) -> Artifact:
    return Artifact(name=name, abi=abi, bytecode=bytecode.removeprefix("0x"), runtime="")
