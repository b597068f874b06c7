"""How numbers, addresses and times look to people. Exact integers in, text out; rounding is always down."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from keeper.core.units import NO_DEBT_HEALTH_WAD, WAD

if TYPE_CHECKING:
    from rich.console import Console

_ADDRESS = re.compile(r"0x[0-9a-f]{40}")
WIDE = 160


def table_console() -> Console:
    """As wide as the terminal; in a pipe or a file wide enough that nothing is cut."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=WIDE)


# -- addresses -----------------------------------------------------------------------------------------------------
@lru_cache(maxsize=65_536)
def checksum(address: bytes | str) -> str:
    """EIP-55, from 20 raw bytes or ``0x`` + 40 hex digits."""
    from eth_utils.address import to_checksum_address

    return to_checksum_address(address)


def short_address(address: bytes | str) -> str:
    """``0x12Ab…89eF``, for narrow tables: too short to copy from."""
    whole = checksum(address)
    return f"{whole[:6]}…{whole[-4:]}"


def checksum_tree(item: Any) -> Any:
    """Every address inside a JSON value with its checksum; all else as it is."""
    if isinstance(item, str):
        return checksum(item) if _ADDRESS.fullmatch(item) else item
    if isinstance(item, dict):
        return {name: checksum_tree(value) for name, value in item.items()}
    if isinstance(item, list):
        return [checksum_tree(value) for value in item]
    return item


# -- numbers -------------------------------------------------------------------------------------------------------
def fixed_text(amount: int, decimals: int, digits: int) -> str:
    """`amount` · 10⁻ᵈᵉᶜⁱᵐᵃˡˢ with `digits` places, rounded down (towards minus infinity), thousands grouped."""
    scaled = amount * 10**digits // 10**decimals
    whole, fraction = divmod(abs(scaled), 10**digits)
    sign = "-" if scaled < 0 else ""
    return f"{sign}{whole:,}.{fraction:0{digits}d}" if digits else f"{sign}{whole:,}"


def health_text(health_wad: int | None, digits: int = 4) -> str:
    """``0.9731``. Rounded down, so anything below 1 shows below 1. ``no debt`` for the contracts' number for that;
    ``unknown`` for None, when a price is missing."""
    if health_wad is None:
        return "unknown"
    return "no debt" if health_wad == NO_DEBT_HEALTH_WAD else fixed_text(health_wad, 18, digits)


def signed_wad_text(difference_wad: int, digits: int = 4) -> str:
    """A difference of healths with its sign. A difference too small for `digits` is shown in wad instead of as 0."""
    if difference_wad and abs(difference_wad) < WAD // 10**digits:
        return f"{difference_wad:+,} wad"
    return ("+" if difference_wad > 0 else "") + fixed_text(difference_wad, 18, digits)


def base_text(amount_base: int, base_decimals: int | None) -> str:
    """A value in the market's base currency, two places; without known decimals the integer, named as such."""
    if base_decimals is None:
        return f"{amount_base:,} base units"
    return fixed_text(amount_base, base_decimals, 2)


def compact_text(amount_base: int, base_decimals: int) -> str:
    """``1.23M``: three or four digits of a value, rounded down; ``-`` for 0."""
    if not amount_base:
        return "-"
    for power, sign in ((9, "B"), (6, "M"), (3, "k")):
        if amount_base >= 10 ** (base_decimals + power):
            return fixed_text(amount_base, base_decimals + power, 2) + sign
    return fixed_text(amount_base, base_decimals, 2)


def token_text(amount_raw: int, decimals: int | None, symbol: str, digits: int = 6) -> str:
    """``1.25 WETH``: up to `digits` places, but never 0 for something. Without known decimals the raw integer."""
    if decimals is None:
        return f"{amount_raw:,} raw {plain_text(symbol)}"
    text = _trimmed(fixed_text(amount_raw, decimals, min(digits, decimals)))
    if amount_raw and text.strip("-") == "0":
        text = _trimmed(fixed_text(amount_raw, decimals, decimals))
    return f"{text} {plain_text(symbol)}"


def gwei_text(amount_wei: int) -> str:
    return f"{_trimmed(fixed_text(amount_wei, 9, 9))} gwei"


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


# -- times and texts -----------------------------------------------------------------------------------------------
def time_text(moment: str | int) -> str:
    """``2026-01-31 12:00:00`` UTC, from the journal's ISO text or a block's unix seconds."""
    when = datetime.fromtimestamp(moment, UTC) if isinstance(moment, int) else datetime.fromisoformat(moment)
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def age_text(seconds: float) -> str:
    """``35 s``, ``12 min``, ``3 h 05 min``, ``2 d 4 h``."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def plain_text(text: str) -> str:
    """Text from a chain on one line, without control characters: a token's name or a revert may hold anything."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)
