"""Several signers of a chain: one table each, and one clear line per mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from keeper.app.terms import desk_terms
from keeper.core.errors import ConfigError
from keeper.settings import Chain, load_settings
from keeper.settings.effective import effective_rows

CHAIN = '[chains.a]\nrpc_url = "http://node.example"\npreset = "sepolia"\n'
ONE = '[[chains.a.signers]]\nkeystore = "first.json"\nmost_in_flight = 2\n'
OTHER = '[[chains.a.signers]]\nkeystore = "second.json"\nmost_in_flight = 5\n'
ADDRESS = "0x012bAC54348C0E635dCAc9D5FB99f06F24136C9A"


def chain_of(folder: Path, tables: str) -> Chain:
    path = folder / "keeper.toml"
    path.write_text(CHAIN + tables, encoding="utf-8")
    return load_settings(path).chains["a"]


def test_they_sign_in_the_order_of_their_tables(tmp_path: Path) -> None:
    several = chain_of(tmp_path, ONE + OTHER)
    assert [(place, str(each.keystore)) for place, each in several.signing.items()] == [
        ("signers.0", "first.json"),
        ("signers.1", "second.json"),
    ]
    one = chain_of(tmp_path, ONE.replace("[[chains.a.signers]]", "[chains.a.signer]"))
    assert [(place, str(each.keystore)) for place, each in one.signing.items()] == [("signer", "first.json")]
    assert chain_of(tmp_path, "").signing == {}


def test_a_sequence_may_be_as_long_as_one_of_them_can_send(tmp_path: Path) -> None:
    def longest(tables: str) -> int:
        return desk_terms(chain_of(tmp_path, tables), 10**8, None, 1.0, on_demand=True).policy.most_calls

    assert (longest(ONE), longest(ONE + OTHER)) == (2, 3)
    assert longest(ONE + '[[chains.a.signers]]\nkeystore = "third.json"\n') == 3, "the third has no bound of its own"


@pytest.mark.parametrize(
    "tables, words",
    [
        (ONE + ONE, "signers.1 has the same key as signers.0: each signer needs one of its own"),
        (
            f'{ONE}address = "{ADDRESS}"\n{OTHER}address = "{ADDRESS.lower()}"\n',
            "signers.1 has the same key as signers.0",
        ),
        (ONE + '[chains.a.signer]\nkeystore = "third.json"\n', "signer and signers: write one of them"),
        (ONE + "[[chains.a.signers]]\n", "'chains.a.signers.1': needs exactly one of keystore"),
        (
            ONE + '[[chains.a.signers]]\nkeystor = "x"\n',
            "unknown key 'chains.a.signers.1.keystor', did you mean 'keystore'",
        ),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, tables: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        chain_of(tmp_path, tables)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_it_comes_to_is_shown_for_each_without_secrets(tmp_path: Path) -> None:
    path = tmp_path / "keeper.toml"
    remote = f'[[chains.a.signers]]\nremote_url = "http://signer.example/s3cr3t"\naddress = "{ADDRESS}"\n'
    path.write_text(CHAIN + ONE + remote, encoding="utf-8")
    rows = {key: value for key, value, _ in effective_rows(load_settings(path))}
    assert rows["chains.a.signers.0.keystore"] == "first.json"
    assert rows["chains.a.signers.1.remote_url"] == "(secret)"
