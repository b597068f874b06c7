"""A preset of the operator's own: a path that ends in `.toml`, in the form of the shipped ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from keeper.app.modes import is_testnet_preset
from keeper.assets import read_text
from keeper.core.errors import ConfigError
from keeper.settings.presets import Preset, chain_ids_of_testnets, load_preset, preset_names

SEPOLIA, MAINNET, UNHEARD_OF = 11155111, 1, 424_242


def own_file(folder: Path, *, chain_id: int = SEPOLIA, testnet: bool = True, without: str = "") -> Path:
    lines = read_text("config/chains/sepolia.toml").splitlines()
    changed = {"chain_id": f"chain_id = {chain_id}", "testnet": f"testnet = {str(testnet).lower()}"}
    kept = [changed.get(line.split(" ")[0], line) for line in lines if not without or not line.startswith(without)]
    path = folder / "mine.toml"
    path.write_text("\n".join(kept), encoding="utf-8")
    return path


def test_a_file_is_read_like_a_shipped_preset(tmp_path: Path) -> None:
    assert load_preset(str(own_file(tmp_path))) == load_preset("sepolia")


def test_what_is_wrong_with_a_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"preset .*nothing\.toml: cannot be read \(No such file"):
        load_preset(str(tmp_path / "nothing.toml"))
    with pytest.raises(ConfigError, match=r"preset .*mine\.toml: missing key 'oracle'"):
        load_preset(str(own_file(tmp_path, without="oracle")))
    path = own_file(tmp_path)
    path.write_text(path.read_text(encoding="utf-8").replace("pool = ", "pool = 7 #"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"preset .*mine\.toml: 'pool': Input should be a valid string"):
        load_preset(str(path))
    path.write_text("name = ", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"preset .*mine\.toml: not valid TOML"):
        load_preset(str(path))


def test_a_name_is_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own_file(tmp_path, chain_id=MAINNET)
    with pytest.raises(ConfigError, match="unknown preset 'mine'"):
        load_preset("mine")
    assert load_preset("mine.toml").chain_id == MAINNET


@pytest.mark.parametrize("name", preset_names())
def test_every_shipped_testnet_may_go_live_and_nothing_else(name: str) -> None:
    preset = load_preset(name)
    assert is_testnet_preset(preset, preset.chain_id) == preset.testnet
    assert not is_testnet_preset(preset, preset.chain_id + 1)


@pytest.mark.parametrize("chain_id", [MAINNET, 10, 8453, 42161, 137, 43114, UNHEARD_OF])
def test_a_file_cannot_make_a_testnet_of_a_chain_that_is_none(tmp_path: Path, chain_id: int) -> None:
    preset = load_preset(str(own_file(tmp_path, chain_id=chain_id)))
    assert preset.testnet
    assert not is_testnet_preset(preset, chain_id)
    assert not is_testnet_preset(preset, SEPOLIA)


def test_a_file_for_a_shipped_testnet_may_go_live_if_it_says_so(tmp_path: Path) -> None:
    assert is_testnet_preset(load_preset(str(own_file(tmp_path))), SEPOLIA)
    assert not is_testnet_preset(load_preset(str(own_file(tmp_path, testnet=False))), SEPOLIA)
    assert not is_testnet_preset(None, SEPOLIA)


def test_a_chain_with_real_money_is_no_testnet_even_if_one_preset_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = {name: load_preset(name) for name in ("sepolia", "ethereum")}
    liar = shipped["ethereum"].model_copy(update={"testnet": True})

    def load(name: str) -> Preset:
        return {**shipped, "liar": liar}[name]

    monkeypatch.setattr("keeper.settings.presets.preset_names", lambda: [*shipped, "liar"])
    monkeypatch.setattr("keeper.settings.presets.load_preset", load)
    assert chain_ids_of_testnets() == {SEPOLIA}
