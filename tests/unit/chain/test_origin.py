from __future__ import annotations

import pytest

from keeper.chain.origin import MAX_SHOWN_CHARS, Origin
from keeper.core.errors import ConfigError


@pytest.mark.parametrize(
    "url, label",
    [
        ("https://node.example/v3/0123456789abcdef", "https://node.example"),
        ("http://me:secret@127.0.0.1:8545/?key=abcdef", "http://127.0.0.1:8545"),
        ("http://[::1]:8545/rpc", "http://[::1]:8545"),
    ],
)
def test_the_label_is_scheme_host_and_port(url: str, label: str) -> None:
    assert Origin(url).label == label
    assert repr(Origin(url)) == f"Origin({label})"


@pytest.mark.parametrize(
    "said",
    [
        "Cannot POST /v3/0123456789abcdef?apikey=hunter22&x=1",
        "unknown project 0123456789abcdef",
        "key hunter22 is out of credits",
        "user trader1 may not",
        "pass%77ord or passwoword",
    ],
)
def test_what_a_server_echoes_is_masked(said: str) -> None:
    shown = Origin("https://trader1:pass%77oword@node.example/v3/0123456789abcdef?apikey=hunter22&x=1").shown(said)
    for secret in ("0123456789abcdef", "hunter22", "trader1", "passwoword", "pass%77oword"):
        assert secret not in shown
    assert "***" in shown or "pass%77ord" in shown


def test_method_names_survive_short_path_segments() -> None:
    assert Origin("https://node.example/eth/rpc/v1/").shown("eth_getLogs: rpc failed") == "eth_getLogs: rpc failed"


def test_shown_text_is_one_bounded_line() -> None:
    shown = Origin("https://node.example").shown("a\nb\x1b[31m\tc" + "x" * 1000)
    assert shown.startswith("a b [31m c")
    assert len(shown) <= MAX_SHOWN_CHARS + 1


@pytest.mark.parametrize(
    "url",
    [
        "",
        "node.example/canary777",
        "ws://node.example/canary777",
        "http:///canary777",
        "http://host:canary777/",
        "http://[::1/canary777",
        "file:///canary777",
    ],
)
def test_an_unusable_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Origin(url)
    assert "canary777" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
