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
    announced = f'ws_url = ["wss://node.example.org/v2/{CANARY}", "ws://127.0.0.1:8546"]\n'
    code, out, err = checked(tmp_path, GOOD + announced, capsys)
    assert (code, err) == (0, "")
    assert "in order" in out
    assert "(secret)" in out
    assert "chains.sepolia.policy.most_calls" in out
    assert "0x012bAC54348C0E635dCAc9D5FB99f06F24136C9A" in out


def test_a_socket_that_is_not_there_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = checked(tmp_path, GOOD + f'ipc_path = "{tmp_path}/geth.ipc"\n', capsys)
    assert code == 0
    assert "to be looked at" in out
    assert "chains.sepolia.ipc_path" in err
    assert "is no socket now" in err


def test_values_are_shown_as_a_file_would_say_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = '[chains.sepolia.policy]\ntarget_by_emode = { 1 = "1.01" }\nskip_assets = []\n'
    _, out, _ = checked(tmp_path, GOOD + policy, capsys)
    shown = {
        cells[1].strip(): cells[2].strip() for cells in (line.split("│") for line in out.splitlines()) if cells[1:]
    }
    assert shown["chains.sepolia.policy.target_by_emode"] == "1 = 1.01"
    assert shown["chains.sepolia.policy.skip_assets"] == "[]"
    assert shown["chains.sepolia.rpc.batch"] == "true"
    assert shown["chains.sepolia.preset.start_block"] == "-"


@pytest.mark.parametrize(
    "found, replacement, says",
    [
        ("preset =", "preste =", ["unknown key 'chains.sepolia.preste'", "'preset'"]),
        (
            'preset = "sepolia"',
            'preset = "sepola"',
            ["keeper.toml", "'chains.sepolia.preset': unknown preset 'sepola'", "'sepolia'"],
        ),
        ('preset = "sepolia"', "", ["chains.sepolia", "needs addresses_provider or preset"]),
        ("[chains.sepolia]", "[chain.sepolia]", ["unknown key 'chain'", "'chains'"]),
        (
            "[chains.sepolia]",
            f'alerts = ["json://127.0.0.1", "nothing/{CANARY}"]\n[chains.sepolia]',
            ["keeper.toml: alerts: alert URL 2", "none that apprise understands"],
        ),
        ("[chains.sepolia]", 'mode = "alive"\n[chains.sepolia]', ["'mode'", "'dry' or 'live'"]),
        ("[chains.sepolia]", "[chains.sepolia", ["not valid TOML", "line 2"]),
        ("[chains.sepolia]", "health_prot = 1\n[chains.sepolia]", ["unknown key 'health_prot'", "'health_port'"]),
        ("https://node", "node", ["keeper.toml", "'chains.sepolia.rpc_url.0': an RPC URL is not of the form"]),
        ("preset =", 'ws_url = "http://node/c4n4ry-k3y"\npreset =', ["'chains.sepolia.ws_url.0': an RPC URL is not"]),
        ("preset =", "reorg_depth = 0\npreset =", ["chains.sepolia.reorg_depth", "greater than or equal to 1"]),
        ("node.example.org", "node.example.org:0", ["'chains.sepolia.rpc_url.0': an RPC URL is not of the form"]),
        ('preset = "sepolia"', 'preset = "sepolia"\nchain_id = 5', ["chains.sepolia.chain_id is 5", "11155111"]),
        ('preset = "sepolia"', 'addresses_provider = "0x12"', ["addresses_provider", "not an address", "'0x12'"]),
        ('preset = "sepolia"', 'preset = "sepolia"\n[chains.sepolia.policy]\ntarget = "0.9"', ["policy.target", "1"]),
        ('preset = "sepolia"', 'preset = "sepolia"\n[chains.sepolia.fees]\nmax_fee_gwei = -1', ["max_fee_gwei"]),
        ('preset = "sepolia"', 'preset = "sepolia"\n[chains.sepolia.signer]\nkey = "a"', ["unknown key", "signer.key"]),
        (
            'preset = "sepolia"',
            'preset = "sepolia"\n[chains.sepolia.rpc]\nagreement = 2',
            [
                "keeper.toml: chains.sepolia: rpc.agreement = 2 needs as many rpc_url of different hosts, there is 1",
                "add an endpoint",
            ],
        ),
        (
            'preset = "sepolia"',
            'preset = "sepolia"\n[chains.sepolia.rpc.deadlines_s]\nhaed = 1',
            ["unknown key", "head"],
        ),
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


# -- the environment -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name, says",
    [
        ("KEEPER_MODDE", "KEEPER_MODDE is no setting, did you mean KEEPER_MODE?"),
        ("KEEPER_CHAIN__SEPOLIA__RPC_URL", "did you mean KEEPER_CHAINS__SEPOLIA__RPC_URL?"),
        ("KEEPER_CHAINS__SEPOLIA__RPC_ULR", "did you mean KEEPER_CHAINS__SEPOLIA__RPC_URL?"),
        ("KEEPER_CHAINS__SEPOLIA__POLICY__TARGETT", "did you mean KEEPER_CHAINS__SEPOLIA__POLICY__TARGET?"),
        ("KEEPER_STORE__PATH", "KEEPER_STORE is one value"),
        ("KEEPER_CHAINS__SEPOLIA__FEES__ZZZ", "known are KEEPER_CHAINS__SEPOLIA__FEES__MAX_FEE_GWEI, "),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_nearest(
    name: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, CANARY)
    code, out, err = checked(tmp_path, GOOD, capsys)
    assert (code, out) == (2, "")
    assert err.startswith("keeper: environment: ") and says in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "name, text",
    [
        ("KEEPER_MODE", "dry"),
        ("keeper_mode", "dry"),
        ("KEEPER_CHAINS__SEPOLIA__POLICY__MOST_CALLS", "2"),
        ("KEEPER_CHAINS__SEPOLIA__POLICY__TARGET_BY_EMODE__1", "1.01"),
        ("KEEPER_CHAINS__SEPOLIA__FEES", '{"max_fee_gwei": 3}'),
        ("KEEPER_CONFIG", "elsewhere.toml"),
        ("KEEPER_CACHE_DIR", "somewhere"),
    ],
)
def test_variables_that_mean_something_pass(
    name: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, text)
    assert checked(tmp_path, GOOD, capsys)[0] == 0


def test_a_wrong_value_is_put_down_to_the_variable_that_gave_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEEPER_CHAINS__SEPOLIA__RPC_URL", f"node/{CANARY}")
    code, _, err = checked(tmp_path, GOOD, capsys)
    assert code == 2
    assert err.startswith("keeper: KEEPER_CHAINS__SEPOLIA__RPC_URL: 'chains.sepolia.rpc_url.0': an RPC URL is not")


# -- live mode -----------------------------------------------------------------------------------------------------
def with_signer(tmp_path: Path, *, keystore: str = "keystore.json", password: str | None = None) -> str:
    text = f'{GOOD}[chains.sepolia.signer]\nkeystore = "{tmp_path / keystore}"\n'
    return text + (f'password_file = "{tmp_path / password}"\n' if password is not None else "")


def private(path: Path, text: str, mode: int = 0o600) -> None:
    path.write_text(text)
    path.chmod(mode)


LOCKED = '{"version": 3, "crypto": {}}'


def test_the_files_of_a_signer_are_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    private(tmp_path / "keystore.json", LOCKED)
    private(tmp_path / "password", CANARY)
    code, out, err = checked(tmp_path, with_signer(tmp_path, password="password"), capsys)
    assert (code, err) == (0, "")
    assert "in order" in out


@pytest.mark.parametrize(
    "content, mode, password_mode, says",
    [
        (None, 0, None, "keystore.json does not exist"),
        (LOCKED, 0o644, None, "keystore.json is open to others (mode 0644): chmod 600"),
        ("{}", 0o600, None, "keystore.json is no V3 keystore file"),
        (LOCKED, 0o600, 0o640, "password is open to others (mode 0640): chmod 600"),
    ],
)
def test_what_is_wrong_with_them_is_one_line(
    content: str | None,
    mode: int,
    password_mode: int | None,
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if content is not None:
        private(tmp_path / "keystore.json", content, mode)
    if password_mode is not None:
        private(tmp_path / "password", CANARY, password_mode)
    text = with_signer(tmp_path, password=None if password_mode is None else "password")
    code, out, err = checked(tmp_path, text, capsys)
    assert (code, out) == (2, "")
    assert "keeper.toml: chains.sepolia.signer: " in err and says in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "table, says",
    [
        ("", "needs exactly one of keystore, remote_url, aws_kms_key_id; it has none"),
        (f'remote_url = "http://signer/{CANARY}"\naws_kms_key_id = "{CANARY}"', "it has remote_url and aws_kms_key_id"),
        (f'remote_url = "http://signer/{CANARY}"', "remote_url needs address beside it"),
        (f'remote_url = "signer/{CANARY}"\naddress = "0x{"ab" * 20}"', "not of the form http(s)"),
        (f'aws_kms_key_id = "{CANARY}"\npassword_file = "password"', "password_file opens a keystore"),
        ('keystore = "keystore.json"\naws_region = "eu-central-1"', "belong to aws_kms_key_id"),
        ('keystore = "keystore.json"\naddress = "0x12"', "address"),
    ],
)
def test_a_signer_has_exactly_one_key(
    table: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = checked(tmp_path, f"{GOOD}[chains.sepolia.signer]\n{table}\n", capsys)
    assert (code, out) == (2, "")
    assert "chains.sepolia.signer" in err and says in err
    assert err.count("\n") == 1
    assert CANARY not in err


@pytest.mark.parametrize(
    "table",
    [
        f'remote_url = "https://signer/{CANARY}"\naddress = "0x{"ab" * 20}"',
        f'aws_kms_key_id = "alias/keeper"\naws_endpoint_url = "https://kms/{CANARY}"',
    ],
)
def test_a_key_that_is_elsewhere_is_in_order_and_its_url_not_shown(
    table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = checked(tmp_path, f"{GOOD}[chains.sepolia.signer]\n{table}\n", capsys)
    assert (code, err) == (0, "")
    assert "in order" in out
    assert CANARY not in out


def test_a_keystore_for_another_address_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    private(tmp_path / "keystore.json", LOCKED.replace("{", f'{{"address": "{"cd" * 20}", ', 1))
    configured = f'address = "0x{"ab" * 20}"\n'
    code, out, err = checked(tmp_path, with_signer(tmp_path) + configured, capsys)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"is for 0x{'cd' * 20}, but address says 0x{'ab' * 20}" in err.lower()
    assert checked(tmp_path, with_signer(tmp_path) + configured.replace("ab", "cd"), capsys)[0] == 0


@pytest.mark.parametrize(
    "more, says",
    [
        ("", None),
        ("for_blocks = 2", None),
        (
            "for_blocks = 3",
            "relays.for_blocks is 3, but orders are planned for inclusion_blocks = 2 and may be offered for 2",
        ),
        ('fallback = "public"', None),
        ('fallback = "public"\nfor_blocks = 2', "relays.for_blocks is 2"),
        ('method = "telegram"', "relays.method"),
        ('password_file = "nowhere"', "nowhere does not exist"),
    ],
)
def test_orders_are_offered_to_relays_no_longer_than_their_plans_hold(
    more: str, says: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    private(tmp_path / "reputation.json", LOCKED)
    text = f'{GOOD}[chains.sepolia.relays]\nurls = "https://relay/{CANARY}"\nkeystore = "{tmp_path}/reputation.json"\n'
    code, out, err = checked(tmp_path, text + more, capsys)
    assert code == (0 if says is None else 2)
    assert (says or "") in err
    assert CANARY not in out + err


def test_the_key_that_relays_know_is_not_the_signers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    private(tmp_path / "keystore.json", LOCKED)
    relays = f'[chains.sepolia.relays]\nurls = "https://relay"\nkeystore = "{tmp_path}/keystore.json"\n'
    code, out, err = checked(tmp_path, with_signer(tmp_path) + relays, capsys)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "chains.sepolia.relays: keystore" in err and "is the signer's own" in err


def test_what_real_money_means_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    private(tmp_path / "keystore.json", LOCKED)
    mainnet = with_signer(tmp_path).replace('preset = "sepolia"', 'preset = "base"\nlive_chain_id = 8453')
    code, out, err = checked(tmp_path, f'mode = "live"\n{mainnet}', capsys)
    assert code == 0 and "to be looked at" in out
    assert "chains.sepolia: live_chain_id = 8453: `keeper run --live` spends real money on chain 8453" in err
    assert "up to 5 native coins of gas, up to 25,000 lost in base currency, up to 50,000,000 of debt repaid" in err
    unbound = f'{mainnet}[chains.sepolia.rails.loss]\nper_day = "off"\n'
    assert "without bound lost in base currency" in checked(tmp_path, f'mode = "live"\n{unbound}', capsys)[2]
    assert checked(tmp_path, f'mode = "dry"\n{mainnet}', capsys)[2] == "", "nothing is spent"


def test_the_chain_named_for_real_money_is_the_presets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    private(tmp_path / "keystore.json", LOCKED)
    for mode in ("live", "dry"):
        wrong = with_signer(tmp_path).replace('preset = "sepolia"', 'preset = "base"\nlive_chain_id = 1')
        code, out, err = checked(tmp_path, f'mode = "{mode}"\n{wrong}', capsys)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "chains.sepolia.live_chain_id is 1, but its preset says chain 8453" in err


def test_live_on_a_mainnet_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    private(tmp_path / "keystore.json", LOCKED)
    text = 'mode = "live"\n' + with_signer(tmp_path).replace('preset = "sepolia"', 'preset = "base"')
    code, out, err = checked(tmp_path, text, capsys)
    assert code == 0
    assert "to be looked at" in out
    assert "keeper: warning: " in err
    assert "chains.sepolia: mode is live, but chain 8453 is none of the testnets of config/chains" in err
    assert err.count("\n") == 1
    assert "unless live_chain_id = 8453 says that it is meant" in err
    assert checked(tmp_path, 'mode = "live"\n' + with_signer(tmp_path), capsys)[2] == "", "a testnet is not"
    assert "no signer table" in checked(tmp_path, 'mode = "live"\n' + GOOD, capsys)[2]
