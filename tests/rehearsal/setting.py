"""The keeper's account, its preset and its configuration, as an operator would write them for a testnet."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from keeper.core.units import UINT256_MAX, Address, to_hex
from keeper.devnet.bulk import send_all, wide_blocks
from keeper.devnet.market import Bed
from keeper.devnet.openings import amount_of
from keeper.devnet.spec import USD
from keeper.devnet.throwaway import write_throwaway
from tests.rehearsal.terms import CALLS_PER_S, CHAIN_ID, WINDOW_S, Terms

_INVENTORY_FACTOR = 20
_LEAST_INVENTORY_BASE = 10_000_000 * USD


@dataclass(frozen=True)
class Setting:
    """Where everything is."""

    config: Path
    store: Path
    log: Path
    keeper: Address


async def prepared(bed: Bed, terms: Terms, folder: Path, rpc_url: str, health_port: int) -> Setting:
    """A funded account with plenty of every token, and the files."""
    account = write_throwaway(folder)
    await bed.chain.fund([account.address])
    owed_raw: Counter[str] = Counter()
    for opening in bed.openings:
        owed_raw.update({leg.symbol: leg.amount_raw for leg in opening.debt})
    txs = []
    for symbol in bed.deployment.symbols:
        asset = bed.asset(symbol)
        least_raw = amount_of(_LEAST_INVENTORY_BASE, asset.spec.price_base, asset.decimals)
        amount = (account.address, max(least_raw, _INVENTORY_FACTOR * owed_raw[symbol]))
        txs.append(bed.call_tx(account.address, asset.token, "Token", "mint", *amount))
        if terms.approved:
            allowance = (bed.deployment.pool, UINT256_MAX)
            txs.append(bed.call_tx(account.address, asset.token, "Token", "approve", *allowance))
    async with wide_blocks(bed.chain):
        await send_all(bed.chain, txs, "making the inventory")
    preset = folder / "rehearsal.toml"
    preset.write_text(_preset(bed, terms), encoding="utf-8")
    config, store = folder / "keeper.toml", folder / "keeper.db"
    config.write_text(
        f"""mode = "live"
store = "{store}"
health_port = {health_port}
log_format = "json"

[chains.sepolia]
rpc_url = "{rpc_url}"
preset = "{preset}"
inclusion_blocks = {max(1, WINDOW_S // terms.block_s)}

[chains.sepolia.rpc]
requests_per_second = {CALLS_PER_S}

[chains.sepolia.signer]
keystore = "{account.keystore}"
password_file = "{account.password_file}"
""",
        encoding="utf-8",
    )
    return Setting(config, store, folder / "keeper.log", account.address)


def _preset(bed: Bed, terms: Terms) -> str:
    """The shipped form, with this market's addresses."""
    there = bed.deployment
    return f"""name = "rehearsal"
chain_id = {CHAIN_ID}
testnet = true
block_time_s = {terms.block_s}
native_symbol = "ETH"
addresses_provider = "{to_hex(there.addresses_provider)}"
pool = "{to_hex(there.pool)}"
pool_configurator = "{to_hex(there.pool_configurator)}"
oracle = "{to_hex(there.oracle)}"
wrapped_native = "{to_hex(there.wrapped_native)}"
"""
