"""Long work that yields between its steps, so that whoever runs it may do something else meanwhile."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

Value = TypeVar("Value")

Steps = Generator[None, None, Value]


def finished(steps: Steps[Value]) -> Value:
    """What it comes to, done without a break."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            value: Value = done.value
            return value
