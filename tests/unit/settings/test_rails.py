"""The tables of rails: their defaults are those of docs and example, `off` takes one away, nonsense is one line."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from keeper.app.railing import limits_of
from keeper.core.errors import ConfigError
from keeper.core.rails import Limit
from keeper.core.units import WAD
from keeper.settings import Settings, load_settings
from keeper.settings.rails import Rails, SharedRails

EXAMPLE = Path(__file__).parents[3] / "config" / "keeper.example.toml"


def loaded(tmp_path: Path, top: str = "", chain: str = "") -> Settings:
    path = tmp_path / "keeper.toml"
    path.write_text(f'{top}\n[chains.a]\nrpc_url = "http://node.example"\npreset = "sepolia"\n{chain}\n')
    return load_settings(path)


def test_rails_are_on_by_default(tmp_path: Path) -> None:
    settings = loaded(tmp_path)
    signer, together = limits_of(settings.chains["a"].rails), limits_of(settings.rails)
    for limits in (signer, together):
        for limit in (limits.gas_wei, limits.notional_wad, limits.loss_wad):
            assert limit.per_transaction is not None
            assert limit.per_hour is not None
            assert limit.per_day is not None
            assert 0 < limit.per_transaction <= limit.per_hour <= limit.per_day
        assert limits.reverts_in_a_row is not None
        assert limits.revert_rate_bps == 5_000
    assert signer.gas_wei == Limit(WAD // 4, 2 * WAD, 5 * WAD)


def test_the_example_names_the_defaults() -> None:
    """Its commented tables, read as if they were not commented."""
    text = EXAMPLE.read_text()
    for table, kind in (("[rails]", SharedRails), ("[chains.sepolia.rails]", Rails)):
        lines = text[text.index(f"#{table}") :].split("\n\n", 1)[0].splitlines()
        shown = tomllib.loads("\n".join(line[1:] for line in lines if not line.startswith("# ")))
        found = shown["rails"] if table == "[rails]" else shown["chains"]["sepolia"]["rails"]
        assert set(found) == set(kind.model_fields)
        assert kind.model_validate({**found, **({"kill_file": None} if kind is SharedRails else {})}) == kind()


def test_a_part_of_a_table_leaves_the_rest_as_it_is(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        '[rails]\nkill_file = "stop"\n',
        '[chains.a.rails]\ngas = { per_hour = "off" }\nreverts_in_a_row = "off"',
    )
    limits = limits_of(settings.chains["a"].rails)
    assert limits.gas_wei == Limit(WAD // 4, None, 5 * WAD)
    assert limits.reverts_in_a_row is None
    assert settings.rails.kill_file == Path("stop")


@pytest.mark.parametrize(
    "table, named",
    [
        ('gas = { per_hour = "-1" }', "rails.gas.per_hour"),
        ("loss = { per_day = 0 }", "rails.loss.per_day"),
        ('gas = { per_hour = "a lot" }', "rails.gas.per_hour"),
        ("gas = { per_week = 1 }", "per_week"),
        ("reverts_in_a_row = 0", "rails.reverts_in_a_row"),
        ("revert_rate_percent = 101", "rails.revert_rate_percent"),
        ('least_native = "-1"', "rails.least_native"),
    ],
)
def test_what_makes_no_sense_is_named_in_one_line(tmp_path: Path, table: str, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, chain=f"[chains.a.rails]\n{table}")
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
