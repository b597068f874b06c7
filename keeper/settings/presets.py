"""Ready presets: one file per known market, shipped with the package."""

from __future__ import annotations

import difflib
import tomllib

from pydantic import BaseModel, ConfigDict

from keeper.assets import asset_folder
from keeper.core.errors import ConfigError


class Preset(BaseModel):
    """What is known of a market before its chain is asked; re-derived on chain at start."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    chain_id: int
    testnet: bool
    block_time_s: float
    addresses_provider: str
    pool: str
    pool_configurator: str
    oracle: str
    wrapped_native: str | None = None
    start_block: int | None = None


def preset_names() -> list[str]:
    return sorted(path.stem for path in asset_folder("config/chains").iterdir() if path.suffix == ".toml")


def load_preset(name: str) -> Preset:
    """Raises `ConfigError` naming the nearest preset."""
    names = preset_names()
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(names)}"
        raise ConfigError(f"unknown preset '{name}'; {hint}")
    text = (asset_folder("config/chains") / f"{name}.toml").read_text(encoding="utf-8")
    return Preset.model_validate(tomllib.loads(text))
