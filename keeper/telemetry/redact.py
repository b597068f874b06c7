"""Keeps known secrets out of everything that is shown: RPC URLs with keys in them, passwords, alert URLs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

MASK = "***"
SHORTEST_SECRET = 4
"""Masking anything shorter would only scatter masks over innocent text."""
SHORTEST_URL_PART = 12
"""Path segments this long are taken for keys; shorter ones (`v3`, `rpc`, `mainnet`) are names."""


class Redactor:
    """Replaces registered secrets in text. Register a secret before anything that could show it runs."""

    def __init__(self) -> None:
        self._secrets: list[str] = []

    def add(self, secret: str) -> None:
        """Register a secret, in the spellings in which renderers write it (JSON, repr, percent-encoded)."""
        if len(secret) < SHORTEST_SECRET:
            return
        spellings = {secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], quote(secret, safe=""), unquote(secret)}
        known = spellings.union(self._secrets)
        # Longest first: a secret that is part of another must not break the longer one up.
        self._secrets = sorted((text for text in known if len(text) >= SHORTEST_SECRET), key=len, reverse=True)

    def add_url(self, url: str) -> None:
        """Register a URL's secret parts: user, password, path and query. Scheme, host and port stay readable."""
        parts = urlsplit(url)
        if parts.username:
            self.add(parts.netloc.rpartition("@")[0])
        if parts.password:
            self.add(parts.password)
        tail = url.partition(parts.netloc)[2] if parts.netloc else url.partition(":")[2]
        if len(tail) > SHORTEST_URL_PART:
            self.add(tail)
        for segment in parts.path.split("/"):
            if len(segment) >= SHORTEST_URL_PART:
                self.add(segment)
        for _, value in parse_qsl(parts.query):
            self.add(value)

    def clean(self, text: str) -> str:
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, MASK)
        return text

    def clean_tree(self, item: Any) -> Any:
        """The same for every text inside mappings, lists and tuples; other values stay what they are."""
        if isinstance(item, str):
            return self.clean(item)
        if isinstance(item, Mapping):
            return {self.clean_tree(key): self.clean_tree(value) for key, value in item.items()}
        if isinstance(item, list | tuple):
            return [self.clean_tree(value) for value in item]
        return item
