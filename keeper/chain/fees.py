"""What the next block asks for, from what the last ones paid; `keeper.core.bidding` says what is bid."""

from __future__ import annotations

from dataclasses import dataclass

from keeper.chain.rpc import Entry, Rpc
from keeper.core.bidding import Asked
from keeper.core.block import BlockRef
from keeper.core.errors import ChainError, MalformedResponse
from keeper.core.hexdata import decode_list, decode_object, decode_quantity, encode_quantity

HISTORY_BLOCKS = 10


@dataclass(frozen=True, slots=True)
class FeeHistory:
    """`eth_feeHistory`, as far as we use it; wei per gas."""

    next_base_fee_wei: int
    priority_fees_wei: tuple[int, ...]
    """What the gas at the asked percentile paid, of each block that was not empty."""


class FeeReader:
    """Of one chain. Where blocks are empty the node's own suggestion is needed, too: from then on it is asked for beside
    them, for as long as they are."""

    def __init__(self, rpc: Rpc, *, blocks: int, percentile: int) -> None:
        self._rpc = rpc
        self._history: Entry = ("eth_feeHistory", [encode_quantity(blocks), "latest", [percentile]])
        self._were_empty = False

    async def read(self, head: BlockRef) -> Asked:
        """What the next block asks for, after `head`. Raises `ChainError` on a chain without EIP-1559."""
        suggestion: Entry = ("eth_maxPriorityFeePerGas", ())
        past, *suggested = await self._rpc.batch([self._history, suggestion] if self._were_empty else [self._history])
        if head.base_fee_wei is None:
            raise ChainError(f"block {head.number} has no base fee: a chain without EIP-1559 fees is not supported")
        if isinstance(past, ChainError):
            raise past
        history = decode_fee_history(past)
        self._were_empty = not history.priority_fees_wei
        suggested_wei = 0
        if self._were_empty:
            [answer] = suggested or await self._rpc.batch([suggestion])
            if isinstance(answer, ChainError):
                raise answer
            suggested_wei = decode_quantity(answer, "eth_maxPriorityFeePerGas")
        return asked_by(history, suggested_wei)


def asked_by(history: FeeHistory, suggested_priority_fee_wei: int) -> Asked:
    """The next block's base fee, and the median priority fee over the blocks (the upper one of two), or the suggested one
    when all were empty."""
    paid = sorted(history.priority_fees_wei)
    return Asked(history.next_base_fee_wei, paid[len(paid) // 2] if paid else suggested_priority_fee_wei)


def decode_fee_history(answer: object) -> FeeHistory:
    """Raises `MalformedResponse` unless base fees, fullness and rewards belong together."""
    fields = decode_object(answer, "answer to eth_feeHistory")
    base_fees, ratios, rewards = (
        decode_list(fields.get(key), f"{key} of eth_feeHistory") for key in ("baseFeePerGas", "gasUsedRatio", "reward")
    )
    if not ratios or len(base_fees) != len(ratios) + 1 or len(rewards) != len(ratios):
        raise MalformedResponse("eth_feeHistory does not give one reward per block and one base fee more")
    paid = []
    for ratio, reward in zip(ratios, rewards, strict=True):
        [percentile] = _exactly_one(reward)
        # An empty block paid nothing because nobody was there, not because nothing was asked.
        if isinstance(ratio, int | float) and ratio > 0:
            paid.append(decode_quantity(percentile, "reward of eth_feeHistory"))
    return FeeHistory(decode_quantity(base_fees[-1], "baseFeePerGas of eth_feeHistory"), tuple(paid))


def _exactly_one(reward: object) -> list[object]:
    percentiles = decode_list(reward, "reward of eth_feeHistory")
    if len(percentiles) != 1:
        raise MalformedResponse(f"eth_feeHistory gives {len(percentiles)} percentiles instead of one")
    return percentiles
