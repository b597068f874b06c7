"""The tables of the store, and what makes the journal append-only.

Addresses and hashes are lower-case hex text, so that a person with a plain SQLite shell can read them; amounts are
decimal text, because SQLite would turn a long integer into a float.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA_VERSION = 6

metadata = MetaData()

schema = Table(
    "keeper_schema",
    metadata,
    Column("version", Integer, nullable=False),
    Column("created_at", Text, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("recorded_at", Text, nullable=False),
    Column("chain", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("block_number", BigInteger),
    Column("market", Text),
    Column("borrower", Text),
    Column("attempt", Text),
    Column("severity", Text, nullable=False),
    Column("fields", Text, nullable=False),
    sqlite_autoincrement=True,
)
Index("events_by_kind", events.c.kind)
Index("events_by_borrower", events.c.borrower, sqlite_where=events.c.borrower.is_not(None))
Index("events_by_attempt", events.c.attempt, sqlite_where=events.c.attempt.is_not(None))
Index("events_by_block", events.c.block_number, sqlite_where=events.c.block_number.is_not(None))

APPEND_ONLY = tuple(
    f"CREATE TRIGGER events_refuse_{verb.lower()} BEFORE {verb} ON events"
    " BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END"
    for verb in ("UPDATE", "DELETE")
)
"""Triggers that refuse to change what was recorded."""

watches = Table(
    "watches",
    metadata,
    # One unbroken stretch of judged heads of one market.
    Column("id", Integer, primary_key=True),
    Column("chain", Text, nullable=False),
    Column("market", Text, nullable=False),
    Column("first_block", BigInteger, nullable=False),
    Column("last_block", BigInteger, nullable=False),
    Column("first_at", Text, nullable=False),
    Column("last_at", Text, nullable=False),
    Column("heads", Integer, nullable=False),
    Column("below_one", Integer, nullable=False),
)
Index("watches_by_market", watches.c.chain, watches.c.market)

standing = Table(
    "standing",
    metadata,
    # Why a borrower below 1 stood where it stood: one row per change. `ended` is null while it still stands so, and
    # then it stands so up to the last block of its watch.
    Column("id", Integer, primary_key=True),
    Column("watch_id", ForeignKey(watches.c.id), nullable=False),
    Column("chain", Text, nullable=False),
    Column("market", Text, nullable=False),
    Column("borrower", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("verdict", Text),
    Column("detail", Text, nullable=False),
    Column("attempt", Text),
    Column("first_block", BigInteger, nullable=False),
    Column("last_block", BigInteger, nullable=False),
    Column("first_health_wad", Text),
    Column("last_health_wad", Text),
    Column("ended", Text),
    Column("ended_block", BigInteger),
)
Index("standing_by_borrower", standing.c.borrower)
Index("standing_open", standing.c.chain, standing.c.market, sqlite_where=standing.c.ended.is_(None))

saved_books = Table(
    "saved_books",
    metadata,
    # Checkpoints of a market. Of each stage the newest is kept, and one far enough behind it to outlast a reorg.
    Column("id", Integer, primary_key=True),
    Column("chain", Text, nullable=False),
    Column("market", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("saved_at", Text, nullable=False),
    Column("chain_id", BigInteger, nullable=False),
    Column("protocol", Text, nullable=False),
    Column("rules", Text, nullable=False),
    Column("format", Integer, nullable=False),
    Column("block_number", BigInteger, nullable=False),
    Column("block_hash", Text, nullable=False),
    Column("parent_hash", Text, nullable=False),
    Column("timestamp_s", BigInteger, nullable=False),
    Column("base_fee_wei", Text),
    Column("gas_limit", BigInteger, nullable=False),
    Column("facts", Text, nullable=False),
    Column("borrowers", LargeBinary, nullable=False),
    Column("rows", LargeBinary, nullable=False),
    Column("checksum", Text, nullable=False),
    # A checkpoint that was refused stays, with when and why; it is never used again.
    Column("aside_at", Text),
    Column("cause", Text),
)
Index("saved_books_in_use", saved_books.c.chain, saved_books.c.market, sqlite_where=saved_books.c.aside_at.is_(None))

intents = Table(
    "intents",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("recorded_at", Text, nullable=False),
    Column("updated_at", Text, nullable=False),
    Column("chain_id", BigInteger, nullable=False),
    Column("signer", Text, nullable=False),
    Column("nonce", BigInteger, nullable=False),
    Column("transaction_hash", Text, nullable=False),
    Column("raw_transaction", LargeBinary, nullable=False),
    Column("attempt", Text, nullable=False),
    Column("borrower", Text),
    Column("call_index", Integer, nullable=False),
    Column("submitted_block", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("block_number", BigInteger),
    Column("purpose", Text, nullable=False, server_default="liquidation"),
    # The most that the transaction can cost; null where an older keeper wrote it.
    Column("worst_gas_wei", Text),
    Column("worst_notional_wad", Text),
    Column("worst_loss_wad", Text),
    # Of one that several attempts have in common: all of them, as JSON; null for one that is nobody else's.
    Column("shares", Text),
    UniqueConstraint("transaction_hash"),
)
Index("intents_by_signer", intents.c.chain_id, intents.c.signer, intents.c.status)
Index("intents_by_attempt", intents.c.attempt)
Index("intents_shared", intents.c.id, sqlite_where=intents.c.shares.is_not(None))

ledger = Table(
    "ledger",
    metadata,
    # One row per mined transaction of ours. A reorg takes a row back; mined again, the transaction gets another one.
    Column("id", Integer, primary_key=True),
    Column("recorded_at", Text, nullable=False),
    Column("taken_back_at", Text),
    Column("chain_id", BigInteger, nullable=False),
    Column("signer", Text, nullable=False),
    Column("transaction_hash", Text, nullable=False),
    Column("nonce", BigInteger, nullable=False),
    Column("attempt", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("borrower", Text),
    Column("call_index", Integer, nullable=False),
    Column("block_number", BigInteger, nullable=False),
    Column("block_hash", Text, nullable=False),
    Column("timestamp_s", BigInteger, nullable=False),
    Column("succeeded", Integer, nullable=False),
    Column("gas_used", BigInteger, nullable=False),
    Column("gas_price_wei", Text, nullable=False),
    Column("l1_fee_wei", Text, nullable=False),
    Column("cost_wei", Text, nullable=False),
    # What a liquidation was worth at its block's prices; null until that was read.
    Column("received_base", Text),
    Column("repaid_base", Text),
    Column("native_price_base", Text),
    Column("base_unit", Text),
    # Null in rows from before orders borrowed and sold: then there was neither.
    Column("premium_base", Text),
    Column("slippage_base", Text),
    # Of one that reverted: whether by its own reason somebody was first; null until the reason was read.
    Column("lost_race", Integer),
)
Index("ledger_in_force", ledger.c.transaction_hash, unique=True, sqlite_where=ledger.c.taken_back_at.is_(None))
Index("ledger_by_time", ledger.c.timestamp_s)
Index("ledger_by_attempt", ledger.c.attempt)

ledger_movements = Table(
    "ledger_movements",
    metadata,
    # How the balances of our account changed with one row of the ledger, by its logs.
    Column("ledger_id", ForeignKey(ledger.c.id), primary_key=True),
    Column("token", Text, primary_key=True),
    Column("change_raw", Text, nullable=False),
)

pauses = Table(
    "pauses",
    metadata,
    # While one stands (`lifted_at` is null) nothing is sent by whom it covers. A null chain or signer covers all of them.
    Column("id", Integer, primary_key=True),
    Column("chain_id", BigInteger),
    Column("signer", Text),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("since_at", Text, nullable=False),
    Column("since_block", BigInteger),
    Column("lifted_at", Text),
    Column("lifted_by", Text),
    # The last row of the ledger by then: what reverted before it is not held against whoever goes on.
    Column("lifted_ledger_id", Integer),
    sqlite_autoincrement=True,
)
Index("pauses_standing", pauses.c.id, sqlite_where=pauses.c.lifted_at.is_(None))

PAUSES_KEPT = (
    "CREATE TRIGGER pauses_refuse_delete BEFORE DELETE ON pauses BEGIN SELECT RAISE(ABORT, 'pauses are kept'); END",
    "CREATE TRIGGER pauses_refuse_update BEFORE UPDATE ON pauses WHEN OLD.lifted_at IS NOT NULL"
    " OR NEW.reason IS NOT OLD.reason OR NEW.detail IS NOT OLD.detail OR NEW.since_at IS NOT OLD.since_at"
    " OR NEW.chain_id IS NOT OLD.chain_id OR NEW.signer IS NOT OLD.signer"
    " BEGIN SELECT RAISE(ABORT, 'a pause is only ever lifted'); END",
)
"""Triggers: a pause is lifted once, and stays on record."""
