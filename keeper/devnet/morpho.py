"""Morpho Blue beside a devnet's market: what it holds it lends for one transaction, free."""

from __future__ import annotations

from dataclasses import dataclass

from keeper.core.units import Address
from keeper.devnet.artifacts import Artifact
from keeper.devnet.cache import Say, quiet
from keeper.devnet.compile import morpho_artifacts
from keeper.devnet.market import ADMIN, Bed


@dataclass(frozen=True)
class Morpho:
    """Where it is, and its interface."""

    contract: Artifact
    address: Address


async def deploy_morpho(bed: Bed, say: Say = quiet) -> Morpho:
    """Morpho Blue without any market or money. Raises ConfigError, DevnetError."""
    contract = morpho_artifacts(say)["Morpho"]
    return Morpho(contract, await bed.chain.deploy(ADMIN, contract, [ADMIN]))


async def fill_morpho(bed: Bed, morpho: Morpho, symbol: str, amount_raw: int) -> None:
    """Give it tokens to lend."""
    await bed.chain.transact(bed.call_tx(ADMIN, bed.asset(symbol).token, "Token", "mint", morpho.address, amount_raw))
