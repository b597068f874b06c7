"""The summary as a picture that fetches nothing: no web fonts, no links."""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich.console import Console, RenderableType

from keeper.core.errors import ConfigError

WIDTH = 160
_FONT_FACES = re.compile(r"\s*@font-face\s*\{.*?\}", re.DOTALL)
_COMMENTS = re.compile(r"\s*<!--.*?-->", re.DOTALL)
_FONT = re.compile(r"Fira Code,\s*monospace")
_TITLE_FONT = re.compile(r"font-family:\s*arial;")
_LINK = re.compile(r"https?://[^\s\"'<>)]+")
_NAMESPACE = "http://www.w3.org/2000/svg"
"""Names the language of the file; nobody fetches it."""


def svg_of(shown: RenderableType, title: str) -> str:
    """The text of an SVG file."""
    console = Console(width=WIDTH, record=True, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(shown)
    picture = console.export_svg(title=title)
    for pattern in (_FONT_FACES, _COMMENTS):
        picture = pattern.sub("", picture)
    picture = _FONT.sub("ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace", picture)
    picture = _TITLE_FONT.sub("font-family: sans-serif;", picture)
    outside = links(picture)
    assert not outside, f"the picture would fetch {outside}"
    return picture


def links(picture: str) -> list[str]:
    """Every address in the picture that something could be fetched from."""
    return [link for link in _LINK.findall(picture) if link != _NAMESPACE]


def write_svg(path: Path, shown: RenderableType, title: str) -> None:
    """Raises `ConfigError` when the file cannot be written."""
    try:
        path.write_text(svg_of(shown, title), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--svg {path} cannot be written: {error.strerror}") from None
