"""The demo's summary: one row per borrower that went below 1, the totals, the verdict. Pure: a result in, tables out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from keeper.app.demo import DemoResult
from keeper.app.demo_record import Amount, Attempt, Token
from keeper.cli.demo_live import prices_text
from keeper.cli.render import base_text, fixed_text, health_text, short_address, signed_wad_text, token_text
from keeper.cli.words import CLIPS, reason_sentence
from keeper.core.outcome import Verdict
from keeper.core.plan import Clip
from keeper.core.units import NO_DEBT_HEALTH_WAD, Address

BASE_DECIMALS = 8
"""The devnet's base currency is the US dollar with eight decimals."""
COIN_DECIMALS = 18
TITLE = "keeper demo: Aave v3.6 on a local anvil"
WHOLE_WIDTH = 136
"""From this width on there is room for every column."""

_CLIPS = {
    Clip.CLOSE_FACTOR: "close factor",
    Clip.DUST_JUMP: "dust jump",
    Clip.COLLATERAL: "all of a collateral",
    Clip.DEBT: "all of a debt",
    Clip.LIQUIDITY: "liquidity",
    Clip.BELOW_ONE: "held below 1",
}
"""What bound the size of a call, in as few letters as the column has."""


@dataclass(frozen=True, slots=True)
class Row:
    """One borrower's end, in words and figures."""

    borrower: str
    before: str
    planned: str
    after: str
    target: str
    overshoot: str
    repaid: str
    seized: str
    calls: str
    model_error: str
    remark: str
    style: str


@dataclass(frozen=True, slots=True)
class Totals:
    """Over all attempts."""

    restored: int
    repaid_base: int
    received_base: int
    gas_base: int
    gas_wei: int

    @property
    def net_base(self) -> int:
        return self.received_base - self.repaid_base - self.gas_base


def summary(result: DemoResult) -> RenderableType:
    """Everything that is shown at the end."""
    return Group(
        Text("after the crash: ").append_text(prices_text(result.record, moved_only=True)),
        _Rows(result),
        Text(),
        *_legend(result),
        _cases(result),
        Text(),
        _totals_line(totals(result.record.attempts.values())),
        *(Text(f"on the way: {trouble}", style="yellow") for trouble in result.record.troubles),
        *_verdict(result),
    )


def rows(result: DemoResult) -> list[Row]:
    """One per borrower that was ever below 1, those made for a case first."""
    found = []
    for borrower in result.record.sick():
        attempts = result.record.attempts_of(borrower)
        found.append(_restored_row(result, attempts) if attempts else _left_row(result, borrower))
    return found


def totals(attempts: Iterable[Attempt]) -> Totals:
    """Sums over every attempt, the failed ones' gas included."""
    listed = list(attempts)
    return Totals(
        restored=len({attempt.borrower for attempt in listed if attempt.state == "restored"}),
        repaid_base=sum(attempt.repaid_base for attempt in listed),
        received_base=sum(attempt.received_base for attempt in listed),
        gas_base=sum(attempt.gas_base for attempt in listed),
        gas_wei=sum(attempt.gas_wei for attempt in listed),
    )


def _restored_row(result: DemoResult, attempts: Sequence[Attempt]) -> Row:
    last = attempts[-1]
    account = result.readings.after.get(last.name)
    after_wad = account.health_wad if account is not None else None
    reached = after_wad is not None and after_wad >= last.target_wad
    remarks = [_CLIPS[clip] for clip in _clips(last)]
    if last.verdict != Verdict.REACHES_TARGET:
        remarks.insert(0, last.verdict.replace("_", " "))
    if len(attempts) > 1:
        remarks.append(f"attempt {len(attempts)}")
    if last.detail:
        remarks.append(last.detail)
    return Row(
        borrower=_name(result, last.borrower),
        before=health_text(attempts[0].health_before_wad),
        planned=health_text(last.health_planned_wad),
        after=health_text(after_wad),
        target=health_text(last.target_wad),
        overshoot=overshoot_text(after_wad, last.target_wad),
        repaid=amounts_text(amount for attempt in attempts for amount in attempt.repaid),
        seized=amounts_text(amount for attempt in attempts for amount in attempt.received),
        calls=str(sum(len(attempt.repaid) for attempt in attempts)),
        model_error="unknown" if last.model_error_wad is None else str(last.model_error_wad),
        remark="; ".join(remarks),
        style="green" if reached else "red",
    )


def _clips(attempt: Attempt) -> list[Clip]:
    """What bound its calls, each once."""
    return [Clip(clip) for clip in dict.fromkeys(attempt.clips) if clip is not None]


def _left_row(result: DemoResult, borrower: Address) -> Row:
    stands = result.record.reasons.get(borrower)
    account = result.readings.final.get(borrower)
    remark = "no reason" if stands is None else stands.reason.replace("_", " ")
    if stands is not None and stands.verdict is not None and stands.verdict.value != stands.reason:
        remark += f" ({stands.verdict.value.replace('_', ' ')})"
    return Row(
        borrower=_name(result, borrower),
        before=health_text(result.record.first_health_wad.get(borrower)),
        planned="",
        after=health_text(account.health_wad if account is not None else None),
        target="",
        overshoot="",
        repaid="",
        seized="",
        calls="",
        model_error="",
        remark=remark,
        style="yellow" if stands is not None else "red",
    )


def overshoot_text(after_wad: int | None, target_wad: int) -> str:
    """By how much the health passes the target; a debt that is repaid in full has no health to compare."""
    if after_wad is None:
        return "unknown"
    return "debt free" if after_wad == NO_DEBT_HEALTH_WAD else signed_wad_text(after_wad - target_wad, 10)


def amounts_text(amounts: Iterable[Amount]) -> str:
    """One line per token, summed."""
    sums: dict[Token, int] = {}
    for amount in amounts:
        sums[amount.token] = sums.get(amount.token, 0) + amount.raw
    return "\n".join(token_text(raw, token.decimals, token.symbol, 4) for token, raw in sums.items())


def _name(result: DemoResult, borrower: Address) -> str:
    return f"{result.record.name(borrower)} {short_address(borrower)}"


@dataclass(frozen=True, slots=True)
class _Rows:
    """The table, with as many columns as there is room for."""

    result: DemoResult

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        whole = options.max_width >= WHOLE_WIDTH
        yield _table(self.result, whole)
        if not whole:
            yield Text(f"On {WHOLE_WIDTH} columns or in a file: also overshoot, amounts, calls and error.", style="dim")


def _table(result: DemoResult, whole: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    columns = ("borrower", "before", "planned", "after", "target")
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if index else "left", no_wrap=True)
    for name in ("overshoot", "repaid", "seized", "calls", "error") if whole else ():
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("bound by, or why not")
    for row in rows(result):
        cells = (row.before, row.planned, Text(row.after, style=row.style), row.target)
        figures = (row.overshoot, row.repaid, row.seized, row.calls, row.model_error) if whole else ()
        table.add_row(row.borrower, *cells, *figures, Text(row.remark, style="" if row.calls else row.style))
    return table


def _legend(result: DemoResult) -> list[RenderableType]:
    """What the columns mean, and every reason of somebody left alone in a sentence."""
    lines: list[RenderableType] = [
        Text(
            "before, planned: the keeper's arithmetic · after: the pool's own answer in the inclusion block ·"
            " overshoot: after − target · error: chain's health − our arithmetic replayed on that block, in wad ·"
            " seized: what the keeper received, the protocol's fee apart",
            style="dim",
        )
    ]
    clips = {clip for attempt in result.record.attempts.values() for clip in _clips(attempt)}
    bounds = " · ".join(f"{_CLIPS[clip]}: {CLIPS[clip]}" for clip in _CLIPS if clip in clips)
    lines.append(Text(f"bound by: {bounds}; else the least that is enough", style="dim"))
    left = {
        result.record.reasons[borrower].reason
        for borrower in result.record.sick()
        if borrower in result.record.reasons and not result.record.attempts_of(borrower)
    }
    lines += [Text(f"left alone, {reason}: {reason_sentence(reason)}", style="dim") for reason in sorted(left)]
    return lines


def _cases(result: DemoResult) -> Text:
    shown = [
        f"{case} {short_address(borrowers[0])}" + (f" and {len(borrowers) - 1} more" if len(borrowers) > 1 else "")
        for case, borrowers in result.shown.items()
        if borrowers
    ]
    return Text("shown: " + " · ".join(shown))


def _totals_line(sums: Totals) -> Text:
    def dollars(amount_base: int) -> str:
        return f"${base_text(amount_base, BASE_DECIMALS)}"

    return Text(
        f"repaid {dollars(sums.repaid_base)} · received {dollars(sums.received_base)} · gas {dollars(sums.gas_base)}"
        f" ({fixed_text(sums.gas_wei, COIN_DECIMALS, 5)} ETH) · net profit {dollars(sums.net_base)}",
        style="bold",
    )


def _verdict(result: DemoResult) -> list[Text]:
    if result.problems:
        return [
            Text(f"FAILED. Not as it must be: {len(result.problems)}", style="bold red"),
            *(Text(f"  {problem}", style="red") for problem in result.problems),
        ]
    attempts = list(result.record.attempts.values())
    promised = sum(attempt.verdict == Verdict.REACHES_TARGET for attempt in attempts)
    left = sum(account.sick for account in result.readings.final.values())
    crashed = sum(account.sick for account in result.readings.crash.values())
    return [
        Text(
            f"{crashed} of {len(result.readings.crash)} borrowers fell below 1. Plans that promised their target: {promised},"
            f" all read back at or above it in their inclusion block. Still below 1: {left}, each with its reason in the"
            f" journal. Model error: 0 wad in every outcome ({len(attempts)}). {result.elapsed_s:.1f} s.",
            style="bold green",
        )
    ]
