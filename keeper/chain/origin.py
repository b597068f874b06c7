"""What may be shown of an RPC URL. Its path, query and user part hold API keys, and servers like to echo them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from keeper.core.errors import ConfigError

MASK = "***"
MAX_SHOWN_CHARS = 300
SHORTEST_MASKED_SEGMENT = 8
"""Shorter path segments ("v3", "rpc", "eth") are no keys, and masking them would mangle method names."""


class Origin:
    """Names one endpoint in messages: scheme, host and port, and whatever a server said with our secrets taken out.

    Raises `ConfigError`, without repeating the URL, when it is not a URL of the `scheme` or of its encrypted form.
    """

    host = ""
    _secrets: Sequence[str] = ()

    def __init__(self, url: str, scheme: str = "http") -> None:
        parts = _split(url, scheme)
        host = self.host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
        self.label = f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"
        self._secrets = _secrets(parts)

    @classmethod
    def of_file(cls, path: Path) -> Origin:
        """A node's socket in the file system."""
        origin = cls.__new__(cls)
        origin.label = f"ipc:{path}"
        return origin

    def __repr__(self) -> str:
        return f"Origin({self.label})"

    def shown(self, text: str) -> str:
        """Foreign text on one bounded line, with every secret of the URL replaced."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        flat = " ".join("".join(char if char.isprintable() else " " for char in text).split())
        return flat if len(flat) <= MAX_SHOWN_CHARS else flat[:MAX_SHOWN_CHARS] + "…"


def _split(url: str, scheme: str) -> SplitResult:
    parts: SplitResult | None = None
    try:
        parts = urlsplit(url)
        usable = parts.scheme in (scheme, f"{scheme}s") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    # Raised out here: inside the handler the original error, which quotes the URL, would stay attached.
    if parts is None or not usable:
        raise ConfigError(f"an RPC URL is not of the form {scheme}(s)://host[:port]/…; check its scheme, host and port")
    return parts


def _secrets(parts: SplitResult) -> list[str]:
    """Every text that could be a key, longest first so that no part of a longer one stays behind."""
    found = {segment for segment in parts.path.split("/") if len(segment) >= SHORTEST_MASKED_SEGMENT}
    found |= {value for _, value in parse_qsl(parts.query, keep_blank_values=False)}
    found |= {text for text in (parts.username, parts.password, parts.query, parts.fragment) if text}
    if len(parts.path) > 1:
        found.add(parts.path)
    found |= {unquote(text) for text in found}
    return sorted((text for text in found if len(text) > 3), key=len, reverse=True)
