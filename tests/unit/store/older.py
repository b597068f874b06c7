"""Stores as older keepers left them: a new one with what came later taken away."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

WITHOUT_SHARES = ("DROP INDEX intents_shared", "ALTER TABLE intents DROP COLUMN shares")


def as_version_2(path: Path) -> None:
    """Without pauses and ledger, and intents that do not say what they may cost."""
    statements = [
        "DROP TABLE ledger_movements",
        "DROP TABLE ledger",
        "DROP TABLE pauses",
        *WITHOUT_SHARES,
        *(
            f"ALTER TABLE intents DROP COLUMN {name}"
            for name in ("purpose", "worst_gas_wei", "worst_notional_wad", "worst_loss_wad")
        ),
        "DELETE FROM keeper_schema",
        "INSERT INTO keeper_schema VALUES (2, '2026-01-01T00:00:00.000Z')",
    ]
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
