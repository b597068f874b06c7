"""How things stand in every market that the store knows, and whether it is normal that nothing happens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from keeper.cli.chapters import Line, is_silent, judged_ago, last_watch
from keeper.cli.details import detail_text
from keeper.cli.labels import Labels
from keeper.cli.render import checksum, health_text, plain_text, time_text
from keeper.cli.unreached import troubles_of, unreached
from keeper.cli.words import NORMAL_TO_LAST, reason_sentence
from keeper.core.errors import KeeperError
from keeper.core.events import Kind
from keeper.core.pauses import StandingPause, words
from keeper.core.standing import ORDERED
from keeper.store import EventFilter, StandingRow, StoreReader, Watch

BORROWERS_PER_REASON = 5
_COUNTED = (Kind.SEEN, Kind.DECIDED, Kind.SENT, Kind.RESTORED, Kind.NOT_RESTORED, Kind.REVERTED, Kind.RECOVERED)


def overview(reader: StoreReader, labels: Labels, now: datetime) -> list[Line]:
    """Raises `KeeperError` when no market was ever judged or refused."""
    watches, standing = reader.watches(), reader.standing(only_open=True)
    refused = _refused_markets(reader)
    places = list(dict.fromkeys([*((watch.chain, watch.market) for watch in watches), *refused]))
    troubles = troubles_of(reader)
    if not places:
        why = unreached(troubles, None, "") or "the keeper has not caught up since it was made"
        raise KeeperError(f"the store has no judged market yet: {why}")
    lines = [_paused(each) for each in reader.standing_pauses()]
    for chain, market in places:
        lines.append(Line(f"{chain}, market {checksum(market)}", style="bold"))
        watch = last_watch(watches, chain, market)
        if (chain, market) in refused:
            lines.append(Line(f"The market is refused: {plain_text(refused[chain, market])}", 2, "bold red"))
        if watch is None:
            continue
        here = [row for row in standing if (row.chain, row.market) == (chain, market)]
        lines.extend(_watched(watches, watch, now))
        trouble = unreached(troubles, chain, watch.last_at)
        if trouble is not None:
            lines.append(Line(trouble, 2, "bold red"))
        lines.extend(_below_one(here, labels))
        lines.append(_last_day(reader, watch, now))
        is_refused = (chain, market) in refused
        lines.append(_is_that_normal(watch, here, now, refused=is_refused, node_in_trouble=trouble is not None))
    return lines


def _paused(standing: StandingPause) -> Line:
    scope = standing.pause.scope
    whom = "" if scope.chain_id is None else f" on chain {scope.chain_id}"
    whom += "" if scope.signer is None else f" from {checksum(scope.signer)}"
    since = time_text(standing.since)
    return Line(
        f"Paused since {since} UTC: nothing is sent{whom}: {plain_text(words(standing.pause))}.", style="bold red"
    )


def _refused_markets(reader: StoreReader) -> dict[tuple[str, str], str]:
    """Markets whose last verification failed, or that were found to differ from the chain since, with the reason."""
    refused: dict[tuple[str, str], str] = {}
    for row in reader.events(EventFilter(kinds=(Kind.MARKET_VERIFIED, Kind.MARKET_REFUSED, Kind.MISMATCH))):
        if row.market is None:
            continue
        if row.kind == Kind.MARKET_REFUSED:
            refused[row.chain, row.market] = str(row.fields["detail"])
        elif row.kind == Kind.MISMATCH:
            refused[row.chain, row.market] = (
                f"its {row.fields['what']} differs from the chain at block {row.block_number}"
            )
        else:
            refused.pop((row.chain, row.market), None)
    return refused


def _watched(watches: Sequence[Watch], watch: Watch, now: datetime) -> Iterator[Line]:
    heads = "1 head" if watch.heads == 1 else f"{watch.heads:,} heads"
    first = f"block {watch.first_block} ({time_text(watch.first_at)})"
    last = f"block {watch.last_block} ({time_text(watch.last_at)} UTC, {judged_ago(watch, now)})"
    yield Line(f"Judged {heads} without a gap, from {first} to {last}.", 2)
    earlier = [other for other in watches if (other.chain, other.market) == (watch.chain, watch.market)][:-1]
    if earlier:
        before = earlier[-1]
        yield Line(f"Before that, up to block {before.last_block} ({time_text(before.last_at)}); not in between.", 2)


def _below_one(standing: Sequence[StandingRow], labels: Labels) -> Iterator[Line]:
    count = len(standing)
    if not count:
        yield Line("No borrower is below 1.", 2)
        return
    yield Line("1 borrower is below 1:" if count == 1 else f"{count} borrowers are below 1:", 2)
    for reason in dict.fromkeys(row.reason for row in standing):
        rows = [row for row in standing if row.reason == reason]
        yield Line(f"{len(rows)} × {reason}: {reason_sentence(reason)}", 4)
        for row in rows[:BORROWERS_PER_REASON]:
            detail = f", {detail_text(row.detail, row.market, labels)}" if row.detail else ""
            health = health_text(row.last_health_wad)
            yield Line(f"{checksum(row.borrower)} health {health}, since block {row.first_block}{detail}", 6)
        if len(rows) > BORROWERS_PER_REASON:
            yield Line(f"… and {len(rows) - BORROWERS_PER_REASON} more", 6)


def _last_day(reader: StoreReader, watch: Watch, now: datetime) -> Line:
    since = (now - timedelta(days=1)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    counts = reader.counts(watch.chain, watch.market, since)
    told = [f"{counts[kind]} {kind.replace('_', ' ')}" for kind in _COUNTED if counts.get(kind)]
    return Line(f"In the last 24 hours: {', '.join(told) if told else 'nothing'}.", 2)


def _is_that_normal(
    watch: Watch, standing: Sequence[StandingRow], now: datetime, *, refused: bool, node_in_trouble: bool
) -> Line:
    to_look_at = sorted({row.reason for row in standing} - NORMAL_TO_LAST - {ORDERED})
    if refused:
        return Line("Not normal: nothing is done in this market until it is verified.", 2, "bold red")
    if is_silent(watch, now):
        return Line("Not normal, if the keeper should be running: nobody has judged since then.", 2, "bold red")
    if node_in_trouble:
        return Line("Worth a look: the node. Without its heads nobody is judged.", 2, "yellow")
    if to_look_at:
        return Line(f"Worth a look: {', '.join(to_look_at)}.", 2, "yellow")
    if any(row.reason == ORDERED for row in standing):
        return Line("Normal: an order stands for each; a dry run or a fork sends none of them.", 2, "green")
    if standing:
        return Line("Normal: each of them has a reason that may last, and is judged again at every head.", 2, "green")
    return Line("Normal: there is nothing to do.", 2, "green")
