"""On the real contracts: rows that are to be read anew are read a part at each head; who is missing shows in the totals."""

from __future__ import annotations

from typing import Any

import pytest

from keeper.chain.jsonrpc import JsonRpc
from keeper.core.units import Address, to_hex
from keeper.devnet import upgrades
from keeper.devnet.market import Bed
from keeper.devnet.openings import Leg
from keeper.pipeline import rows
from keeper.protocols.aave_v3 import selectors
from tests.faults import FaultProxy, Manners, Rewrite
from tests.protocols.following import Following
from tests.protocols.test_live_changes import assert_all_is_equal, opened

PART = 12


async def test_changed_code_is_read_over_several_heads_of_a_node_that_keeps_little_state(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "ROWS_PER_HEAD", PART)
    async with FaultProxy(bed.url, Manners(state_depth=1)) as proxy, JsonRpc(proxy.url, timeout_s=10) as rpc:
        following = Following(bed, rpc=rpc)
        await following.start()
        follower = following.follower
        left = len(follower.book)
        parts = -(-left // PART)
        assert parts >= 4
        await upgrades.upgrade_a_token(bed, "WETH")
        notices: list[str] = []
        late: set[Address] = set()
        for part in range(parts):
            result = await following.advance()
            notices += result.notices
            assert result.mismatches == []
            left -= PART
            if left > 0:
                assert follower.verified is None and f"; {left} rows are still to be read" in (follower.refused or "")
                assert await follower.audit() == []
            late.add(await opened(bed, f"meanwhile {part}", Leg("WETH", (2 + part) * 10**18), Leg("USDC", 900 * 10**6)))
            left += left > 0
        while follower.verified is None:
            await following.advance()
        await following.advance()
        assert late <= set(follower.book.accounts()) and follower.refused is None
        [notice] = notices
        assert "every row is read again" in notice
        await assert_all_is_equal(following)


def hiding(borrower: Address) -> Rewrite:
    """A node that keeps the borrower's `Borrow` logs back."""

    def rewrite(method: str, params: list[Any], answer: dict[str, Any]) -> dict[str, Any]:
        if method != "eth_getLogs" or "result" not in answer:
            return answer
        hidden = to_hex(selectors.BORROW_TOPIC), "0x" + borrower.hex().rjust(64, "0")
        return {
            "result": [
                log for log in answer["result"] if (log["topics"][0], log["topics"][2:3]) != (hidden[0], [hidden[1]])
            ]
        }

    return rewrite


async def test_a_book_in_which_a_borrower_is_missing_is_not_believed(bed36: Bed) -> None:
    """Every row of it is right, and its health too: nobody is liquidated before the debts add up."""
    hidden = next(each for each in bed36.openings if each.debt)
    async with FaultProxy(bed36.url) as proxy, JsonRpc(proxy.url, timeout_s=10) as rpc:
        proxy.on_answer = hiding(hidden.borrower)
        following = Following(bed36, rpc=rpc)
        result = await following.started()
        follower = following.follower
        assert hidden.borrower not in follower.book
        assert result.verified is None and follower.verified is None and result.origin == ""
        owed = {bed36.asset(leg.symbol).reserve_id for leg in hidden.debt}
        assert {each.difference.reserve_id for each in result.mismatches} == owed
        assert {each.difference.what for each in result.mismatches} == {"total_debt_scaled"}
        assert "total_debt_scaled in reserve" in (follower.refused or "")
        proxy.on_answer = None
        await bed36.chain.mine(1)
        result = await following.advance()
        assert hidden.borrower in follower.book
        assert result.origin.startswith("snapshot, proven at block ")
        await assert_all_is_equal(following)
