"""What somebody who runs a live keeper would bring along: an account with money, and a configuration file."""

from __future__ import annotations

from pathlib import Path

from keeper.core.units import to_hex
from keeper.devnet.market import Bed
from keeper.devnet.purse import fill_purse
from keeper.devnet.throwaway import Throwaway, write_throwaway

BLOCK_S = 1
WINDOW_BLOCKS = 10
"""How long a plan must hold. A block a second is faster than any chain that it is for: ten of them are less than one
block time of Ethereum."""
POLL_S = 0.2
"""How often the keeper asks for a new head: the node is our own."""


async def prepared_keeper(bed: Bed, folder: Path, store: Path | None) -> Path:
    """A funded throwaway account and the configuration file of a live keeper that uses it."""
    account = write_throwaway(folder)
    await fill_purse(bed, account.address)
    config = folder / "keeper.toml"
    config.write_text(_configuration(bed, account, store or folder / "keeper.db"))
    return config


def _configuration(bed: Bed, account: Throwaway, store: Path) -> str:
    return f"""mode = "live"
store = {_toml_text(store.resolve())}
health_port = 0
log_level = "error"
log_format = "console"
rails = {_UNLIMITED}

[chains.devnet]
rails = {_UNLIMITED}
rpc_url = "{bed.url}"
addresses_provider = "{to_hex(bed.deployment.addresses_provider)}"
chain_id = {bed.deployment.chain_id}
block_time_s = {BLOCK_S}
inclusion_blocks = {WINDOW_BLOCKS}

[chains.devnet.rpc]
poll_s = {POLL_S}

[chains.devnet.signer]
keystore = {_toml_text(account.keystore)}
password_file = {_toml_text(account.password_file)}
"""


_OFF = '{ per_transaction = "off", per_hour = "off", per_day = "off" }'
_UNLIMITED = f"{{ notional = {_OFF}, loss = {_OFF} }}"
"""The demo's borrowers owe millions, and its prices fall by a tenth from block to block: no market for limits of every day."""


def _toml_text(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
