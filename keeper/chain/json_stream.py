"""Cuts a stream of bytes into the JSON objects in it: what an IPC socket needs, which marks no ends. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from keeper.core.errors import MalformedResponse

_OUTSIDE_OF_TEXT = re.compile(rb'["{}\[\]]')
_INSIDE_OF_TEXT = re.compile(rb'["\\]')


class JsonStream:
    """Objects and lists follow each other with or without blanks between. `longest` bounds what is kept of one."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._kept = bytearray()
        self._at = 0
        """Looked at up to here."""
        self._depth = 0
        self._in_text = False

    def feed(self, piece: bytes) -> Iterator[str]:
        """The texts that are whole now. Raises `MalformedResponse` when something else stands between them, or one grows too
        long; the stream is of no use then."""
        self._kept += piece
        while self._step():
            if self._depth == 0 and not self._in_text:
                yield self._cut()
        if len(self._kept) > self._longest:
            raise MalformedResponse(f"a message is longer than {self._longest} bytes")
        if self._depth == 0 and self._kept.strip():
            raise MalformedResponse("something else than JSON objects came over the socket")

    def _step(self) -> bool:
        """Go to the next sign that matters. False when there is none yet."""
        match = (_INSIDE_OF_TEXT if self._in_text else _OUTSIDE_OF_TEXT).search(self._kept, self._at)
        if match is None:
            self._at = len(self._kept)
            return False
        sign = match.group()
        if sign == b"\\":
            if match.end() == len(self._kept):
                self._at = match.start()
                return False
            self._at = match.end() + 1
            return True
        self._at = match.end()
        if self._depth == 0 and (sign not in b"{[" or self._kept[: match.start()].strip()):
            raise MalformedResponse("something else than JSON objects came over the socket")
        if sign == b'"':
            self._in_text = not self._in_text
        else:
            self._depth += 1 if sign in b"{[" else -1
        return True

    def _cut(self) -> str:
        text = self._kept[: self._at].decode("utf-8", "replace")
        del self._kept[: self._at]
        self._at = 0
        return text
