"""The keys that name the operator's own contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from keeper.core.errors import ConfigError
from keeper.settings import load_settings
from keeper.settings.effective import effective_rows

EXECUTOR, OWNER = "0x" + "12" * 20, "0x" + "34" * 20


def written(folder: Path, *lines: str) -> Path:
    path = folder / "keeper.toml"
    head = ["[chains.devnet]", 'rpc_url = "http://127.0.0.1:1"', f'addresses_provider = "{OWNER}"']
    path.write_text("\n".join([*head, *lines]) + "\n")
    return path


def test_an_executor_and_its_owner_are_in_effect(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, f'executor = "{EXECUTOR}"', f'executor_owner = "{OWNER}"'))
    rows = {key: (value, origin) for key, value, origin in effective_rows(settings)}
    assert rows["chains.devnet.executor"] == (EXECUTOR, "set")
    assert rows["chains.devnet.executor_owner"] == (OWNER, "set")


@pytest.mark.parametrize(
    "lines, words",
    [
        (['executor = "0x12"'], ["chains.devnet.executor", "not an address"]),
        ([f'executor_owner = "{OWNER}"'], ["executor_owner", "there is no executor"]),
    ],
)
def test_what_is_no_executor_is_refused_in_one_line(tmp_path: Path, lines: list[str], words: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        load_settings(written(tmp_path, *lines))
    assert all(word in str(refused.value) for word in words), str(refused.value)
    assert "\n" not in str(refused.value)
