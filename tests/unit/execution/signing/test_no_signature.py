"""A signer that cannot sign now: nothing leaves, no nonce is taken, and nobody else of the wave waits for it."""

from __future__ import annotations

from keeper.core.errors import Refused
from keeper.core.order import Answer
from keeper.core.units import Address
from keeper.execution.sender import Sender
from keeper.execution.signing.signer import SignedTransaction, TransactionFields
from tests.unit.execution.fakes import CHAIN_ID, MemoryIntents, MemoryNode, head, sending, signer


class Tiring:
    """Signs so many, then none."""

    def __init__(self, most: int) -> None:
        self.address = signer().address
        self.most = most
        self.asked = 0

    async def sign_transaction(self, fields: TransactionFields) -> SignedTransaction:
        self.asked += 1
        if self.asked > self.most:
            raise Refused("the signer is away")
        return await signer().sign_transaction(fields)


async def started(signs: Tiring, node: MemoryNode) -> Sender:
    sender = Sender(node, signs, MemoryIntents(), CHAIN_ID)
    await sender.start(head(1))
    return sender


async def test_what_was_signed_leaves_and_the_signer_is_not_asked_again_for_the_rest() -> None:
    node, signs = MemoryNode(), Tiring(1)
    sender = await started(signs, node)
    orders = [[sending(Address(bytes([number]) * 20), f"1-{number}", tag=number)] for number in range(1, 5)]
    first, *others = await sender.send_all(orders, head(1))
    assert not isinstance(first, Refused)
    assert first[0].answer is Answer.ACCEPTED
    assert [str(other) for other in others] == ["the signer is away"] * 3
    assert (signs.asked, len(node.sends)) == (2, 1)


async def test_the_nonce_of_what_was_not_signed_is_the_next_ones() -> None:
    node, signs = MemoryNode(), Tiring(0)
    sender = await started(signs, node)
    [refused] = await sender.send_all([[sending()]], head(1))
    assert isinstance(refused, Refused)
    signs.most = 10
    [sent] = await sender.send_all([[sending()]], head(1))
    assert not isinstance(sent, Refused)
    assert sent[0].nonce == 0


async def test_a_further_call_without_a_signature_says_why_it_was_not_sent() -> None:
    node, signs = MemoryNode(), Tiring(1)
    sender = await started(signs, node)
    [sent] = await sender.send_all([[sending(), sending(call_index=1, tag=1)]], head(1))
    assert not isinstance(sent, Refused)
    assert [(each.answer, each.detail) for each in sent] == [
        (Answer.ACCEPTED, ""),
        (Answer.NOT_SENT, "the signer is away"),
    ]
