"""The journal's events of a run, its markets and its borrowers below 1. Field names are a contract: docs/JOURNAL.md.

Amounts stay integers here; whoever renders them writes those with a money unit as decimal strings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from keeper.core.block import BlockRef
from keeper.core.differences import Mismatch
from keeper.core.events import Event, Field, Kind, Severity
from keeper.core.pauses import StandingPause
from keeper.core.standing import ORDERED, Standing, stands_alike
from keeper.core.units import Address, to_hex


@dataclass(frozen=True, slots=True)
class AssetLabel:
    """How people read one asset. `symbol` comes from the chain: whoever shows it must expect any text."""

    asset: Address
    symbol: str
    decimals: int


# -- the run and its markets ---------------------------------------------------------------------------------------
def started(
    chain: str, *, version: str, mode: str, chain_id: int, signers: Sequence[Address], markets: Sequence[Address]
) -> Event:
    """`signers` are the accounts that pay, in the configured order; in a dry run one that may be a placeholder."""
    return Event(
        Kind.STARTED,
        chain,
        fields={
            "version": version,
            "mode": mode,
            "chain_id": chain_id,
            "keeper": to_hex(signers[0]),
            "signers": [to_hex(signer) for signer in signers],
            "markets": [to_hex(market) for market in markets],
        },
    )


def stopped(chain: str, detail: str) -> Event:
    return Event(Kind.STOPPED, chain, fields={"detail": detail})


def endpoint(
    chain: str,
    block_number: int,
    label: str,
    *,
    archive: bool | None,
    state_depth_blocks: int | None,
    batches: bool | None,
    simulates: bool | None,
    detail: str,
) -> Event:
    """`label` is scheme, host and port. None: not known, because it was not reached; `state_depth_blocks` also where it does
    not matter. `detail` says what is done otherwise for what it lacks."""
    return Event(
        Kind.ENDPOINT,
        chain,
        block_number,
        severity=Severity.WARNING if archive is None else Severity.NORMAL,
        fields={
            "endpoint": label,
            "archive": archive,
            "state_depth_blocks": state_depth_blocks,
            "batches": batches,
            "simulates": simulates,
            "detail": detail,
        },
    )


def caught_up(chain: str, market: Address, block: BlockRef, borrowers: int, origin: str) -> Event:
    """`borrowers`: how many have debt in the book; `origin`: where the book came from, and how it was proven."""
    fields: dict[str, Field] = {**block_fields(block), "borrowers": borrowers, "origin": origin}
    return Event(Kind.CAUGHT_UP, chain, block.number, market, fields=fields)


def built(
    chain: str, market: Address, block: BlockRef, borrowers: int, origin: str, notices: Sequence[str]
) -> list[Event]:
    """What a person should hear of a book's history, and the book itself if it was built or loaded for this head: then its
    origin is not empty."""
    told = [alert(chain, "history", notice, block_number=block.number, market=market) for notice in notices]
    return [*told, caught_up(chain, market, block, borrowers, origin)] if origin else told


def reorg(chain: str, old: BlockRef, new: BlockRef, ancestor_block: int | None) -> Event:
    """`old` is no longer on the chain of `new`. `ancestor_block` is None when the book is rebuilt, not unwound."""
    return Event(
        Kind.REORG,
        chain,
        new.number,
        severity=Severity.WARNING,
        fields={
            **block_fields(new),
            "old_block_number": old.number,
            "old_block_hash": to_hex(old.hash),
            "ancestor_block_number": ancestor_block,
        },
    )


def market_verified(
    chain: str,
    market: Address,
    block_number: int,
    *,
    protocol: str,
    revision: str,
    checked_borrowers: int,
    base_decimals: int | None = None,
    assets: Sequence[AssetLabel] = (),
) -> Event:
    """`base_decimals` and `assets` let readers write amounts as people do; without them they show raw units."""
    return Event(
        Kind.MARKET_VERIFIED,
        chain,
        block_number,
        market,
        fields={
            "protocol": protocol,
            "revision": revision,
            "checked_borrowers": checked_borrowers,
            "base_decimals": base_decimals,
            "assets": [
                {"asset": to_hex(label.asset), "symbol": label.symbol, "decimals": label.decimals} for label in assets
            ],
        },
    )


def market_refused(chain: str, market: Address, block_number: int | None, detail: str) -> Event:
    return Event(Kind.MARKET_REFUSED, chain, block_number, market, severity=Severity.ALERT, fields={"detail": detail})


def market_changed(chain: str, market: Address, block_number: int, event: str) -> Event:
    """`event` is the contract event after which the market was discovered again."""
    return Event(Kind.MARKET_CHANGED, chain, block_number, market, fields={"event": event})


def alert(
    chain: str,
    key: str,
    detail: str,
    *,
    block_number: int | None = None,
    market: Address | None = None,
    severity: Severity = Severity.ALERT,
) -> Event:
    """`key` names the kind of alert: repeated ones of one key are throttled."""
    return Event(Kind.ALERT, chain, block_number, market, severity=severity, fields={"key": key, "detail": detail})


def mismatch(chain: str, market: Address, found: Mismatch) -> Event:
    """The book is not what the chain stores, or our arithmetic not the chain's. Nothing is liquidated on the market until
    `market_verified` follows."""
    difference = found.difference
    return Event(
        Kind.MISMATCH,
        chain,
        found.block.number,
        market,
        difference.borrower,
        severity=Severity.ALERT,
        fields={
            **block_fields(found.block),
            "what": difference.what,
            "reserve_id": difference.reserve_id,
            "ours": None if difference.ours is None else str(difference.ours),
            "chains": None if difference.chain is None else str(difference.chain),
            "repair": found.repair,
            "held_until_s": found.held_until_s,
            "logs": [
                {
                    "block_number": log.block_number,
                    "transaction_hash": to_hex(log.transaction_hash),
                    "log_index": log.log_index,
                    "event": log.text,
                }
                for log in found.logs
            ],
            "logs_from_block_number": found.logs_from_block,
        },
    )


def paused(chain: str, block_number: int, standing: StandingPause) -> Event:
    """A pause that the keeper noticed at this head; one that stood when it started is told again."""
    return Event(Kind.PAUSED, chain, block_number, severity=Severity.ALERT, fields=_pause_fields(standing))


def resumed(chain: str, block_number: int, lifted: StandingPause) -> Event:
    return Event(Kind.RESUMED, chain, block_number, fields=_pause_fields(lifted))


def _pause_fields(standing: StandingPause) -> dict[str, Field]:
    scope = standing.pause.scope
    return {
        "key": f"paused {standing.pause.reason}",
        "cause": standing.pause.reason,
        "detail": standing.pause.detail,
        "chain_id": scope.chain_id,
        "signer": to_hex(scope.signer) if scope.signer is not None else None,
        "since": standing.since or None,
    }


def audit_blind(chain: str, market: Address, error: BaseException) -> Event:
    """The continuous audit could not read for long: what it would have found is not known."""
    detail = f"the book could not be compared with the chain for a while: {type(error).__name__}: {error}"
    return alert(chain, "audit_blind", detail, market=market)


def trouble(
    chain: str,
    error: BaseException,
    *,
    block_number: int | None = None,
    market: Address | None = None,
    borrower: Address | None = None,
    attempt: str | None = None,
    severity: Severity = Severity.WARNING,
) -> Event:
    """The world is unwell, or (with `Severity.ALERT`) we are wrong: the error's class name and its message."""
    return Event(
        Kind.TROUBLE,
        chain,
        block_number,
        market,
        borrower,
        attempt,
        severity,
        {"error": type(error).__name__, "detail": str(error)},
    )


# -- a borrower below 1 --------------------------------------------------------------------------------------------
def standing_events(
    chain: str,
    market: Address,
    block_number: int,
    previous: Mapping[Address, Standing],
    current: Mapping[Address, Standing],
    *,
    rehearsed: bool = False,
) -> list[Event]:
    """What changed between two judged heads: `seen`, `refused` (on a new or another reason) and `recovered`.

    A borrower that leaves while an attempt is under way is not `recovered`: the outcome tells what happened. Not so where the
    attempts are `rehearsed`: none of them moves the chain.
    """
    events: list[Event] = []
    for borrower, standing in current.items():
        before = previous.get(borrower)
        if before is None:
            events.append(seen(chain, market, block_number, borrower, standing.health_factor_wad))
        if standing.reason != ORDERED and (before is None or not stands_alike(before, standing)):
            events.append(refused(chain, market, block_number, borrower, standing))
    for borrower, before in previous.items():
        ours = before.reason == ORDERED and before.attempt is not None and not rehearsed
        if borrower not in current and not ours:
            events.append(recovered(chain, market, block_number, borrower, before))
    return events


def seen(
    chain: str,
    market: Address,
    block_number: int,
    borrower: Address,
    health_factor_wad: int | None,
    since_s: int | None = None,
) -> Event:
    """Health at the block; at 1 or above where it falls below only by `since_s`, the time of the next block."""
    fields: dict[str, Field] = {"health_factor_wad": health_factor_wad, "below_one_from_s": since_s}
    return Event(Kind.SEEN, chain, block_number, market, borrower, fields=fields)


def refused(chain: str, market: Address, block_number: int, borrower: Address, standing: Standing) -> Event:
    return Event(
        Kind.REFUSED,
        chain,
        block_number,
        market,
        borrower,
        standing.attempt,
        fields={
            "reason": standing.reason,
            "verdict": standing.verdict.value if standing.verdict is not None else None,
            "health_factor_wad": standing.health_factor_wad,
            "detail": standing.detail,
        },
    )


def recovered(chain: str, market: Address, block_number: int, borrower: Address, last: Standing) -> Event:
    """Back at 1 or above without our doing; `last` is how it stood before."""
    return Event(
        Kind.RECOVERED,
        chain,
        block_number,
        market,
        borrower,
        fields={"last_reason": last.reason, "last_health_factor_wad": last.health_factor_wad},
    )


def block_fields(block: BlockRef) -> dict[str, Field]:
    """The block an event was read from or decided on; its number is in the event itself."""
    return {"block_hash": to_hex(block.hash), "block_timestamp_s": block.timestamp_s}
