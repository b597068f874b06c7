"""The command's own start: by replay when the configuration says so, and the next one from the saved book."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from keeper.devnet.market import Bed
from tests.devnet.keeping import keeping


async def test_by_logs_then_from_the_saved_book_and_anew_when_that_is_wrong(bed36: Bed, tmp_path: Path) -> None:
    kept = await keeping(bed36, tmp_path)
    kept.chain["start"] = "logs"
    for damage in (None, None, "rows = x'00'"):
        if damage is not None:
            with closing(sqlite3.connect(kept.store)) as connection, connection:
                connection.execute(f"UPDATE saved_books SET {damage}")
        ended = await kept.run_once()
        assert ended.code == 0, ended.err
    height = await bed36.chain.block_number()
    replayed = f"logs, proven at block {height}"
    origins = [event.fields["origin"] for event in kept.events("caught_up")]
    assert origins == [replayed, f"saved at block {height}, proven at that block", replayed]
    (trouble,) = kept.events("trouble")
    assert "does not match its checksum" in trouble.fields["detail"]
    with closing(sqlite3.connect(kept.store)) as connection:
        assert connection.execute("SELECT stage, aside_at IS NULL FROM saved_books").fetchall() == [
            ("book", 0),
            ("book", 1),
        ]
