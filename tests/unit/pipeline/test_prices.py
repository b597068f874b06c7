"""Two readings of a price that cannot both be true stop the head from being judged."""

from __future__ import annotations

import pytest

from keeper.core.block import BlockRef
from keeper.core.errors import NodesDisagree
from keeper.core.units import Address, Hash32
from keeper.pipeline.prices import check_drift

ASSET = Address(b"\x11" * 20)
HEAD = BlockRef(7, Hash32(b"\x07" * 32), Hash32(b"\x06" * 32), 1_000, 0, 30_000_000)
PRICE = 320_000_000_000


LATER_S = 1_010


@pytest.mark.parametrize("later", [PRICE * 101 // 100, PRICE * 90 // 100])
def test_a_price_that_leaps_by_itself_is_not_believed(later: int) -> None:
    with pytest.raises(NodesDisagree, match="0x1111111111111111111111111111111111111111"):
        check_drift({ASSET: PRICE}, {ASSET: later}, HEAD, LATER_S)


CREDIBLE = [(PRICE, PRICE * 1004 // 1000), (PRICE, PRICE), (None, PRICE), (PRICE, None), (0, PRICE)]


@pytest.mark.parametrize("now, later", CREDIBLE)
def test_a_price_that_moves_by_the_second_is(now: int | None, later: int | None) -> None:
    try:
        check_drift({ASSET: now}, {ASSET: later}, HEAD, LATER_S)
    except NodesDisagree as error:
        pytest.fail(str(error))
