"""Where the files that ship beside the code are: presets, the example configuration, contract interfaces.

In a checkout they are top-level folders; a wheel carries them inside the package. Pure rooms use constants instead.
"""

from __future__ import annotations

from pathlib import Path

from keeper.core.errors import Defect

_PACKAGE = Path(__file__).resolve().parent
_ROOT = _PACKAGE / "_assets" if (_PACKAGE / "_assets").is_dir() else _PACKAGE.parent


def asset_path(relative: str) -> Path:
    """A shipped file, such as `config/keeper.example.toml`. Raises `Defect` when the installation lacks it."""
    path = _ROOT / relative
    if not path.is_file():
        raise Defect(f"the installation lacks {relative}")
    return path


def asset_folder(relative: str) -> Path:
    """A shipped folder, such as `config/chains`. Raises `Defect` when the installation lacks it."""
    path = _ROOT / relative
    if not path.is_dir():
        raise Defect(f"the installation lacks {relative}")
    return path


def read_text(relative: str) -> str:
    """The text of a shipped file. Raises `Defect` when the installation lacks it."""
    return asset_path(relative).read_text(encoding="utf-8")
