from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeper.telemetry.redact import MASK, Redactor

KEY = "CANARY0123456789abcdef"
URL = f"https://op:pass-Word9@node.example:8443/v3/{KEY}?apikey=QUERYcanary&network=sepolia"


def redactor_of(*secrets: str) -> Redactor:
    redactor = Redactor()
    for secret in secrets:
        redactor.add(secret)
    return redactor


@pytest.mark.parametrize(
    "shown",
    [
        URL,
        URL.removeprefix("https://op:pass-Word9@"),
        f"GET /v3/{KEY}",
        f"url={KEY}",
        "login op with pass-Word9 failed",
        "?apikey=QUERYcanary",
    ],
)
def test_no_secret_part_of_a_url_is_shown_in_any_company(shown: str) -> None:
    redactor = Redactor()
    redactor.add_url(URL)
    cleaned = redactor.clean(shown)
    assert not any(secret in cleaned for secret in (KEY, "pass-Word9", "QUERYcanary"))
    assert MASK in cleaned


def test_where_a_url_leads_stays_readable() -> None:
    redactor = Redactor()
    redactor.add_url(URL)
    assert redactor.clean(URL).startswith("https://")
    assert "node.example:8443" in redactor.clean(URL)
    redactor = Redactor()
    redactor.add_url("http://127.0.0.1:8545")
    assert redactor.clean("http://127.0.0.1:8545 timed out") == "http://127.0.0.1:8545 timed out"


@given(secret=st.text(min_size=4, max_size=30), before=st.text(max_size=5), after=st.text(max_size=5))
def test_a_secret_is_masked_in_every_spelling_that_a_renderer_gives_it(secret: str, before: str, after: str) -> None:
    redactor = redactor_of(secret)
    for text in (secret, json.dumps(secret)[1:-1], repr(secret)[1:-1]):
        assert redactor.clean(f"<{text}>") == f"<{MASK}>"
    assert secret not in redactor.clean(f"{before}{secret}{after}").replace(MASK, "")


def test_a_secret_inside_another_does_not_uncover_the_rest() -> None:
    redactor = redactor_of("abcd", "abcd-efgh")
    assert redactor.clean("it is abcd-efgh and abcd") == f"it is {MASK} and {MASK}"


def test_texts_in_any_depth_are_masked_and_other_values_kept() -> None:
    tree = {"a": ["x SECRET y", 5, None, ("SECRET",)], "SECRET": {"b": True}}
    assert redactor_of("SECRET").clean_tree(tree) == {"a": [f"x {MASK} y", 5, None, [MASK]], MASK: {"b": True}}


def test_what_is_too_short_to_be_a_secret_masks_nothing() -> None:
    assert redactor_of("", "abc").clean("abc is easy as abc") == "abc is easy as abc"
