"""Ready presets: one file per known market, shipped with the package; or a file of the operator's own."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from keeper.assets import asset_folder
from keeper.core.errors import ConfigError
from keeper.core.units import address_from_hex
from keeper.settings.errors import one_line

SUFFIX = ".toml"


def _address(text: str) -> str:
    address_from_hex(text)
    return text


AddressText = Annotated[str, AfterValidator(_address)]


class Preset(BaseModel):
    """What is known of a market before its chain is asked; re-derived on chain at start."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    name: str
    chain_id: int
    testnet: bool
    """What the file says; whether live is allowed is for `chain_ids_of_testnets` to say."""
    block_time_s: float
    addresses_provider: AddressText
    pool: AddressText
    pool_configurator: AddressText
    oracle: AddressText
    wrapped_native: AddressText | None = None
    start_block: int | None = None


def preset_names() -> list[str]:
    return sorted(path.stem for path in asset_folder("config/chains").iterdir() if path.suffix == SUFFIX)


def chain_ids_of_testnets() -> frozenset[int]:
    """The chains that a preset of ours calls a testnet. A file of the operator's own adds none: what it says must not
    open the way to real money."""
    shipped = [load_preset(name) for name in preset_names()]
    money = {preset.chain_id for preset in shipped if not preset.testnet}
    return frozenset(preset.chain_id for preset in shipped) - money


def load_preset(name: str) -> Preset:
    """A shipped preset by its name; a file by a path that ends in `.toml`. Raises `ConfigError`, naming the nearest
    preset or what is wrong with the file."""
    if name.endswith(SUFFIX):
        return _read(Path(name).expanduser())
    names = preset_names()
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(names)}"
        raise ConfigError(f"unknown preset '{name}'; {hint}")
    return _read(asset_folder("config/chains") / f"{name}{SUFFIX}")


def _read(path: Path) -> Preset:
    try:
        return Preset.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"preset {path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"preset {path}: not valid TOML: {error}") from None
    except ValidationError as error:
        raise ConfigError(f"preset {path}: {one_line(error, Preset)}") from None
