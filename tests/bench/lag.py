"""How long the loop is held up by what is done with a book of a million borrowers besides the screen.

What the audit does of its own is done on the loop: its longest pieces, in CPU time, before and after which others have their
turn. Packing for the store, loading and cutting to those who borrowed come once in hours, in a thread: how late a ticker of one
millisecond is meanwhile, which on a busy machine is mostly the machine's own share.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from keeper.book.book import Book
from keeper.book.snapshot import load_packed, pack_book
from tests.bench.measure import record, say
from tests.bench.screen import LAG_MOST_S, beside_ticker
from tests.bench.synthetic_market import add_only, synthetic

BENCH = "lag"
BORROWERS = 1_000_000


def main() -> None:
    say(f"{BORROWERS:,} borrowers …")
    book = synthetic(BORROWERS).book
    steps = book.adding_up()
    adding_up = [_piece_s(lambda: next(steps)) for _ in book._table.pages]
    for what, longest_s in (
        ("a step of the audit: all balances added up, the longest piece", max(adding_up)),
        ("a round of the audit begun: the accounts", _piece_s(book.packed_accounts)),
        ("500 rows at random, as a start compares them", _piece_s(lambda: book.sample(500, 1))),
    ):
        record(
            BENCH,
            f"{BORROWERS:,}: {what}",
            f"{longest_s * 1e3:.1f} ms on the loop",
            "≤ 20 ms",
            met=longest_s <= LAG_MOST_S,
        )
    asyncio.run(beside_threads(book))


async def beside_threads(book: Book) -> None:
    """What is done in a thread, and how late the ticker is beside it."""
    idle_s = await beside_ticker(asyncio.sleep(2))
    record(BENCH, "the idle machine", f"the ticker late by {max(idle_s) * 1e3:.0f} ms at most")
    packed, again, everybody = pack_book(book), Book(add_only), set(book.accounts())
    works: dict[str, Callable[[], object]] = {
        "packed": lambda: pack_book(book),
        "loaded": lambda: load_packed(again, packed, 0),
        "cut to those who borrowed": lambda: again.keep_only(everybody, 0),
    }
    for what, work in works.items():
        begun_s = time.perf_counter()
        late_s = await beside_ticker(_in_thread(work))
        took_s = time.perf_counter() - begun_s
        late = f"the ticker late by {max(late_s) * 1e3:.0f} ms at most"
        record(BENCH, f"{BORROWERS:,}: {what}, in a thread", f"{took_s:.2f} s; {late}")


async def _in_thread(work: Callable[[], object]) -> None:
    await asyncio.to_thread(work)


def _piece_s(work: Callable[[], object]) -> float:
    begun_s = time.thread_time()
    work()
    return time.thread_time() - begun_s
