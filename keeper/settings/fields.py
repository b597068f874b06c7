"""What the tables of the configuration are made of."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, SecretStr


def as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def exact(value: object) -> object:
    return str(value) if isinstance(value, (int, float)) else value


def rpc_form(url: SecretStr, scheme: str = "http") -> SecretStr:
    """Here already, where the key and the file are known. Never repeats the URL."""
    usable = False
    with suppress(ValueError):
        parts = urlsplit(url.get_secret_value())
        usable = parts.scheme in (scheme, f"{scheme}s") and bool(parts.hostname) and parts.port != 0
    if not usable:
        raise ValueError(f"an RPC URL is not of the form {scheme}(s)://host[:port]/…; check its scheme, host and port")
    return url


def _ws_form(url: SecretStr) -> SecretStr:
    return rpc_form(url, "ws")


RpcUrl = Annotated[SecretStr, AfterValidator(rpc_form)]
WsUrl = Annotated[SecretStr, AfterValidator(_ws_form)]
Exact = Annotated[Decimal, BeforeValidator(exact), Field(ge=0)]

TABLE = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
"""Of every table: unknown keys are refused, and what was given is not repeated in errors."""
