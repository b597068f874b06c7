"""How one store's assets and values are written for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from keeper.cli.render import base_text, checksum, plain_text, short_address, token_text

Fields = Mapping[str, Any]


@dataclass(slots=True)
class Labels:
    """How one store's assets and values are written, as far as `market_verified` events say."""

    assets: dict[str, tuple[str, int]] = field(default_factory=dict)
    base_decimals: dict[str, int] = field(default_factory=dict)

    @classmethod
    def learned(cls, verified: Iterable[tuple[str | None, Fields]]) -> Labels:
        """From (market, fields) of `market_verified` events; later ones win."""
        labels = cls()
        for market, fields in verified:
            if market is not None and fields.get("base_decimals") is not None:
                labels.base_decimals[market] = fields["base_decimals"]
            for asset in fields.get("assets", ()):
                labels.assets[asset["asset"]] = (asset["symbol"], asset["decimals"])
        return labels

    def token(self, amount_raw: str, asset: str) -> str:
        symbol, decimals = self.assets.get(asset, (checksum(asset), None))
        return token_text(int(amount_raw), decimals, symbol)

    def symbol(self, asset: str) -> str:
        label = self.assets.get(asset)
        return plain_text(label[0]) if label is not None else short_address(asset)

    def base(self, amount_base: str, market: str | None) -> str:
        return base_text(int(amount_base), self.base_decimals.get(market or ""))
