"""One clear line from a validation error: which key, what is wrong, which key was probably meant. Never the input."""

from __future__ import annotations

import difflib
import typing
from typing import Any

from pydantic import BaseModel, ValidationError


def one_line(error: ValidationError, model: type[BaseModel]) -> str:
    """The first problem in one line; how many more there are."""
    problems = error.errors(include_input=False, include_url=False)
    first = problems[0]
    location = [part for part in first["loc"] if not _is_branch(part)]
    key = ".".join(str(part) for part in location) or "the file"
    if first["type"] == "extra_forbidden":
        text = f"unknown key '{key}'{_nearest(model, location)}"
    elif first["type"] == "missing":
        text = f"missing key '{key}'"
    else:
        text = f"'{key}': {first['msg'].removeprefix('Value error, ')}"
    more = len(problems) - 1
    return text + (f" (and {more} more)" if more else "")


def _is_branch(part: int | str) -> bool:
    """pydantic names validators and union members inside a location; they are no keys of the file."""
    return isinstance(part, str) and ("[" in part or part in ("constrained-str", "function-after"))


def _nearest(model: type[BaseModel], location: list[int | str]) -> str:
    known = _fields_at(model, location[:-1])
    close = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
    return f", did you mean '{close[0]}'?" if close else f"; known here: {', '.join(sorted(known))}"


def _fields_at(model: type[BaseModel], path: list[int | str]) -> list[str]:
    current: Any = model
    for part in path:
        if isinstance(current, type) and issubclass(current, BaseModel):
            field = current.model_fields.get(str(part))
            current = _inner_model(field.annotation if field else None)
    return list(current.model_fields) if isinstance(current, type) and issubclass(current, BaseModel) else []


def _inner_model(annotation: Any) -> Any:
    """The model inside `X | None`, `dict[str, X]`, `list[X]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in typing.get_args(annotation):
        found = _inner_model(argument)
        if found is not None:
            return found
    return None
