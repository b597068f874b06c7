"""What is asked of the keeper: how to run, and on which chain."""

from __future__ import annotations

from dataclasses import dataclass

from keeper.core.errors import ConfigError
from keeper.settings import Settings


@dataclass(frozen=True, slots=True)
class RunPlan:
    once: bool
    live: bool
    """Asked for on the command line; the configuration must say so too."""
    fork: bool


def chain_named(settings: Settings, chain: str | None) -> str:
    """Raises `ConfigError` when the configuration does not say which."""
    names = list(settings.chains)
    if chain is None and len(names) == 1:
        return names[0]
    if chain not in settings.chains:
        raise ConfigError(f"--chain {chain or 'is missing'}: the configuration has {', '.join(names)}")
    return chain
