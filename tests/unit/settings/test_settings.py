"""Configuration: defaults, environment, and one clear line per mistake."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from keeper.app.terms import price_policies
from keeper.core.errors import ConfigError
from keeper.core.price_policy import Action, PricePolicy, SequencerPolicy
from keeper.core.units import address_from_hex
from keeper.settings import load_settings, settings_from_arguments
from keeper.settings.presets import load_preset, preset_names

CANARY = "s3cr3t-canary"
PROVIDER = "0x012bAC54348C0E635dCAc9D5FB99f06F24136C9A"
CHAIN = f'[chains.a]\nrpc_url = "http://node.example/{CANARY}"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "keeper.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_node_and_a_market_are_enough(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, CHAIN + f'addresses_provider = "{PROVIDER}"'))
    assert settings.mode == "dry"
    assert settings.chains["a"].addresses_provider == [PROVIDER]
    assert CANARY not in repr(settings)


def test_decimals_are_exact(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, CHAIN + 'preset = "sepolia"\n[chains.a.policy]\ntarget = 1.05'))
    assert settings.chains["a"].policy.target == Decimal("1.05")


def test_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPER_STORE", "other.db")
    monkeypatch.setenv("KEEPER_CHAINS__A__INCLUSION_BLOCKS", "5")
    settings = load_settings(written(tmp_path, CHAIN + 'preset = "sepolia"'))
    assert settings.store == Path("other.db")
    assert settings.chains["a"].inclusion_blocks == 5


def test_plain_text_in_the_environment_serves_where_a_list_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEEPER_CHAINS__A__RPC_URL", f"http://other.example/{CANARY}")
    monkeypatch.setenv("KEEPER_ALERTS", "json://127.0.0.1:9/alerts")
    settings = load_settings(written(tmp_path, '[chains.a]\npreset = "sepolia"'))
    assert [url.get_secret_value() for url in settings.chains["a"].rpc_url] == [f"http://other.example/{CANARY}"]
    assert len(settings.alerts) == 1
    monkeypatch.setenv("KEEPER_CHAINS__A__RPC_URL", '["http://one.example", "http://two.example"]')
    assert len(load_settings(written(tmp_path, '[chains.a]\npreset = "sepolia"')).chains["a"].rpc_url) == 2


def test_arguments_alone_do_not_look_at_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPER_CHAINS__A__RPC_URL", "http://other.example")
    monkeypatch.setenv("KEEPER_MODE", "live")
    settings = settings_from_arguments("http://127.0.0.1:8545", PROVIDER)
    assert list(settings.chains) == ["chain"]
    assert settings.mode == "dry"


def test_a_variable_that_makes_no_sense_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPER_CHAINS", f"[not json {CANARY}")
    with pytest.raises(ConfigError) as caught:
        load_settings(written(tmp_path, CHAIN + 'preset = "sepolia"'))
    assert "chains" in str(caught.value)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "text, expected",
    [
        ('mode = "lve"\n' + CHAIN + 'preset = "sepolia"', "'mode': Input should be 'dry' or 'live'"),
        (CHAIN + 'prest = "sepolia"', "unknown key 'chains.a.prest', did you mean 'preset'?"),
        (CHAIN + 'preset = "sepolia"\n[chains.a.polcy]', "unknown key 'chains.a.polcy', did you mean 'policy'?"),
        (
            CHAIN + 'preset = "sepolia"\n[chains.a.policy]\ntraget = 1',
            "unknown key 'chains.a.policy.traget', did you mean 'target'?",
        ),
        (CHAIN + 'preset = "sepolia"\n[chains.a.policy]\ntarget = 0.9', "'chains.a.policy.target': Input should be"),
        (CHAIN + 'addresses_provider = "0x12"', "not an address"),
        (CHAIN, "needs addresses_provider or preset"),
        ("", "missing key 'chains'"),
        ("x = = 3", "not valid TOML"),
    ],
)
def test_a_mistake_is_one_clear_line(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(written(tmp_path, text))
    message = str(caught.value)
    assert expected in message
    assert "keeper.toml" in message
    assert "\n" not in message
    assert CANARY not in message
    assert caught.value.__cause__ is None


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such configuration file"):
        load_settings(tmp_path / "nothing.toml")


def test_every_shipped_preset_loads() -> None:
    presets = [load_preset(name) for name in preset_names()]
    assert len(presets) > 20
    assert {preset.chain_id for preset in presets if preset.testnet} >= {11155111, 84532, 421614, 11155420, 43113}


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'sepolia'"):
        load_preset("sepola")


def test_one_market_from_arguments() -> None:
    settings = settings_from_arguments("http://127.0.0.1:8545", PROVIDER)
    assert settings.chains["chain"].addresses_provider == [PROVIDER]
    with pytest.raises(ConfigError, match="not an address"):
        settings_from_arguments("http://127.0.0.1:8545", "0x12")


def test_limits_of_prices_have_moved_and_the_message_says_where(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(written(tmp_path, CHAIN + 'preset = "sepolia"\n[chains.a.policy]\nmax_price_age_s = 60'))
    message = str(caught.value)
    assert "chains.a.policy" in message and "max_age_s" in message and "prices" in message
    assert "\n" not in message


def test_an_asset_may_have_limits_of_its_own(tmp_path: Path) -> None:
    asset = "0x00000000000000000000000000000000000000b0"
    table = f"[chains.a.prices]\nmax_age_s = 600\n[chains.a.prices.by_asset.{asset}]\naction = 'refuse'\nmax_jump_percent = 2.5"
    chain = load_settings(written(tmp_path, CHAIN + f'preset = "sepolia"\n{table}')).chains["a"]
    policies = price_policies(chain.prices)
    assert policies.default == PricePolicy(Action.WARN, 600, 2_000)
    assert policies.of(address_from_hex(asset)) == PricePolicy(Action.REFUSE, 600, 250)
    assert policies.sequencer is None
    with_feed = chain.prices.model_copy(update={"sequencer_feed": asset})
    assert price_policies(with_feed).sequencer == SequencerPolicy(address_from_hex(asset), 3_600)
