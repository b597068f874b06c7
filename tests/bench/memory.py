"""Bytes a borrower at one million borrowers of 3.2 entries, address index and all that the screen keeps included.

By resident memory, in a process of its own: after the imports, then with the book loaded, then with the screen's verdicts and
the order by health as well. The book comes out of packed bytes, as a checkpoint does; the bytes are let go before measuring.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from keeper.book.book import Book
from keeper.book.snapshot import load_packed, pack_book
from tests.bench.measure import record, resident_bytes, say, seconds
from tests.bench.synthetic_market import ADAPTER, add_only, market, synthetic
from tests.unit.protocols.aave_v3.builders import NOW_S

BENCH = "memory"
BORROWERS = 1_000_000
MOST_BYTES = 400
AIM_BYTES = 300


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="keeper-bench-") as folder:
        saved = Path(folder) / "book"
        say(f"{BORROWERS:,} borrowers …")
        save(saved)
        record(BENCH, "packed", f"{saved.stat().st_size / BORROWERS:.0f} bytes a borrower")
        command = [sys.executable, "-c", f"from tests.bench import memory; memory.hold({str(saved)!r})"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    load_s, before, loaded, whole = json.loads(done.stdout)
    record(BENCH, f"read and loaded, {BORROWERS:,} borrowers", f"{load_s:.2f} s")
    record(BENCH, "resident, loaded", f"{loaded:.0f} bytes a borrower")
    record(
        BENCH,
        f"resident, screened and ordered ({before / 1e6:.0f} MB of interpreter and libraries not counted)",
        f"{whole:.0f} bytes a borrower",
        f"≤ {MOST_BYTES}, aim {AIM_BYTES}",
        met=whole <= MOST_BYTES,
    )


def save(saved: Path) -> None:
    made = synthetic(BORROWERS)
    pack_s = seconds(lambda: saved.write_bytes(pack_book(made.book)))
    record(BENCH, f"packed and written, {made.entries / BORROWERS:.2f} entries a borrower", f"{pack_s:.2f} s")


def hold(saved: str) -> None:
    """In a process of its own: prints seconds to load, bytes before, bytes a borrower loaded and after screening."""
    gc.collect()
    before = resident_bytes()
    book = Book(add_only)
    load_s = seconds(lambda: load_packed(book, Path(saved).read_bytes(), 0))
    gc.collect()
    loaded = (resident_bytes() - before) / len(book)
    terms = ADAPTER.screen_terms(market(1), book.columns, NOW_S)
    book.named(terms)
    while book.reorder(terms):
        pass
    book.named(terms)
    gc.collect()
    whole = (resident_bytes() - before) / len(book)
    say(json.dumps([load_s, before, loaded, whole]))
