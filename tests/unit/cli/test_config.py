"""`keeper config check`: what is wrong with a file, in one line, without a node."""

from __future__ import annotations

from pathlib import Path

import pytest

from keeper.cli import run_cli

CANARY = "c4n4ry-k3y"
GOOD = f"""
[chains.sepolia]
rpc_url = "https://node.example.org/v2/{CANARY}"
preset = "sepolia"
"""


def checked(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    config = tmp_path / "keeper.toml"
    config.write_text(text)
    code = run_cli(["config", "check", "--config", str(config)])
    shown = capsys.readouterr()
    assert CANARY not in shown.out + shown.err
    return code, shown.out, shown.err


def test_a_good_file_is_shown_whole_with_its_secrets_masked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = checked(tmp_path, GOOD, capsys)
    assert (code, err) == (0, "")
    assert "in order" in out
    assert "(secret)" in out
    assert "chains.sepolia.policy.most_calls" in out
    assert "0x012bAC54348C0E635dCAc9D5FB99f06F24136C9A" in out


@pytest.mark.parametrize(
    "found, replacement, says",
    [
        ("preset =", "preste =", ["unknown key 'chains.sepolia.preste'", "'preset'"]),
        ('preset = "sepolia"', 'preset = "sepola"', ["unknown preset 'sepola'", "'sepolia'"]),
        ('preset = "sepolia"', "", ["chains.sepolia", "needs addresses_provider or preset"]),
        ("[chains.sepolia]", "[chain.sepolia]", ["unknown key 'chain'", "'chains'"]),
        ("[chains.sepolia]", 'mode = "alive"\n[chains.sepolia]', ["'mode'", "'dry' or 'live'"]),
        ("[chains.sepolia]", "[chains.sepolia", ["not valid TOML", "line 2"]),
        ("[chains.sepolia]", "health_prot = 1\n[chains.sepolia]", ["unknown key 'health_prot'", "'health_port'"]),
        ("https://node", "node", ["RPC URL is not of the form"]),
        ('preset = "sepolia"', 'preset = "sepolia"\nchain_id = 5', ["chains.sepolia.chain_id is 5", "11155111"]),
        ('preset = "sepolia"', 'addresses_provider = "0x12"', ["addresses_provider", "not an address", "'0x12'"]),
        ('preset = "sepolia"', 'preset = "sepolia"\n[chains.sepolia.policy]\ntarget = "0.9"', ["policy.target", "1"]),
        ('preset = "sepolia"', 'preset = "sepolia"\n[chains.sepolia.fees]\nmax_fee_gwei = -1', ["max_fee_gwei"]),
        ('preset = "sepolia"', 'preset = "sepolia"\n[chains.sepolia.signer]\nkey = "a"', ["unknown key", "signer.key"]),
    ],
)
def test_every_mistake_is_one_line_that_names_the_place(
    found: str, replacement: str, says: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert found in GOOD
    code, out, err = checked(tmp_path, GOOD.replace(found, replacement), capsys)
    assert (code, out) == (2, "")
    assert err.startswith("keeper: ")
    assert err.count("\n") == 1
    for each in says:
        assert each in err


def test_a_file_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["config", "check", "--config", str(tmp_path / "nothing.toml")]) == 2
    error = capsys.readouterr().err
    assert "nothing.toml: no such configuration file" in error
    assert error.count("\n") == 1


def test_a_file_that_is_no_text_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "keeper.toml"
    config.write_bytes(bytes(range(128, 256)))
    assert run_cli(["config", "check", "--config", str(config)]) == 2
    error = capsys.readouterr().err
    assert "keeper.toml: not valid TOML" in error
    assert error.count("\n") == 1
