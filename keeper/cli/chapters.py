"""A borrower's or an attempt's story, in order, from what the store recorded. Pure: rows in, lines out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from keeper.cli.details import detail_text
from keeper.cli.labels import Labels
from keeper.cli.render import age_text, checksum, health_text, time_text
from keeper.cli.story import sentences
from keeper.cli.unreached import unreached
from keeper.cli.words import ENDINGS, INTENTS, reason_sentence, verdict_words
from keeper.core.events import Kind
from keeper.core.intent import Intent
from keeper.core.standing import ORDERED
from keeper.core.units import HEALTH_ONE_WAD, to_hex
from keeper.store import JournalRow, StandingRow, Watch

SILENT_AFTER_S = 300
"""Not judged for so long: somebody should look whether the keeper runs."""
FIRST_ENTRIES, LAST_ENTRIES = 5, 40
"""Of a long story the middle is left out."""
Placed = TypeVar("Placed", JournalRow, StandingRow)
_STYLES = {"warning": "yellow", "alert": "bold red"}


@dataclass(frozen=True, slots=True)
class Line:
    text: str
    indent: int = 0
    style: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """What the store has on a subject."""

    events: Sequence[JournalRow]
    standing: Sequence[StandingRow]
    watches: Sequence[Watch]
    intents: Sequence[Intent] = ()
    troubles: Sequence[JournalRow] = ()


@dataclass(frozen=True, slots=True)
class _Entry:
    block: int
    rank: int
    """Order within a block: seen, then why not, then what was done."""
    about: str
    """Entries in a row about the same thing share a heading."""
    when: str
    lines: Sequence[str]
    style: str = ""


def borrower_chapters(told: Told, labels: Labels, now: datetime) -> list[Line]:
    """One chapter for each market that the borrower was seen in."""
    lines: list[Line] = []
    for chain, market, borrower in _places(told):
        lines.append(Line(f"{checksum(borrower)} on {chain}, market {checksum(market)}", style="bold"))
        # A refusal is told by its standing, which knows how long it lasted.
        shown = [row for row in _at(told.events, chain, market) if row.kind != Kind.REFUSED]
        standing = _at(told.standing, chain, market)
        entries = [*_event_entries(shown, labels), *_standing_entries(standing, labels)]
        lines.extend(_told_in_order(entries))
        lines.extend(_now(told, (chain, market, borrower), labels, now))
    return lines


def attempt_chapters(told: Told, attempt: str, labels: Labels, now: datetime) -> list[Line]:
    lines: list[Line] = []
    for chain, market, borrower in _places(Told(told.events, (), ())):
        lines.append(
            Line(f"Attempt {attempt}: {checksum(borrower)} on {chain}, market {checksum(market)}", style="bold")
        )
        lines.extend(_told_in_order(list(_event_entries(_at(told.events, chain, market), labels))))
        for intent in told.intents:
            text = f"Transaction {to_hex(intent.transaction_hash)} (nonce {intent.nonce}): {INTENTS[intent.status]}."
            lines.append(Line(text, 2))
        lines.extend(_now(told, (chain, market, borrower), labels, now))
    return lines


def _places(told: Told) -> list[tuple[str, str, str]]:
    """(chain, market, borrower), in the order of appearance."""
    rows: list[JournalRow | StandingRow] = [*told.events, *told.standing]
    places = ((row.chain, row.market, row.borrower) for row in rows)
    return list(dict.fromkeys((chain, market, who) for chain, market, who in places if market and who))


def _at(rows: Sequence[Placed], chain: str, market: str) -> list[Placed]:
    return [row for row in rows if row.chain == chain and row.market == market]


def _event_entries(rows: Sequence[JournalRow], labels: Labels) -> Iterator[_Entry]:
    block = 0
    for row in rows:
        block = row.block_number if row.block_number is not None else block
        about = f"block {block}" + (f", attempt {row.attempt}" if row.attempt else "")
        rank = 0 if row.kind == Kind.SEEN else 2
        yield _Entry(
            block,
            rank,
            about,
            f" ({time_text(row.at)})",
            sentences(row.kind, row.fields, row.market, labels),
            _STYLES.get(row.severity, "green" if row.kind == Kind.RESTORED else ""),
        )


def _standing_entries(rows: Sequence[StandingRow], labels: Labels) -> Iterator[_Entry]:
    for row in rows:
        if row.reason == ORDERED:
            continue
        span = f"block {row.first_block}"
        if row.last_block != row.first_block:
            span = f"blocks {row.first_block} to {row.last_block}"
        ending = f"; {ENDINGS.get(row.ended, row.ended)}" if row.ended is not None else ", and still so"
        yield _Entry(row.first_block, 1, span, ending, _why_not(row, labels))


def _why_not(row: StandingRow, labels: Labels) -> list[str]:
    detail = f" ({detail_text(row.detail, row.market, labels)})" if row.detail else ""
    lines = [f"Not liquidated, {row.reason}{detail}: {reason_sentence(row.reason)}"]
    health = f"Health {health_text(row.first_health_wad)}"
    if row.last_health_wad != row.first_health_wad:
        health += f", at last {health_text(row.last_health_wad)}"
    if row.verdict is not None:
        health += f"; with the calls that are allowed {verdict_words(row.verdict)}"
    return [*lines, health + "."]


def _told_in_order(entries: Sequence[_Entry]) -> Iterator[Line]:
    # Sorting is stable: within a block events keep the order in which they were recorded.
    ordered = sorted(entries, key=lambda entry: (entry.block, entry.rank))
    left_out = len(ordered) - FIRST_ENTRIES - LAST_ENTRIES
    about = ""
    for number, entry in enumerate(ordered):
        if left_out > 0 and FIRST_ENTRIES <= number < FIRST_ENTRIES + left_out:
            if number == FIRST_ENTRIES:
                yield Line(f"… {left_out} entries left out: `keeper journal --borrower` has them all …", 2, "dim")
            continue
        if entry.about != about:
            yield Line(entry.about + entry.when, 2, "dim")
        about = entry.about
        for index, text in enumerate(entry.lines):
            yield Line(text, 4 if index == 0 else 6, entry.style if index == 0 else "")


def _now(told: Told, place: tuple[str, str, str], labels: Labels, now: datetime) -> Iterator[Line]:
    chain, market, borrower = place
    watch = last_watch(told.watches, chain, market)
    if watch is None:
        return
    standing = [row for row in _at(told.standing, chain, market) if row.borrower == borrower and row.ended is None]
    if standing:
        row = standing[-1]
        detail = f" ({detail_text(row.detail, row.market, labels)})" if row.detail else ""
        below = "a price is missing"
        if row.last_health_wad is not None:
            below = "below 1" if row.last_health_wad < HEALTH_ONE_WAD else "below 1 by the next block"
        state = (
            f"{below}, health {health_text(row.last_health_wad)}; {row.reason}{detail}: {reason_sentence(row.reason)}"
        )
    else:
        state = "not below 1."
    yield Line(f"Now (block {watch.last_block}, {judged_ago(watch, now)}): {state}", 2, "bold")
    trouble = unreached(told.troubles, chain, watch.last_at)
    if trouble is not None:
        yield Line(trouble, 2, "bold red")
    elif is_silent(watch, now):
        yield Line("Nobody has judged since then: is the keeper running?", 2, "bold red")


def last_watch(watches: Sequence[Watch], chain: str, market: str) -> Watch | None:
    found = [watch for watch in watches if watch.chain == chain and watch.market == market]
    return found[-1] if found else None


def judged_ago(watch: Watch, now: datetime) -> str:
    return f"judged {age_text(_silence_s(watch, now))} ago"


def is_silent(watch: Watch, now: datetime) -> bool:
    return _silence_s(watch, now) > SILENT_AFTER_S


def _silence_s(watch: Watch, now: datetime) -> float:
    return (now - datetime.fromisoformat(watch.last_at)).total_seconds()
