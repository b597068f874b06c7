"""What a run is asked to do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunPlan:
    once: bool
    live: bool
    """Asked for on the command line; the configuration must say so too."""
    fork: bool
