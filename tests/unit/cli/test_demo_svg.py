"""The exported picture fetches nothing from anywhere."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.text import Text

from keeper.cli.demo_summary import TITLE, summary
from keeper.cli.demo_svg import links, svg_of, write_svg
from keeper.cli.render import short_address
from keeper.core.errors import ConfigError
from tests.unit.app.demo_facts import RESTORED, result


def test_the_picture_is_well_formed_and_holds_the_summary() -> None:
    picture = svg_of(summary(result()), TITLE)
    root = ElementTree.fromstring(picture)
    assert root.tag.endswith("svg")
    words = "".join(root.itertext()).replace("\xa0", " ")
    assert short_address(RESTORED) in words
    assert "+11 wad" in words


def test_nothing_is_fetched() -> None:
    picture = svg_of(summary(result()), TITLE)
    assert links(picture) == []
    for trace in ("@font-face", "url(http", "cdn", "xlink", "<image", "<script", "textualize"):
        assert trace not in picture


def test_a_link_in_what_is_shown_is_noticed() -> None:
    with pytest.raises(AssertionError, match="would fetch"):
        svg_of(Text("https://example.org/x"), TITLE)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    write_svg(tmp_path / "a.svg", Text("hello"), TITLE)
    assert "hello" in (tmp_path / "a.svg").read_text()
    with pytest.raises(ConfigError, match="cannot be written"):
        write_svg(tmp_path / "no" / "a.svg", Text("hello"), TITLE)
