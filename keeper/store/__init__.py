"""One SQLite file: the append-only journal, the standings, the book's checkpoints, the signers' intents."""

from keeper.store.reader import EventFilter, JournalRow, StandingRow, StoreReader, Watch
from keeper.store.store import Store

__all__ = ["EventFilter", "JournalRow", "StandingRow", "Store", "StoreReader", "Watch"]
