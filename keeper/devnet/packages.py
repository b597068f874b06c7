"""npm packages in the cache folder: exact versions, integrity-checked by our own lock files, no install scripts.

The lock files under `npm/` hold versions and integrity hashes but no download addresses, so any registry serves.
(The anvil set lists every platform's binary package; only the platforms we could hash carry an integrity line.)
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from keeper.core.errors import ConfigError
from keeper.devnet.cache import Say, build_once, cache_root, quiet
from keeper.devnet.errors import DevnetError
from keeper.devnet.stopping import run_child

_SETS = Path(__file__).parent / "npm"
_TIMEOUT_S = 600


def package_key(name: str) -> str:
    """The set's name and a digest of its package and lock files: changes with any version."""
    digest = hashlib.sha256()
    for file in ("package.json", "package-lock.json"):
        digest.update((_SETS / name / file).read_bytes())
    return f"{name}-{digest.hexdigest()[:16]}"


def modules_path(name: str) -> Path:
    """Where the set's `node_modules` is once it is installed. Nothing is installed here."""
    return cache_root() / "npm" / package_key(name) / "node_modules"


def install(name: str, say: Say = quiet) -> Path:
    """The set's `node_modules`, installed from the registry when it is not in the cache.

    Raises ConfigError if npm is missing and DevnetError if it fails.
    """
    entry = modules_path(name).parent
    if not entry.is_dir():
        npm = _tool("npm")
        build_once(entry, lambda draft: _npm_ci(npm, name, draft, say), say)
    return entry / "node_modules"


def node() -> str:
    """The path of node. Raises ConfigError if it is missing."""
    return _tool("node")


def _npm_ci(npm: str, name: str, draft: Path, say: Say) -> None:
    say(f"installing {name} from the npm registry")
    for file in ("package.json", "package-lock.json"):
        shutil.copyfile(_SETS / name / file, draft / file)
    command = [npm, "ci", "--ignore-scripts", "--legacy-peer-deps", "--no-audit", "--no-fund", "--loglevel=error"]
    run_tool(command, f"npm ci of {name}", cwd=draft)


def run_tool(command: list[str], what: str, *, cwd: Path, stdin: str = "") -> str:
    """Run a command without a terminal and return its output. Raises DevnetError with its last line of complaint."""
    environment = os.environ | {"CI": "1", "NO_UPDATE_NOTIFIER": "1"}
    try:
        done = run_child(command, cwd=cwd, environment=environment, stdin=stdin, timeout_s=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise DevnetError(f"{what} did not finish within {_TIMEOUT_S} s") from None
    if done.returncode != 0:
        raise DevnetError(f"{what} failed: {_complaint(done.stderr)}")
    return done.stdout


def _complaint(stderr: str) -> str:
    lines = [line.removeprefix("npm error").strip() for line in stderr.splitlines() if line.strip()]
    telling = [line for line in lines if line and "complete log" not in line]
    return " / ".join(telling[:3])[:300] or "no message"


def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise ConfigError(
            f"{name} is not on PATH; the devnet needs node 20 or newer with npm: install it and try again"
        )
    return path
