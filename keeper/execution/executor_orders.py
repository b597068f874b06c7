"""A person's orders to the executor: looked at first, sent once, followed until they are mined."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import rlp  # type: ignore[import-untyped]
from eth_utils.crypto import keccak

from keeper.core.block import BlockRef, Call
from keeper.core.errors import ConfigError, OutcomeUnknown, Refused, RpcFailure
from keeper.core.hexdata import decode_quantity
from keeper.core.intent import IntentStatus
from keeper.core.ledger import Purpose
from keeper.core.order import Answer, FeeQuote
from keeper.core.units import Address, to_hex
from keeper.execution.executor_calls import explain_refusal
from keeper.execution.following import Followed
from keeper.execution.rpc import Rpc
from keeper.execution.sender import Sender, Sending
from keeper.execution.wire import pinned

ATTEMPT = "executor"
"""The name under which these transactions are journaled."""
LONGEST_WAIT_S = 180.0


@dataclass(frozen=True, slots=True)
class OwnerOrder:
    """One transaction as it would go, and what it may cost."""

    call: Call
    """Of a creation: without a target."""
    gas_limit: int
    fees: FeeQuote

    @property
    def most_wei(self) -> int:
        return self.gas_limit * self.fees.max_fee_wei


async def looked_at(rpc: Rpc, sender: Address, call: Call, fees: FeeQuote, head: BlockRef) -> OwnerOrder:
    """Raises `ConfigError` when the node says that it would fail, or when the fee cap is under the base fee."""
    if fees.max_fee_wei < fees.base_fee_wei:
        raise ConfigError(
            f"fees.max_fee_gwei is under the base fee of {fees.base_fee_wei} wei per gas: raise it, or wait"
        )
    request = {"from": to_hex(sender), "input": to_hex(call.calldata)}
    if call.target:
        request["to"] = to_hex(call.target)
    try:
        gas = decode_quantity(await rpc.request("eth_estimateGas", [request]), "a gas estimate")
    except RpcFailure as failure:
        why = explain_refusal(failure.data) if failure.data is not None else None
        raise ConfigError(f"it would fail: {why or failure}; nothing was sent") from None
    return OwnerOrder(call, gas + gas // 4, fees)


async def require_gas_money(rpc: Rpc, sender: Address, order: OwnerOrder, head: BlockRef) -> None:
    """Raises `ConfigError` when the sender cannot pay for it."""
    balance_wei = decode_quantity(
        await rpc.request("eth_getBalance", [to_hex(sender), pinned(head)]), "the balance of the signer"
    )
    if balance_wei < order.most_wei:
        raise ConfigError(
            f"{to_hex(sender)} has {balance_wei} wei for gas and may need {order.most_wei}: send it some; nothing was sent"
        )


async def sent_and_mined(
    sender: Sender, order: OwnerOrder, heads: AsyncIterator[BlockRef], head: BlockRef, within_s: float = LONGEST_WAIT_S
) -> Followed:
    """Raises `Refused` when the node does not take it or it reverts, `OutcomeUnknown` when that does not show in time."""
    sending = Sending(order.call, order.gas_limit, order.fees, ATTEMPT, None, 0, Purpose.OWNER)
    sent = await sender.send(sending, head)
    if sent.transaction_hash is None or sent.answer is Answer.REFUSED:
        raise Refused(sent.detail or "the node refused the transaction")
    transaction = to_hex(sent.transaction_hash)
    try:
        async with asyncio.timeout(within_s):
            async for head in heads:
                followed = await sender.following.follow(sent.transaction_hash, head)
                if not followed.open:
                    break
            else:
                raise OutcomeUnknown(f"transaction {transaction} was not followed to its end")
    except TimeoutError:
        raise OutcomeUnknown(
            f"transaction {transaction} is not mined after {within_s:g} s: it may still be; look with `keeper tx list`"
        ) from None
    if followed.intent.status is not IntentStatus.MINED:
        raise Refused(f"transaction {transaction} is {followed.intent.status.value}: nothing was changed")
    return followed


def created_address(sender: Address, nonce: int) -> Address:
    """Where a contract comes to stand that `sender` creates with this nonce."""
    return Address(keccak(rlp.encode([sender, nonce]))[12:])
