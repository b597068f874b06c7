"""Reasons' particulars: every wording of the pipeline with amounts, symbols and percents in place of raw units."""

from __future__ import annotations

import pytest

from keeper.cli.details import detail_text
from keeper.cli.labels import Labels
from keeper.cli.render import checksum
from keeper.core.outcome import Skip
from keeper.core.standing import Funds
from keeper.core.units import Address, to_hex
from keeper.pipeline.budget import shortage
from tests.unit.store.facts import USDC

MARKET = "0x" + "a0" * 20
UNKNOWN = Address(b"\x12" * 20)
LABELS = Labels({to_hex(USDC): ("USDC", 6)}, {MARKET: 8})


def shown(detail: str, market: str | None = MARKET) -> str:
    return detail_text(detail, market, LABELS)


@pytest.mark.parametrize(
    "funds, says",
    [
        (Funds(5, None), "needs 12.5 USDC, has 0.000005 USDC"),
        (Funds(20_000_000, None), "10 USDC of 20 USDC are promised"),
        (Funds(None, 5_000_000), "needs an allowance of 12.5 USDC, has 5 USDC"),
    ],
)
def test_what_is_short_of_is_said_in_tokens(funds: Funds, says: str) -> None:
    refused = shortage(USDC, 12_500_000, funds, 10_000_000 if funds.balance_raw == 20_000_000 else 0, 0)
    assert isinstance(refused, Skip)
    assert shown(refused.detail) == says


def test_an_unknown_asset_keeps_its_raw_units_and_its_whole_address() -> None:
    refused = shortage(UNKNOWN, 12_500_000, Funds(5, None), 0, 0)
    assert isinstance(refused, Skip)
    assert shown(refused.detail) == f"needs 12,500,000 raw {checksum(UNKNOWN)}, has 5 raw {checksum(UNKNOWN)}"


@pytest.mark.parametrize(
    "detail, says",
    [
        (
            "gas may cost 12000000000000000 wei, 10 are left",
            "gas may cost 0.012 native coins, 0.00000000000000001 native coins are left",
        ),
        (
            "received 1050000000 - repaid 1000000001 - gas 90000000 = -40000001 base, the least is 0",
            "received 10.50 - repaid 10.00 - gas 0.90 = -0.41, the least is 0.00",
        ),
        ("repays 123456789 base", "repays 1.23"),
        (
            "the venue gives 97000000 base for what is worth 103000000 base by the oracle: more than 500 bps apart",
            "the venue gives 0.97 for what is worth 1.03 by the oracle: more than 500 bps apart",
        ),
        (
            f"gas 2500000 raw of {to_hex(USDC)}: -5713083000000 base, the least is -100000000",
            "gas 2.5 USDC: -57,130.83, the least is -1.00",
        ),
        ("it asks 31000000000 wei per gas, the cap is 500000000", "it asks 31 gwei per gas, the cap is 0.5 gwei"),
        ("health is at or below threshold × bonus = 86730000 e-8", "health is at or below threshold × bonus = 86.73 %"),
        (f"balance of {to_hex(USDC)} is not known", "balance of USDC is not known"),
        (f"balance of {to_hex(UNKNOWN)} is not known", f"balance of {checksum(UNKNOWN)} is not known"),
        (
            f"of 3000000 raw of {to_hex(USDC)} that are paid out, 2000000 arrive",
            "of 3 USDC that are paid out, 2 USDC arrive",
        ),
        ("collateral 100 base is worth less than debt 250000000 base", "collateral 0.00 is worth less than debt 2.50"),
        (f"transaction 0x{'ab' * 32} is mined", f"transaction 0x{'ab' * 32} is mined"),
        ("no price for WBTC", "no price for WBTC"),
        ("odd \x1b[31m bytes", "odd �[31m bytes"),
    ],
)
def test_units_become_readable(detail: str, says: str) -> None:
    assert shown(detail) == says


def test_without_a_known_base_currency_units_are_named() -> None:
    assert shown("repays 123456789 base", None) == "repays 123,456,789 base units"
