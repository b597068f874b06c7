"""What a configuration comes to, line by line, with every secret masked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, SecretStr

from keeper.settings import Settings


def effective_rows(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """(key, value, "set" or "default") for every setting; loads presets, so an unknown one is a `ConfigError`."""
    yield from _rows("", settings)
    for name, chain in settings.chains.items():
        preset = chain.load_preset()
        if preset is not None:
            for key, value in preset.model_dump().items():
                yield f"chains.{name}.preset.{key}", _shown(value), "preset"


def _rows(prefix: str, model: BaseModel) -> Iterator[tuple[str, str, str]]:
    for name in type(model).model_fields:
        value: Any = getattr(model, name)
        key = f"{prefix}{name}"
        if isinstance(value, BaseModel):
            yield from _rows(f"{key}.", value)
        elif isinstance(value, list) and value and all(isinstance(item, BaseModel) for item in value):
            for place, item in enumerate(value):
                yield from _rows(f"{key}.{place}.", item)
        elif isinstance(value, dict) and value and all(isinstance(item, BaseModel) for item in value.values()):
            for inner, item in value.items():
                yield from _rows(f"{key}.{inner}.", item)
        else:
            yield key, _shown(value), "set" if name in model.model_fields_set else "default"


def _shown(value: Any) -> str:
    if isinstance(value, SecretStr):
        return "(secret)"
    if isinstance(value, list) and any(isinstance(item, SecretStr) for item in value):
        return ", ".join("(secret)" for _ in value)
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "[]"
    if isinstance(value, dict):
        return ", ".join(f"{key} = {item}" for key, item in value.items()) or "{}"
    if isinstance(value, bool):
        return str(value).lower()
    return "-" if value is None else str(value)
