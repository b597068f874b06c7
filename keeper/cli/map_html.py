"""The liquidation map as one page that fetches nothing and runs nothing: inline SVG, no script, light and dark."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from keeper.cli.map_report import MarketMap, Named, names_in
from keeper.cli.map_view import drop_text, heading
from keeper.cli.render import base_text, checksum, compact_text
from keeper.core.errors import ConfigError

LINES_MOST = 6
"""Curves in the chart besides the joint one; the table has them all."""
_LEFT, _TOP, _WIDTH, _HEIGHT, _RIGHT, _BOTTOM = 70, 15, 640, 300, 170, 40
_DEEPEST_BPS = 6_000
_GRID = 4

_STYLE = """
:root { color-scheme: light dark; --ink: #1d1d1f; --paper: #ffffff; --faint: #8a8a8e; --line: #d9d9de;
  --c0: #b3261e; --c1: #1f6feb; --c2: #1a7f37; --c3: #9a6700; --c4: #8250df; --c5: #0f766e; --c6: #bf3989; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececf1; --paper: #17181c; --faint: #9a9aa2; --line: #34353c;
  --c0: #ff6b61; --c1: #6cb0ff; --c2: #5dd07b; --c3: #e0b040; --c4: #b794ff; --c5: #4fd1c5; --c6: #ff8ac6; } }
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 60rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2.5rem; overflow-wrap: anywhere; }
p { margin: .3rem 0; } .faint { color: var(--faint); }
figure { margin: 1rem 0; overflow-x: auto; } svg { min-width: 36rem; width: 100%; height: auto; }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif; } svg text.faint { fill: var(--faint); }
svg line { stroke: var(--line); } polyline { fill: none; stroke-width: 2; }
.k0 { stroke: var(--c0); stroke-width: 3.5; } .k1 { stroke: var(--c1); } .k2 { stroke: var(--c2); }
.k3 { stroke: var(--c3); } .k4 { stroke: var(--c4); } .k5 { stroke: var(--c5); } .k6 { stroke: var(--c6); }
.d0 { fill: var(--c0); } .d1 { fill: var(--c1); } .d2 { fill: var(--c2); } .d3 { fill: var(--c3); }
.d4 { fill: var(--c4); } .d5 { fill: var(--c5); } .d6 { fill: var(--c6); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .7rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
"""


def write_page(path: Path, maps: Sequence[MarketMap]) -> None:
    """Raises `ConfigError` when the file cannot be written."""
    try:
        path.write_text(page_of(maps), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--html {path} cannot be written: {error.strerror}") from None


def page_of(maps: Sequence[MarketMap]) -> str:
    """The page. Its policy allows its own style by hash and nothing else, so it holds under a strict one too."""
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{digest}'\">",
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Liquidation map</title><style>{_STYLE}</style></head><body>",
        "<h1>Liquidation map: debt that falls below 1 as prices drop</h1>",
    ]
    for each in maps:
        parts.extend(_section(each))
    return "\n".join([*parts, "</body></html>", ""])


def _section(found: MarketMap) -> Iterator[str]:
    title, *lines = [line for line in heading(found) if line]
    yield f"<section><h2>{escape(title)}</h2>"
    for line in lines[:-1]:
        yield f"<p>{escape(line)}</p>"
    yield "<figure>"
    yield from _chart(found)
    yield '<figcaption class="faint">Across: how far prices drop. Up: debt that is not below 1 now and would be.</figcaption>'
    yield "</figure>"
    yield from _table(found)
    yield '<p class="faint">Every other price stays where it is: a staked coin does not fall with its coin unless both are'
    yield " named. Figures are the market&#x27;s own arithmetic at the block above, interest up to its time.</p></section>"


def _chart(found: MarketMap) -> Iterator[str]:
    shown = _curves(found)[: LINES_MOST + 1]
    most = max((point.fresh_debt_base for named in shown for point in named.curve.points), default=0)
    decimals = found.look.base_decimals
    width, height = _LEFT + _WIDTH + _RIGHT, _TOP + _HEIGHT + _BOTTOM
    label = f"Debt below 1 by price drop, {checksum(found.look.market)}"
    yield f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
    for step in range(_GRID + 1):
        y = _TOP + _HEIGHT - _HEIGHT * step // _GRID
        yield f'<line x1="{_LEFT}" y1="{y}" x2="{_LEFT + _WIDTH}" y2="{y}"/>'
        value = compact_text(most * step // _GRID, decimals) if step else "0"
        yield f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end" class="faint">{value}</text>'
    for drop_bps in range(0, _DEEPEST_BPS + 1, 1_000):
        x = _across(drop_bps)
        text = f"-{drop_bps // 100} %" if drop_bps else "now"
        yield f'<text x="{x}" y="{_TOP + _HEIGHT + 20}" text-anchor="middle" class="faint">{text}</text>'
    for place, named in reversed(list(enumerate(shown))):
        yield from _line(place, named, most, decimals)
    for place, named in enumerate(shown):
        y = _TOP + 10 + 20 * place
        yield f'<circle cx="{_LEFT + _WIDTH + 14}" cy="{y - 4}" r="5" class="d{place}"/>'
        yield f'<text x="{_LEFT + _WIDTH + 24}" y="{y}">{escape(named.name)}</text>'
    yield "</svg>"


def _line(place: int, named: Named, most: int, decimals: int) -> Iterator[str]:
    dots = [(point, _across(point.drop_bps), _up(point.fresh_debt_base, most)) for point in named.curve.points]
    path = " ".join(f"{x},{y}" for _, x, y in dots)
    yield f'<polyline points="{path}" class="k{place}"/>'
    for point, x, y in dots:
        told = f"{named.name} {drop_text(point)}: {base_text(point.fresh_debt_base, decimals)},"
        told += f" {point.fresh_borrowers} borrowers"
        yield f'<circle cx="{x}" cy="{y}" r="4" class="d{place}"><title>{escape(told)}</title></circle>'


def _table(found: MarketMap) -> Iterator[str]:
    steps = [point.drop_bps for point in found.together.curve.points][1:]
    yield '<div class="scroll"><table><thead><tr><th>price of</th>'
    yield "".join(f"<th>-{step // 100} %</th>" for step in steps)
    yield "</tr></thead><tbody>"
    for named in _curves(found):
        cells = (compact_text(point.fresh_debt_base, found.look.base_decimals) for point in named.curve.points[1:])
        yield f"<tr><td>{escape(named.name)}</td>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
    yield "</tbody></table></div>"
    yield f'<p class="faint">together: {escape(names_in(found.look, found.together.curve.price_keys))}</p>'


def _curves(found: MarketMap) -> list[Named]:
    return [found.together, *found.alone]


def _across(drop_bps: int) -> int:
    return _LEFT + _WIDTH * drop_bps // _DEEPEST_BPS


def _up(debt_base: int, most: int) -> int:
    return _TOP + _HEIGHT - (_HEIGHT * debt_base // most if most else 0)
