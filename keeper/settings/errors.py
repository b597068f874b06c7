"""One clear line from a validation error: which key, what is wrong, which key was probably meant. Never the input."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError


def one_line(error: ValidationError, model: type[BaseModel]) -> str:
    """The first problem in one line; how many more there are."""
    first, location = first_problem(error)
    key = ".".join(str(part) for part in location) or "the file"
    if first["type"] == "extra_forbidden":
        text = f"unknown key '{key}'{_nearest(model, location)}"
    elif first["type"] == "missing":
        text = f"missing key '{key}'"
    elif first["type"] in ("dict_type", "model_type", "model_attributes_type"):
        text = f"'{key}' must be a table of keys and values"
    else:
        text = f"'{key}': {first['msg'].removeprefix('Value error, ')}"
    more = error.error_count() - 1
    return text + (f" (and {more} more)" if more else "")


def first_problem(error: ValidationError) -> tuple[Mapping[str, Any], list[int | str]]:
    """The problem to tell, misspelt keys first, and the keys that lead to it."""
    problems = error.errors(include_input=False, include_url=False)
    first = next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])
    return dict(first), [part for part in first["loc"] if not _is_branch(part)]


def _is_branch(part: int | str) -> bool:
    """pydantic names validators and union members inside a location; they are no keys of the file."""
    return isinstance(part, str) and ("[" in part or part in ("constrained-str", "function-after"))


def _nearest(model: type[BaseModel], location: list[int | str]) -> str:
    known = _fields_at(model, location[:-1])
    close = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
    if close:
        return f", did you mean '{close[0]}'?"
    return f"; known here: {', '.join(sorted(known))}" if known else ""


def _fields_at(model: type[BaseModel], path: list[int | str]) -> list[str]:
    """The field names of the model that a path leads to; a table's own key (`chains.sepolia`) leads nowhere new."""
    current = model
    names = iter(path)
    for part in names:
        field = current.model_fields.get(str(part))
        inner = inner_model(field.annotation) if field is not None else None
        if field is None or inner is None:
            return []
        if typing.get_origin(field.annotation) in (dict, list):
            next(names, None)
        current = inner
    return list(current.model_fields)


def inner_model(annotation: Any) -> type[BaseModel] | None:
    """The model inside `X | None`, `dict[str, X]`, `list[X]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in typing.get_args(annotation):
        found = inner_model(argument)
        if found is not None:
            return found
    return None
