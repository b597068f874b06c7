"""A reason's particulars for people: the journal keeps raw units and addresses, here they become amounts and symbols.

What is not recognised is shown as it was recorded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from keeper.cli.labels import Labels
from keeper.cli.render import checksum, fixed_text, gwei_text, plain_text, token_text

_ADDRESS = r"0x[0-9a-f]{40}(?![0-9a-f])"
"""A longer run of digits is a hash."""
_COIN_DECIMALS = 18
Rewrite = Callable[[re.Match[str], str | None, Labels], str]


def detail_text(detail: str, market: str | None, labels: Labels) -> str:
    """One line, without control characters."""
    text = plain_text(detail)
    for pattern, rewrite in _RULES:
        text = pattern.sub(lambda found, rewrite=rewrite: rewrite(found, market, labels), text)  # type: ignore[misc]
    return text


def _share(found: re.Match[str], market: str | None, labels: Labels) -> str:
    part, whole, asset = found.groups()
    return f"{labels.token(part, asset)} of {labels.token(whole, asset)}"


def _compared(found: re.Match[str], market: str | None, labels: Labels) -> str:
    wanted, asset, between, there = found.groups()
    return f"{labels.token(wanted, asset)}{between}{labels.token(there, asset)}"


def _amount(found: re.Match[str], market: str | None, labels: Labels) -> str:
    return labels.token(found[1], found[2])


def _sum(found: re.Match[str], market: str | None, labels: Labels) -> str:
    received, repaid, gas, net, least = (labels.base(text, market) for text in found.groups())
    return f"received {received} - repaid {repaid} - gas {gas} = {net}, the least is {least}"


def _values(found: re.Match[str], market: str | None, labels: Labels) -> str:
    first, between, second = found.groups()
    return f"{labels.base(first, market)}{between}{labels.base(second, market)}"


def _value(found: re.Match[str], market: str | None, labels: Labels) -> str:
    return labels.base(found[1], market)


def _coins(found: re.Match[str], market: str | None, labels: Labels) -> str:
    cost, left = (token_text(int(text), _COIN_DECIMALS, "native coins") for text in found.groups())
    return f"gas may cost {cost}, {left} are left"


def _gas_prices(found: re.Match[str], market: str | None, labels: Labels) -> str:
    return f"{gwei_text(int(found[1]))} per gas, the cap is {gwei_text(int(found[2]))}"


def _percent(found: re.Match[str], market: str | None, labels: Labels) -> str:
    return f"{fixed_text(int(found[1]), 6, 2)} %"


def _address(found: re.Match[str], market: str | None, labels: Labels) -> str:
    return labels.symbol(found[0]) if found[0] in labels.assets else checksum(found[0])


_RULES: Sequence[tuple[re.Pattern[str], Rewrite]] = (
    (re.compile(rf"(\d+) of (\d+) raw of ({_ADDRESS})"), _share),
    (re.compile(rf"(\d+) raw of ({_ADDRESS})(, has | that are paid out, )(\d+)"), _compared),
    (re.compile(rf"(\d+) raw of ({_ADDRESS})"), _amount),
    (re.compile(r"received (\d+) - repaid (\d+) - gas (\d+) = (-?\d+) base, the least is (\d+)"), _sum),
    (re.compile(r"(-?\d+) base(, the least is )(-?\d+)"), _values),
    (re.compile(r"(\d+) base\b"), _value),
    (re.compile(r"gas may cost (\d+) wei, (\d+) are left"), _coins),
    (re.compile(r"(\d+) wei per gas, the cap is (\d+)"), _gas_prices),
    (re.compile(r"(\d+) e-8"), _percent),
    (re.compile(_ADDRESS), _address),
)
