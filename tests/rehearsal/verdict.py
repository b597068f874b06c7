"""What a rehearsal came to: figures, and everything that is not as it must be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from keeper.core.events import Kind
from keeper.core.intent import IntentStatus
from keeper.core.outcome import Verdict
from keeper.store import StoreReader
from keeper.store.reader import EventFilter, JournalRow
from tests.rehearsal.daemon import Daemon, Vital
from tests.rehearsal.episodes import Answers, Jury, Span, episodes_of
from tests.rehearsal.observer import Observer
from tests.rehearsal.readback import ReadBack, Reader
from tests.rehearsal.setting import Setting
from tests.rehearsal.terms import CALLS_PER_S, LOG_RANGE, Terms
from tests.rehearsal.weather import Traffic

_MOST_SPARE_FILES = 12
"""Between the fewest and the most open files once it is warm: connections come and go."""
_REREAD_BLOCKS = 64


@dataclass
class Run:
    """One life of the daemon."""

    daemon: Daemon
    traffic: Traffic
    start_block: int
    ready_s: float = 0.0
    requests_to_ready: int = 0
    up: Span = (0.0, 0.0)
    open_at_stop: int = 0
    stop_block: int = 0
    exit_code: int | None = None
    stop_s: float = 0.0
    limited: int = 0


@dataclass(frozen=True)
class Report:
    """Figures for people, problems for the test."""

    figures: Mapping[str, object]
    problems: Sequence[str]


@dataclass
class _Judge:
    terms: Terms
    runs: Sequence[Run]
    events: Sequence[JournalRow]
    answers: Answers
    read: Sequence[ReadBack]
    problems: list[str] = field(default_factory=list)

    def expect(self, fact: bool, otherwise: str) -> None:
        if not fact:
            self.problems.append(otherwise)

    def promises(self) -> None:
        for each in self.read:
            self.expect(
                each.health_wad == each.told_wad, f"{each.attempt}: chain {each.health_wad}, told {each.told_wad}"
            )
            self.expect(not each.model_error_wad, f"{each.attempt}: model error {each.model_error_wad}")
            self.expect(each.amounts_match is not False, f"{each.attempt}: amounts differ")
            short = each.verdict == Verdict.REACHES_TARGET and each.health_wad < each.target_wad
            missing_wad = each.target_wad - each.health_wad
            self.expect(not short or bool(each.excuses), f"{each.attempt}: misses its target by {missing_wad} wad")
            self.expect(not each.reverted or bool(each.excuses), f"{each.attempt}: reverted for no reason that shows")

    def lives(self) -> None:
        for number, run in enumerate(self.runs, 1):
            self.expect(run.exit_code == 0, f"life {number}: exit code {run.exit_code}")
            busiest = max(run.traffic.by_second.values())
            # Our seconds are not the proxy's: two neighbouring windows may share one.
            self.expect(busiest <= 2 * CALLS_PER_S, f"life {number}: {busiest} requests in a second")
            share = run.limited / sum(run.traffic.by_method.values())
            self.expect(share < self.terms.limited_share, f"life {number}: {run.limited} requests above the limit")
        first, second = self.runs
        lowest = second.traffic.lowest_range
        self.expect(
            lowest is None or lowest > first.stop_block - _REREAD_BLOCKS,
            f"the second life read logs from block {lowest}; the first ended at {first.stop_block}",
        )
        self.expect(
            second.traffic.log_ranges < 2 + (second.stop_block - first.stop_block) // LOG_RANGE + 20,
            f"the second life asked for {second.traffic.log_ranges} ranges of logs",
        )

    def vitals(self) -> None:
        for number, run in enumerate(self.runs, 1):
            warm = [each for each in run.daemon.vitals if each.at_s >= run.ready_s + self.terms.warm_up_s]
            if len(warm) < 10:
                continue
            slope = slope_per_minute([(each.at_s, each.rss_mb) for each in warm])
            self.expect(
                slope <= self.terms.memory_slope_mb_per_minute, f"life {number}: memory grows {slope:.2f} MB a minute"
            )
            files = [each.open_files for each in warm]
            self.expect(
                max(files) - min(files) <= _MOST_SPARE_FILES, f"life {number}: {min(files)} to {max(files)} open files"
            )
            threads = [each.threads for each in warm]
            self.expect(max(threads) <= 16, f"life {number}: {max(threads)} threads")
            sick = sum(each.health != 200 for each in warm)
            self.expect(sick <= len(warm) // 20, f"life {number}: health page not 200 at {sick} of {len(warm)} looks")

    def journal(
        self, chain: Sequence[tuple[int, str, bytes]], intents: Mapping[str, Sequence[tuple[str, IntentStatus]]]
    ) -> None:
        seqs = [row.seq for row in self.events]
        self.expect(seqs == sorted(set(seqs)), "the journal's numbers do not ascend")
        kinds = Counter(row.kind for row in self.events)
        for kind in (Kind.STARTED, Kind.STOPPED, Kind.CAUGHT_UP):
            self.expect(kinds[kind] == len(self.runs), f"{kinds[kind]} events {kind.value} in {len(self.runs)} lives")
        self.expect(not kinds[Kind.MARKET_REFUSED], "the market was refused")
        sent = {row.attempt for row in self.events if row.kind == Kind.SENT}
        ended = [row.attempt for row in self.events if row.kind in (Kind.RESTORED, Kind.NOT_RESTORED)]
        self.expect(len(ended) == len(set(ended)), "an attempt ended twice")
        self.expect(set(ended) <= sent, "an attempt ended that was never sent")
        lost = sent - set(ended)
        self.expect(
            len(lost) <= sum(run.open_at_stop for run in self.runs), f"without an end: {sorted(map(str, lost))}"
        )
        # A lost one never arrived (the weather swallowed it) and its nonce is free; nothing may wait above it, though.
        lost_or_closed = {
            IntentStatus.MINED,
            IntentStatus.REVERTED,
            IntentStatus.REFUSED,
            IntentStatus.DROPPED,
            IntentStatus.LOST,
        }
        for attempt, found in intents.items():
            open_ = [transaction for transaction, status in found if status not in lost_or_closed]
            self.expect(not open_, f"{attempt}: {open_} are still open in the store")
        known = {transaction for found in intents.values() for transaction, _ in found}
        strange = [transaction for _, transaction, _ in chain if transaction not in known]
        self.expect(not strange, f"liquidations that the store does not know: {strange}")
        for row in self.events:
            defect = row.kind == Kind.TROUBLE and row.severity == "alert"
            self.expect(not defect, f"trouble of our own: {row.fields}")


def slope_per_minute(points: Sequence[tuple[float, float]]) -> float:
    """Least squares over (seconds, value)."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return 60 * sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


async def reported(
    terms: Terms,
    runs: Sequence[Run],
    observer: Observer,
    reader: Reader,
    setting: Setting,
    days: Mapping[str, int],
    spells: Mapping[str, int],
) -> Report:
    """Read what is on file and on the chain, and judge."""
    with StoreReader.open(setting.store) as store:
        events = list(store.events(EventFilter()))
        standing = store.standing()
        watches = store.watches()
        attempts = {row.attempt for row in events if row.kind == Kind.SENT and row.attempt is not None}
        intents = {
            attempt: [("0x" + intent.transaction_hash.hex(), intent.status) for intent in store.intents(attempt)]
            for attempt in attempts
        }
    within_blocks = int(terms.answer_within_s / terms.block_s)
    jury = Jury(events, standing, observer.arrived_s, [run.up for run in runs], terms.answer_within_s, within_blocks)
    answers = jury.judge(episodes_of(observer.samples))
    judge = _Judge(terms, runs, events, answers, reader.found)
    judge.promises()
    judge.lives()
    judge.vitals()
    judge.journal(await observer.liquidations_by(setting.keeper), intents)
    judge.expect(bool(reader.found), "no attempt got into a block")
    judge.expect(bool(answers.latencies_s), "nobody had to be answered")
    figures = {
        "blocks": (observer.samples[0].block, observer.samples[-1].block),
        "samples": len(observer.samples),
        "market": dict(days),
        "weather": dict(spells),
        "judged_heads": [watch.heads for watch in watches],
        **_answers(answers),
        **_attempts(events, reader.found),
        "lives": [_life(run, terms) for run in runs],
    }
    return Report(figures, [*answers.problems, *judge.problems])


def _answers(answers: Answers) -> dict[str, object]:
    latencies = answers.latencies_s
    shown = {
        f"p{share}": round(latencies[min(len(latencies) - 1, share * len(latencies) // 100)], 1)
        for share in (50, 90, 99, 100)
        if latencies
    }
    return {
        "borrowers_below_1": answers.borrowers,
        "episodes_below_1": answers.episodes,
        "brief_and_unanswered": answers.brief,
        "answered_after_s": shown,
    }


def _attempts(events: Sequence[JournalRow], read: Sequence[ReadBack]) -> dict[str, object]:
    reaching = [each for each in read if each.verdict == Verdict.REACHES_TARGET]
    reached = [each for each in reaching if each.health_wad >= each.target_wad]
    short = Counter(
        ", ".join([*each.excuses, *(["reverted"] if each.reverted else [])]) or "none"
        for each in reaching
        if each.health_wad < each.target_wad
    )
    return {
        "events": dict(Counter(row.kind for row in events)),
        "reasons": dict(Counter(str(row.fields["reason"]) for row in events if row.kind == Kind.REFUSED)),
        "troubles": dict(Counter(str(row.fields["error"]) for row in events if row.kind == Kind.TROUBLE)),
        "read_back": len(read),
        "verdicts": dict(Counter(each.verdict for each in read)),
        "reaches_target": {"read back": len(reaching), "at target or above": len(reached), "short, why": dict(short)},
        "included_after_blocks": dict(sorted(Counter(each.block - each.head_block for each in read).items())),
    }


def _life(run: Run, terms: Terms) -> dict[str, object]:
    traffic, vitals = run.traffic, run.daemon.vitals
    total = sum(traffic.by_method.values())
    blocks = max(1, run.stop_block - run.start_block)
    warm = [each for each in vitals if each.at_s >= run.ready_s + terms.warm_up_s] or vitals
    last_s = vitals[-1].at_s
    moments = sorted({minute * 60.0 for minute in (1, 5, 10, 15, 20, 25, 30) if minute * 60 < last_s} | {last_s})
    return {
        "ready_after_s": round(run.ready_s, 1),
        "requests_to_ready": run.requests_to_ready,
        "ended_after_s": round(last_s),
        "blocks": blocks,
        "requests": total,
        "requests_per_block": round((total - run.requests_to_ready) / blocks, 2),
        "busiest_second": max(traffic.by_second.values()),
        "limited": run.limited,
        "by_method": dict(traffic.by_method.most_common()),
        "log_ranges": traffic.log_ranges,
        "lowest_range": traffic.lowest_range,
        "rss_mb": {f"{moment / 60:.1f} min": round(_near(run, moment).rss_mb, 1) for moment in moments},
        "rss_slope_mb_per_minute": round(slope_per_minute([(each.at_s, each.rss_mb) for each in warm]), 3),
        "open_files": (min(each.open_files for each in warm), max(each.open_files for each in warm)),
        "threads": (min(each.threads for each in warm), max(each.threads for each in warm)),
        "health_not_200": sum(each.health != 200 for each in warm),
        "open_at_stop": run.open_at_stop,
        "exit_code": run.exit_code,
        "stopped_in_s": round(run.stop_s, 2),
    }


def _near(run: Run, at_s: float) -> Vital:
    return min(run.daemon.vitals, key=lambda each: abs(each.at_s - at_s))
