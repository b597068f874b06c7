"""A keeper beside a bed: its folder, its configuration, its commands as real processes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from keeper.core.errors import StoreError
from keeper.core.events import Kind
from keeper.core.units import Address, to_hex
from keeper.devnet.market import Bed
from keeper.devnet.throwaway import Throwaway, write_throwaway
from keeper.settings import Settings, load_settings
from keeper.store import EventFilter, JournalRow, StoreReader
from tests.devnet.commands import PATIENCE_S, Ended, Running, happens, started

INVENTORY_WHOLE = 10**8
"""Whole tokens of every asset: more than all borrowers together owe."""


@dataclass
class Keeping:
    """A folder with a configuration for a market."""

    folder: Path
    rpc_url: str
    provider: Address
    chain_id: int = 31_337
    account: Throwaway | None = None
    others: Sequence[Throwaway] = ()
    """Accounts that sign beside the first."""
    signing: dict[str, Any] = field(default_factory=dict)
    """What the tables of all signers say besides their keys."""
    top: dict[str, Any] = field(default_factory=dict)
    """Top-level keys of the configuration, as TOML values."""
    chain: dict[str, Any] = field(default_factory=dict)
    """Keys of the chain's table."""
    unlimited: Sequence[str] = ("notional", "loss")
    """Rails that are off: a devnet's borrowers owe millions, and its prices fall by a tenth from block to block."""
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Tables under the chain's."""

    @property
    def config(self) -> Path:
        return self.folder / "keeper.toml"

    @property
    def store(self) -> Path:
        return self.folder / "keeper.db"

    def write(self, **top: Any) -> Path:
        """The configuration file as it is now."""
        chain = {
            "rpc_url": self.rpc_url,
            "addresses_provider": to_hex(self.provider),
            "block_time_s": 1,
            "inclusion_blocks": 10,
            **self.chain,
        }
        tables = {"rpc": {"poll_s": 0.05, "timeout_s": 2}, **self.tables}
        if self.account is not None and not self.others:
            tables = {"signer": self.signer_table(self.account), **tables}
        lines = _toml({"store": str(self.store), "health_port": 0, "log_format": "json", **self.top, **top})
        for scope in ("rails", "chains.devnet.rails"):
            for rail in self.unlimited:
                lines += [f"[{scope}.{rail}]", *_toml(dict.fromkeys(("per_transaction", "per_hour", "per_day"), "off"))]
        lines += ["[chains.devnet]", *_toml(chain)]
        for name, table in tables.items():
            lines += [f"[chains.devnet.{name}]", *_toml(table)]
        if self.others:
            for account in self.accounts:
                lines += ["[[chains.devnet.signers]]", *_toml(self.signer_table(account))]
        self.config.write_text("\n".join(lines) + "\n")
        return self.config

    @property
    def accounts(self) -> list[Throwaway]:
        """All that sign, in order."""
        return [] if self.account is None else [self.account, *self.others]

    def signer_table(self, account: Throwaway) -> dict[str, Any]:
        return {"keystore": str(account.keystore), "password_file": str(account.password_file), **self.signing}

    def settings(self, **top: Any) -> Settings:
        """The same, read."""
        return load_settings(self.write(**top))

    # -- commands --------------------------------------------------------------------------------------------------
    async def run(self, *arguments: str, fresh: bool = False, within_s: float = PATIENCE_S) -> Ended:
        """`keeper …` as a process, to its end."""
        async with started(arguments, self.folder, fresh=fresh) as running:
            return await running.ended(within_s)

    async def run_once(self, *flags: str, fresh: bool = False) -> Ended:
        """`keeper run --once …` with this configuration."""
        mode = "live" if "--live" in flags else "dry"
        return await self.run("run", "--once", *flags, "--config", str(self.write(mode=mode)), fresh=fresh)

    @asynccontextmanager
    async def daemon(self, *flags: str, fresh: bool = False, **top: Any) -> AsyncIterator[Running]:
        """`keeper run …` without --once."""
        mode = "live" if "--live" in flags else "dry"
        config = self.write(mode=mode, **top)
        async with started(["run", *flags, "--config", str(config)], self.folder, fresh=fresh) as running:
            yield running

    # -- what it recorded --------------------------------------------------------------------------------------------
    def events(self, *kinds: str) -> list[JournalRow]:
        """The journal, as another process reads it while the keeper runs."""
        if not self.store.exists():
            return []
        try:
            with StoreReader.open(self.store) as reader:
                return list(reader.events(EventFilter(kinds=tuple(map(Kind, kinds)))))
        except StoreError as error:
            if "only just begun" not in str(error):
                raise
            return []

    async def until(self, *kinds: str, count: int = 1, after_seq: int = 0, within_s: float = PATIENCE_S) -> JournalRow:
        """The newest of `count` events of these kinds, once they are recorded."""
        found: list[JournalRow] = []

        def recorded() -> bool:
            found[:] = [row for row in self.events(*kinds) if row.seq > after_seq]
            return len(found) >= count

        await happens(recorded, within_s, every_s=0.05)
        return found[-1]

    def is_writing(self, pid: int) -> bool:
        """Whether this process holds the store."""
        lock = self.store.with_name(self.store.name + ".lock")
        return lock.exists() and lock.read_text().strip() == str(pid)

    def intents(self) -> dict[str, str]:
        """By transaction hash, where each stands: everything that was ever signed."""
        with closing(sqlite3.connect(f"file:{self.store}?mode=ro", uri=True)) as connection:
            return dict(connection.execute("SELECT transaction_hash, status FROM intents").fetchall())

    def judged_block(self) -> int:
        """The newest block that was judged; 0 before the first."""
        with closing(sqlite3.connect(f"file:{self.store}?mode=ro", uri=True)) as connection:
            (block_number,) = connection.execute("SELECT max(last_block) FROM watches").fetchone()
        return block_number or 0

    def kinds(self) -> list[str]:
        return [row.kind for row in self.events()]


async def keeping(bed: Bed, folder: Path, url: str | None = None, *, funded: bool = False, signers: int = 1) -> Keeping:
    """A keeper for the bed's market; `url` puts something between the two; `funded`: with so many `signers` that can pay."""
    made = Keeping(folder, url or bed.url, bed.deployment.addresses_provider, bed.deployment.chain_id)
    if funded:
        made.account = write_throwaway(folder)
        made.others = [_another(folder / f"signer-{number}") for number in range(2, signers + 1)]
        for account in made.accounts:
            await fund(bed, account.address)
    return made


def _another(folder: Path) -> Throwaway:
    folder.mkdir()
    return write_throwaway(folder)


async def fund(bed: Bed, owner: Address) -> None:
    """Gas money, and plenty of every token."""
    await bed.chain.fund([owner])
    for asset in bed.deployment.assets.values():
        amount_raw = INVENTORY_WHOLE * 10**asset.decimals
        await bed.chain.transact(bed.call_tx(owner, asset.token, "Token", "mint", owner, amount_raw))


async def health_page(port: int) -> tuple[int, Mapping[str, Any]]:
    """Status and body of `/health`; (0, {}) while nobody listens."""
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/health") as answer:
            body: Mapping[str, Any] = await answer.json()
            return answer.status, body
    except aiohttp.ClientConnectionError:
        return 0, {}


def _toml(table: Mapping[str, Any]) -> list[str]:
    """TOML and JSON write these values alike."""
    return [f"{name} = {json.dumps(value)}" for name, value in table.items()]
