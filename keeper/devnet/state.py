"""A ready devnet in about a second: built once a day, then loaded from the cache folder."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from keeper.core.units import Address
from keeper.devnet import aave_v36, aave_v302, admin
from keeper.devnet.anvil import AnvilOptions, install_anvil, running_anvil
from keeper.devnet.cache import Say, build_once_async, cache_root, quiet
from keeper.devnet.chain import DevChain
from keeper.devnet.compile import Artifacts
from keeper.devnet.errors import DevnetError
from keeper.devnet.market import Bed, Deployment, DevAsset
from keeper.devnet.openings import Leg, Opening
from keeper.devnet.packages import package_key
from keeper.devnet.positions import open_positions
from keeper.devnet.spec import Version
from keeper.devnet.specials import Crash
from keeper.devnet.stopping import in_thread

DEVNET_CHAIN_ID = 31_337
_DAY_S = 86_400
_KEPT_DAYS = 2
_STATE, _BED = "state.json", "bed.json"
_VERSIONS = {"3.6": aave_v36, "3.0.2": aave_v302}


@dataclass(frozen=True)
class Recipe:
    """What a devnet holds: the market's version, how many random borrowers from which seed, and the special
    borrowers for a crash (`specials_for(crash)`) if there is to be one."""

    version: Version = "3.6"
    positions: int = 0
    seed: int = 1
    chain_id: int = DEVNET_CHAIN_ID
    crash: tuple[tuple[str, int], ...] = ()


def specials_for(crash: Crash) -> tuple[tuple[str, int], ...]:
    """A crash in the form that a recipe keeps."""
    return tuple(sorted(crash.items()))


@asynccontextmanager
async def started_bed(recipe: Recipe, options: AnvilOptions | None = None, say: Say = quiet) -> AsyncIterator[Bed]:
    """A running anvil with the recipe's market and borrowers, at the present time; gone afterwards.

    Each transaction is mined at once unless `options.block_time_s` is set. The first call installs, compiles and
    deploys; later ones load the cached state, which is renewed once a day so that little interest accrues in it.
    Blocks before the start keep their logs and receipts, but not their state. Raises ConfigError, DevnetError.
    """
    binary = await in_thread(install_anvil, say)
    contracts = await in_thread(_VERSIONS[recipe.version].contracts, say)
    entry = await _cached_state(recipe, contracts, binary, say)
    stored = json.loads((entry / _BED).read_text())
    options = replace(options or AnvilOptions(), chain_id=recipe.chain_id, load_state=entry / _STATE)
    async with running_anvil(binary, replace(options, block_time_s=None)) as anvil:
        chain = DevChain(anvil.url)
        try:
            bed = _bed_from_json(stored, chain, contracts)
            await chain.rpc.request("anvil_autoImpersonateAccount", [True])
            await admin.repeat_answers(bed)
            if options.block_time_s is not None:
                await chain.rpc.request("evm_setIntervalMining", [options.block_time_s])
            yield bed
        finally:
            await chain.close()


async def _cached_state(recipe: Recipe, contracts: Artifacts, binary: Path, say: Say) -> Path:
    today = int(time.time()) // _DAY_S
    folder = cache_root() / "states" / _key(recipe)

    async def build(draft: Path) -> None:
        say(f"deploying Aave {recipe.version} and opening {recipe.positions} borrowers")
        await _build(recipe, contracts, binary, draft)

    entry = await build_once_async(folder / str(today), build, say)
    _forget_old(folder.parent, today)
    return entry


def _key(recipe: Recipe) -> str:
    """Changes with the recipe, the packages and every source of this room."""
    digest = hashlib.sha256(json.dumps(asdict(recipe), sort_keys=True).encode())
    for name in ("anvil", "solc", "aave_v36", "aave_v302"):
        digest.update(package_key(name).encode())
    here = Path(__file__).parent
    for path in sorted([*here.glob("*.py"), *here.glob("contracts/*.sol")]):
        digest.update(path.read_bytes())
    return f"aave-{recipe.version}-{recipe.positions}-{digest.hexdigest()[:16]}"


def _forget_old(states: Path, today: int) -> None:
    """Remove what was built days ago, by this or an older version of the code."""
    for entry in states.glob("*/*"):
        if entry.name.isdigit() and int(entry.name) < today - _KEPT_DAYS:
            shutil.rmtree(entry, ignore_errors=True)


async def _build(recipe: Recipe, contracts: Artifacts, binary: Path, draft: Path) -> None:
    async with running_anvil(binary, AnvilOptions(chain_id=recipe.chain_id)) as anvil:
        chain = DevChain(anvil.url)
        try:
            deployment = await _VERSIONS[recipe.version].deploy(chain, contracts, recipe.chain_id)
            bed = Bed(chain, deployment, contracts)
            openings = await open_positions(bed, recipe.positions, recipe.seed, dict(recipe.crash))
            await dump_state(chain, draft / _STATE)
            (draft / _BED).write_text(json.dumps(_bed_to_json(replace(bed, openings=tuple(openings)))))
        finally:
            await chain.close()


async def dump_state(chain: DevChain, path: Path) -> None:
    """Write the chain's state, blocks and receipts for `AnvilOptions.load_state`, without the call traces."""
    packed = await chain.rpc.request("anvil_dumpState")
    await asyncio.to_thread(_write_slimmed, packed, path)


def _write_slimmed(packed: str, path: Path) -> None:
    state = json.loads(gzip.decompress(bytes.fromhex(packed[2:])))
    for transaction in state["transactions"]:
        transaction["info"]["traces"] = []
    path.write_text(json.dumps(state, separators=(",", ":")))


def _bed_to_json(bed: Bed) -> dict[str, Any]:
    return {"deployment": _hexed(asdict(bed.deployment)), "openings": [_hexed(asdict(each)) for each in bed.openings]}


def _bed_from_json(stored: dict[str, Any], chain: DevChain, contracts: Artifacts) -> Bed:
    deployment = _unhexed(stored["deployment"])
    assets = {symbol: DevAsset(**fields) for symbol, fields in deployment.pop("assets").items()}
    openings = tuple(_opening(_unhexed(each)) for each in stored["openings"])
    return Bed(chain, Deployment(assets=assets, **deployment), contracts, openings)


def _opening(fields: dict[str, Any]) -> Opening:
    for side in ("collateral", "debt"):
        fields[side] = tuple(Leg(**leg) for leg in fields[side])
    return Opening(**fields)


def _hexed(node: Any) -> Any:
    """Bytes as `0x` text, all the way down."""
    if isinstance(node, bytes):
        return "0x" + node.hex()
    if isinstance(node, dict):
        return {key: _hexed(each) for key, each in node.items()}
    if isinstance(node, list | tuple):
        return [_hexed(each) for each in node]
    return node


def _unhexed(node: Any) -> Any:
    """The way back; every `0x` text in our files is an address."""
    if isinstance(node, str) and node.startswith("0x"):
        return Address(bytes.fromhex(node[2:]))
    if isinstance(node, dict):
        return {key: _unhexed(each) for key, each in node.items()}
    if isinstance(node, list):
        return [_unhexed(each) for each in node]
    return node


async def fresh_snapshot(bed: Bed) -> str:
    """Remember the chain's present state; the id is good for one `revert_to`."""
    snapshot: str = await bed.chain.rpc.request("evm_snapshot")
    return snapshot


async def revert_to(bed: Bed, snapshot: str) -> None:
    """Go back to a remembered state. Raises DevnetError if the id is spent."""
    bed.chain.was_reverted = True
    if not await bed.chain.rpc.request("evm_revert", [snapshot]):
        raise DevnetError("the snapshot is spent")
    # A transaction mined a moment ago may still lie in the pool, and would stand in the way of the next one of its nonce.
    await bed.chain.rpc.request("anvil_dropAllTransactions")
