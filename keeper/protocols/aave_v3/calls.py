"""The liquidation call, and what its logs say it did."""

from __future__ import annotations

from collections.abc import Sequence

from keeper.core.block import Call, Log
from keeper.core.errors import MalformedResponse
from keeper.core.lending import LiquidationEvent, Pair
from keeper.core.units import Address
from keeper.protocols.aave_v3 import selectors as s
from keeper.protocols.aave_v3.market import Market
from keeper.protocols.aave_v3.words import call, split, to_address, to_bool, topic_address


def encode_liquidation(
    market: Market, borrower: Address, pair: Pair, debt_to_cover_raw: int, *, receive_a_token: bool = False
) -> Call:
    """`liquidationCall` on the pool, paid out in the collateral itself. The pool pulls the debt asset from the caller."""
    return call(
        market.pool,
        s.LIQUIDATION_CALL,
        pair.collateral_asset,
        pair.debt_asset,
        borrower,
        debt_to_cover_raw,
        int(receive_a_token),
    )


def decode_liquidations(market: Market, logs: Sequence[Log], borrower: Address) -> list[LiquidationEvent]:
    """`LiquidationCall` logs of this borrower. `received_raw` excludes the protocol fee. Raises `MalformedResponse`."""
    found = []
    for log in logs:
        if log.address != market.pool or not log.topics or log.topics[0] != s.LIQUIDATION_CALL_TOPIC:
            continue
        event = _decode_liquidation(log)
        if event.borrower == borrower:
            found.append(event)
    return found


def _decode_liquidation(log: Log) -> LiquidationEvent:
    what = "LiquidationCall"
    if len(log.topics) != 4:
        raise MalformedResponse(f"{what}: {len(log.topics)} topics instead of 4")
    collateral, debt, borrower = (topic_address(topic, what) for topic in log.topics[1:])
    repaid_raw, received_raw, liquidator, a_token = split(log.data, 4, what)
    to_bool(a_token, what)
    return LiquidationEvent(
        collateral_asset=collateral,
        debt_asset=debt,
        borrower=borrower,
        repaid_raw=repaid_raw,
        received_raw=received_raw,
        liquidator=to_address(liquidator, what),
        log_index=log.log_index,
    )
