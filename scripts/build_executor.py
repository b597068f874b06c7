"""`make executor`: compile contracts/Executor.vy into contracts_abi/executor, whose committed file must equal a rebuild."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "contracts" / "Executor.vy"
ARTIFACT = ROOT / "contracts_abi" / "executor" / "Executor.json"
FORMATS = "abi,bytecode,bytecode_runtime"


def built() -> str:
    """The artifact's text. Raises CalledProcessError when the source does not compile."""
    vyper = Path(sys.executable).with_name("vyper")
    version = subprocess.run([vyper, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    output = subprocess.run(
        [vyper, "-f", FORMATS, SOURCE.name], cwd=SOURCE.parent, capture_output=True, text=True, check=True
    )
    abi, bytecode, runtime = output.stdout.strip().splitlines()
    artifact = {
        "origin": {"source": "contracts/Executor.vy", "compiler": f"vyper {version}"},
        "abi": json.loads(abi),
        "bytecode": bytecode,
        "runtime": runtime,
    }
    return json.dumps(artifact, indent=1) + "\n"


if __name__ == "__main__":
    ARTIFACT.parent.mkdir(exist_ok=True)
    ARTIFACT.write_text(built())
    print(f"{ARTIFACT.relative_to(ROOT)} is written")
