"""JSON that somebody else wrote. Pure.

Python's reader goes one call deeper for each list or object inside another. What nests a hundred thousand of them ends it by
the interpreter's own limit, or, where that was raised, ends the process; and whoever walks through what was read does the same.
"""

from __future__ import annotations

import json
import re
from typing import Any

MOST_NESTED = 64
"""Lists and objects within one another. The answers that are asked for have less than ten."""

_NOT_STRUCTURE = bytes(each for each in range(256) if each not in b'[]{}"')
_ALIKE = bytes.maketrans(b"{}", b"[]")
"""Which of the two it is does not matter: where they do not match, no reader goes on."""
_ANY_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_PLAIN_TEXT = re.compile(rb'"[^"]*"')


def decode_json(raw: bytes) -> Any:
    """UTF-8 alone. Raises `ValueError` for what is no JSON, and, unread, for what nests deeper than `MOST_NESTED`."""
    text = raw.decode()
    if not _is_shallow(raw):
        raise ValueError(f"lists and objects nest deeper than {MOST_NESTED}, or do not close")
    return json.loads(text)


def _is_shallow(raw: bytes) -> bool:
    """Takes away what holds nothing, level by level: a few passes over a few signs, however long the numbers and texts are.
    A text's own brackets do not count; two texts that come to lie side by side are one without harm."""
    if b"\\" in raw:
        raw = _ANY_TEXT.sub(b"", raw)
    signs = raw.translate(_ALIKE, _NOT_STRUCTURE).replace(b'""', b"")
    if b'"' in signs:
        signs = _PLAIN_TEXT.sub(b"", signs)
    for _ in range(MOST_NESTED):
        if not signs:
            return True
        signs = signs.replace(b"[]", b"")
    return not signs
