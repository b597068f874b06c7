"""How transactions that wait too long are replaced on one chain, and how that is told."""

from __future__ import annotations

from keeper.app.terms import fee_cap_wei, window_blocks
from keeper.chain.client import ChainClient
from keeper.core import attempt_build
from keeper.core.block import BlockRef
from keeper.core.errors import Refused
from keeper.core.order import Answer
from keeper.execution.replacing import MayRepeat, Replaced, Replacing
from keeper.execution.sender import Sender
from keeper.ports import Journal
from keeper.settings import Chain as ChainSettings
from keeper.settings.signing import Signer as SignerSettings


def replacing_for(
    name: str,
    chain: ChainSettings,
    signing: SignerSettings,
    client: ChainClient,
    block_s: float,
    sender: Sender,
    journal: Journal,
    may_repeat: MayRepeat | None = None,
) -> Replacing:
    """Journals what it does."""

    async def told(replaced: Replaced, head: BlockRef) -> None:
        case, sent = replaced.case, replaced.sent
        last = case.there[-1] if case.there else None
        await journal.record(
            [
                attempt_build.replaced(
                    name,
                    head.number,
                    last.borrower if last is not None else None,
                    last.attempt if last is not None else None,
                    signer=sender.address,
                    nonce=case.nonce,
                    remedy=case.remedy.value,
                    why=case.why,
                    replaced_hash=last.transaction_hash if last is not None else None,
                    transaction_hash=None if isinstance(sent, Refused) else sent.transaction_hash,
                    fees=replaced.fees,
                    answer=Answer.NOT_SENT.value if isinstance(sent, Refused) else sent.answer.value,
                    detail=str(sent) if isinstance(sent, Refused) else sent.detail,
                )
            ]
        )

    return Replacing(
        sender,
        client.fees,
        told,
        cap_wei=fee_cap_wei(chain),
        expiry_blocks=signing.expiry_blocks or 2 * window_blocks(chain, block_s),
        may_repeat=may_repeat,
    )
