"""Generate config/chains/*.toml from the Aave address book.

Takes one exact version of the npm package, reads its module with node and writes one file per market, so that an
address is never typed by hand. Run it with `make presets` after raising VERSION; the diff is what changed on the chains.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from eth_utils.address import is_checksum_address

PACKAGE = "@aave-dao/aave-address-book"
VERSION = "4.68.1"
FOLDER = Path(__file__).resolve().parent.parent / "config" / "chains"

Snapshot = Mapping[str, Mapping[str, str | int]]
"""Per module of the book: CHAIN_ID, the contracts of `CONTRACTS`, and each reserve as `asset:SYMBOL`."""

CONTRACTS = {
    "POOL_ADDRESSES_PROVIDER": "addresses_provider",
    "POOL": "pool",
    "POOL_CONFIGURATOR": "pool_configurator",
    "ORACLE": "oracle",
    "AAVE_PROTOCOL_DATA_PROVIDER": "protocol_data_provider",
}


@dataclass(frozen=True, slots=True)
class Market:
    """What the book does not say about one market."""

    name: str
    module: str
    block_time_s: float
    native: str
    wrapped: str | None = None
    """Symbol of the reserve that is priced as the native coin; None when the market has no such reserve."""
    testnet: bool = False


# Block times are what each chain aims at, rounded up; where blocks come irregularly, the usual upper end. They pace the
# polling and the inclusion window until the keeper is told otherwise (`block_time_s` in the configuration).
MARKETS = (
    Market("arbitrum", "AaveV3Arbitrum", 0.25, "ETH", "WETH"),
    Market("avalanche", "AaveV3Avalanche", 2, "AVAX", "WAVAX"),
    Market("base", "AaveV3Base", 2, "ETH", "WETH"),
    Market("bnb", "AaveV3BNB", 0.75, "BNB", "WBNB"),
    Market("celo", "AaveV3Celo", 1, "CELO", "CELO"),
    Market("ethereum", "AaveV3Ethereum", 12, "ETH", "WETH"),
    Market("ethereum-etherfi", "AaveV3EthereumEtherFi", 12, "ETH"),
    Market("ethereum-horizon", "AaveV3EthereumHorizon", 12, "ETH"),
    Market("ethereum-lido", "AaveV3EthereumLido", 12, "ETH", "WETH"),
    Market("gnosis", "AaveV3Gnosis", 5, "xDAI", "WXDAI"),
    Market("ink", "AaveV3InkWhitelabel", 1, "ETH", "WETH"),
    Market("linea", "AaveV3Linea", 2, "ETH", "WETH"),
    Market("mantle", "AaveV3Mantle", 2, "MNT", "WMNT"),
    Market("megaeth", "AaveV3MegaEth", 1, "ETH", "WETH"),
    Market("metis", "AaveV3Metis", 4, "METIS", "Metis"),
    Market("monad", "AaveV3Monad", 0.5, "MON"),
    Market("optimism", "AaveV3Optimism", 2, "ETH", "WETH"),
    Market("plasma", "AaveV3Plasma", 1, "XPL", "WXPL"),
    Market("polygon", "AaveV3Polygon", 2, "POL", "WPOL"),
    Market("scroll", "AaveV3Scroll", 3, "ETH", "WETH"),
    Market("soneium", "AaveV3Soneium", 2, "ETH", "WETH"),
    Market("sonic", "AaveV3Sonic", 1, "S", "wS"),
    Market("xlayer", "AaveV3XLayer", 1, "OKB", "WOKB"),
    Market("zksync", "AaveV3ZkSync", 1, "ETH", "WETH"),
    Market("arbitrum-sepolia", "AaveV3ArbitrumSepolia", 0.25, "ETH", "WETH", testnet=True),
    Market("base-sepolia", "AaveV3BaseSepolia", 2, "ETH", "WETH", testnet=True),
    Market("base-sepolia-lido", "AaveV3BaseSepoliaLido", 2, "ETH", "WETH", testnet=True),
    Market("fuji", "AaveV3Fuji", 2, "AVAX", "WAVAX", testnet=True),
    Market("ink-sepolia", "AaveV3InkSepolia", 1, "ETH", testnet=True),
    Market("optimism-sepolia", "AaveV3OptimismSepolia", 2, "ETH", "WETH", testnet=True),
    Market("sepolia", "AaveV3Sepolia", 12, "ETH", "WETH", testnet=True),
)

# Spark runs the same contracts and is not in the book: these come from its own registry of deployed contracts.
SPARK = Market("spark", "SparkLend", 12, "ETH", "WETH")
SPARK_ORIGIN = "github sparkdotfi/spark-address-registry 2934ba2a, SparkLend"
SPARK_ADDRESSES: Mapping[str, str | int] = {
    "CHAIN_ID": 1,
    "POOL_ADDRESSES_PROVIDER": "0x02C3eA4e34C0cBd694D2adFa2c690EECbC1793eE",
    "POOL": "0xC13e21B648A5Ee794902342038FF3aDAB66BE987",
    "POOL_CONFIGURATOR": "0x542DBa469bdE58FAeE189ffB60C6b49CE60E0738",
    "ORACLE": "0x8105f69D9C41644c6A0803fDA7D03Aa70996cFD9",
    "AAVE_PROTOCOL_DATA_PROVIDER": "0xFc21d6d146E6086B8359705C8b28512a983db0cb",
    "asset:WETH": "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2",
}

READ_BOOK = """
const book = require(process.argv[1]);
const contracts = JSON.parse(process.argv[2]);
const snapshot = {};
for (const [name, market] of Object.entries(book)) {
  if (!name.startsWith("AaveV3") || !market.POOL_ADDRESSES_PROVIDER) continue;
  const entry = { CHAIN_ID: market.CHAIN_ID };
  for (const contract of contracts) if (market[contract]) entry[contract] = market[contract];
  for (const [symbol, asset] of Object.entries(market.ASSETS)) entry["asset:" + symbol] = asset.UNDERLYING;
  snapshot[name] = entry;
}
console.log(JSON.stringify(snapshot));
"""


def read_book(package: str = PACKAGE, version: str = VERSION) -> Snapshot:
    """Fetch the package and read what the presets need of it."""
    with tempfile.TemporaryDirectory() as folder:
        fetch = ["npm", "pack", "--ignore-scripts", "--silent", f"{package}@{version}"]
        subprocess.run(fetch, cwd=folder, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        archive = next(Path(folder).glob("*.tgz"))
        subprocess.run(["tar", "xzf", archive.name], cwd=folder, check=True)
        module = Path(folder) / "package" / "dist" / "AaveAddressBook.js"
        read = ["node", "-e", READ_BOOK, str(module), json.dumps(list(CONTRACTS))]
        answer = subprocess.run(read, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    snapshot: Snapshot = json.loads(answer.stdout)
    return snapshot


def render(market: Market, addresses: Mapping[str, str | int], origin: str) -> str:
    """The file of one market. Raises ValueError naming what the origin lacks."""
    lines = [
        "# Generated by scripts/make_presets.py; do not edit. The keeper finds the contracts by itself, from the addresses",
        "# provider: those listed after it are what it must find there, and it refuses the market when they differ.",
        f'name = "{market.name}"',
        f'origin = "{origin}"',
        f"chain_id = {addresses['CHAIN_ID']}",
        f"testnet = {'true' if market.testnet else 'false'}",
        f"block_time_s = {market.block_time_s}",
        f'native_symbol = "{market.native}"',
    ]
    found = {key: addresses[contract] for contract, key in CONTRACTS.items() if contract in addresses}
    if market.wrapped is not None:
        if f"asset:{market.wrapped}" not in addresses:
            raise ValueError(f"{market.module} has no reserve {market.wrapped}")
        found["wrapped_native"] = addresses[f"asset:{market.wrapped}"]
    for key in ("addresses_provider", "pool", "pool_configurator", "oracle"):
        if key not in found:
            raise ValueError(f"{market.module} has no {key}")
    for key, address in found.items():
        if not is_checksum_address(address):
            raise ValueError(f"{market.module}: {key} {address} fails its checksum")
        lines.append(f'{key} = "{address}"')
    return "\n".join(lines) + "\n"


def origin_of(market: Market, version: str = VERSION) -> str:
    """Where the addresses of a market come from, to the version."""
    return SPARK_ORIGIN if market == SPARK else f"npm {PACKAGE} {version}, {market.module}"


def render_all(snapshot: Snapshot, version: str = VERSION) -> dict[str, str]:
    """File name → text, for every market."""
    books = {**snapshot, SPARK.module: SPARK_ADDRESSES}
    return {
        f"{market.name}.toml": render(market, books[market.module], origin_of(market, version))
        for market in (*MARKETS, SPARK)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", default=VERSION, help="version of the address book (default: %(default)s)")
    version = parser.parse_args().version
    print(f"reading npm {PACKAGE} {version} …")
    snapshot = read_book(version=version)
    texts = render_all(snapshot, version)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for stale in set(FOLDER.glob("*.toml")) - {FOLDER / name for name in texts}:
        stale.unlink()
    for name, text in texts.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    unused = sorted(set(snapshot) - {market.module for market in MARKETS})
    print(f"{len(texts)} presets in {FOLDER.name}/; in the book but not used: {', '.join(unused) or 'none'}")


if __name__ == "__main__":
    main()
