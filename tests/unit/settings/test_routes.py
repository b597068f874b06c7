"""The tables of routes and objective: what they become, and one clear line per mistake."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from keeper.app.venues import asked_of, objective_of, pools_of, ways_of
from keeper.core.errors import ConfigError
from keeper.core.selling.objective import MaxProfit, Restore, Solvency
from keeper.core.swap import Selling
from keeper.core.units import Address
from keeper.settings import Chain, load_settings
from keeper.settings.routes import Objective

FACTORY = "0x1F98431c8aD98523631AE4a59f267346ea31F984"
ROUTER = "0x6131B5fae19EA4f9D964eAc0408E4408b66337b5"
EXECUTOR, NATIVE = (Address(bytes([number]) * 20) for number in (0xE1, 0xE2))


def chain(folder: Path, table: str) -> Chain:
    text = f'[chains.a]\nrpc_url = "http://node.example"\npreset = "sepolia"\n{table}'
    path = folder / "keeper.toml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path).chains["a"]


def test_what_sells_is_tried_before_what_keeps(tmp_path: Path) -> None:
    table = (
        f'[chains.a.routes]\nvenues = ["pools", "kyber", "hold"]\nv3_factories = "{FACTORY}"\n'
        f'v2_factories = [{{ address = "{FACTORY}", fee_bps = 25 }}]\nkyber = {{ routers = "{ROUTER}" }}'
    )
    routes = chain(tmp_path, table).routes
    assert routes is not None
    assert [venue.name for venue in asked_of(routes, "a", 1, EXECUTOR)] == ["kyber"]
    assert ways_of(routes) == (Selling.ALL, Selling.HOLD)
    with pytest.raises(ConfigError, match=r"chains\.a\.routes\.kyber: .* needs chains\.a\.executor"):
        asked_of(routes, "a", 1, None)
    with pytest.raises(ConfigError, match="chain 31337 is none that we know"):
        asked_of(routes, "a", 31_337, EXECUTOR)
    kept = chain(tmp_path, '[chains.a.routes]\nvenues = ["hold_a_token", "hold"]').routes
    assert kept is not None and ways_of(kept) == (Selling.HOLD_A_TOKEN, Selling.HOLD)
    assert pools_of(kept, NATIVE).pools.pools == ()


@pytest.mark.parametrize(
    "table, said",
    [
        ("[chains.a.routes]", 'the venue "pools" needs v3_factories or v2_factories'),
        ('[chains.a.routes]\nvenues = "kyber"', 'the venue "kyber" needs the table kyber'),
        ('[chains.a.routes]\nvenues = ["hold", "hold"]', "venues names one twice"),
        (f'[chains.a.routes]\nvenues = ["hold", "pools"]\nv3_factories = "{FACTORY}"', "after what sells it"),
        ('[chains.a.routes]\nvenues = "sushi"', "routes.venues"),
        ('[chains.a.routes]\nvenues = "hold"\nleast_slippage_bps = 200', "least_slippage_bps = 200 is more than"),
        ('[chains.a.routes]\nvenues = "hold"\nv3_factory = "x"', "v3_factories"),
        ('[chains.a.objective]\nkind = "solvency"', "most_loss_per_day goes with"),
        ('[chains.a.objective]\nmost_loss_per_day = "5"', "most_loss_per_day goes with"),
        ('[chains.a.objective]\nkind = "max_profit"', 'objective "max_profit" needs an executor and the table routes'),
        ("[rails]\nnotional = 5", "'rails.notional' must be a table"),
    ],
)
def test_a_mistake_is_told_in_one_line(tmp_path: Path, table: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        chain(tmp_path, table)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_an_objective_has_what_is_left_of_the_day() -> None:
    unit = 10**8
    solvency = Objective(kind="solvency", most_loss_per_day=Decimal(100))
    assert objective_of(solvency, Decimal(0), unit, 30 * unit) == Solvency(70 * unit)
    assert objective_of(solvency, Decimal(0), unit, 300 * unit) == Solvency(0)
    assert objective_of(Objective(), Decimal("1.5"), unit, 0) == Restore(150_000_000)
    assert objective_of(Objective(kind="max_profit"), Decimal(0), unit, 0) == MaxProfit(1)
