"""Environment variables of ours: whether each means something, and which one a value came from."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import get_origin

from pydantic import BaseModel

from keeper.core.errors import ConfigError
from keeper.settings.errors import inner_model

PREFIX = "KEEPER_"
LEVEL = "__"
NOT_SETTINGS = frozenset({"KEEPER_CONFIG", "KEEPER_CACHE_DIR", "KEEPER_LONG", "KEEPER_PYTHON", "KEEPER_BENCH_LINES"})
"""Ours too, but read elsewhere: by the command line, the devnet's cache, the tests and scripts."""


def refuse_unknown(environment: Mapping[str, str], model: type[BaseModel]) -> None:
    """Raises `ConfigError` for the first variable of ours that sets nothing, with the nearest that would. The library would
    pass over it in silence."""
    for name in sorted(environment):
        if not name.upper().startswith(PREFIX) or name.upper() in NOT_SETTINGS:
            continue
        parts = name.upper().removeprefix(PREFIX).lower().split(LEVEL)
        known = _unknown_among(parts, model)
        if known is not None:
            depth, names = known
            raise ConfigError(f"environment: {name} is no setting{_nearest(parts, depth, names)}")


def variable_of(location: Sequence[int | str], environment: Mapping[str, str]) -> str | None:
    """The variable that gave the value at a place of the configuration; None when the file did."""
    keys = [str(part).lower() for part in location]
    names = {name.upper(): name for name in environment}
    for depth in range(len(keys), 0, -1):
        name = PREFIX + LEVEL.join(keys[:depth]).upper()
        if name in names and name not in NOT_SETTINGS:
            return names[name]
    return None


def _unknown_among(parts: Sequence[str], model: type[BaseModel]) -> tuple[int, list[str]] | None:
    """(which part is unknown, what is known in its place); None when all of them lead somewhere."""
    current: type[BaseModel] | None = model
    depth = 0
    while depth < len(parts) and current is not None:
        fields = current.model_fields
        if parts[depth] not in fields:
            return depth, sorted(fields)
        annotation = fields[parts[depth]].annotation
        current = inner_model(annotation)
        depth += 1
        if get_origin(annotation) is dict:
            depth += 1  # the name of a chain, an asset or an e-mode is anybody's
            continue
        if current is None and depth < len(parts):
            return depth, []
    return None


def _nearest(parts: Sequence[str], depth: int, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(parts[depth], known, n=1, cutoff=0.5)
    if close:
        whole = [*parts[:depth], close[0], *parts[depth + 1 :]]
        return f", did you mean {PREFIX}{LEVEL.join(whole).upper()}?"
    if not known:
        return f": {PREFIX}{LEVEL.join(parts[:depth]).upper()} is one value"
    before = PREFIX + "".join(part.upper() + LEVEL for part in parts[:depth])
    return f"; known are {', '.join(before + name.upper() for name in known)}"
