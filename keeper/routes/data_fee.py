"""The fee for posting a transaction on a rollup's parent chain, read in the head's own batch.

Chains of the OP stack (Optimism, Base, Ink, Soneium, Celo, …) answer it at one address, Scroll at another, both by
`getL1Fee(bytes)`. The transaction's bytes are not known when the head is read, so the fee is asked for bytes that cost at least
as much as any transaction of that length: none of them zero, and no three in a row twice, which no compression shortens. In gas
already, so 0 here: Ethereum and all chains that post nothing; Arbitrum, Linea and zkSync, whose nodes fold it into gas or its
price. Not covered: Mantle and Metis, which count it in other ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from keeper.core.block import Call, CallResult
from keeper.core.errors import QuoteError
from keeper.core.units import Address
from keeper.routes.answers import words

GET_L1_FEE = bytes.fromhex("49948e0e")
OP_STACK_ORACLE = Address(bytes.fromhex("420000000000000000000000000000000000000f"))
SCROLL_ORACLE = Address(bytes.fromhex("5300000000000000000000000000000000000002"))
ORACLES = (OP_STACK_ORACLE, SCROLL_ORACLE)
_WORD = 32
_MOST_WEI = 10**20
"""More than a hundred coins for one transaction is no fee."""


def encode_data_fee(oracle: Address, size_bytes: int) -> Call:
    """The fee of a transaction of at most so many bytes, unsigned."""
    content = incompressible(size_bytes)
    padding = bytes(-len(content) % _WORD)
    head = _WORD.to_bytes(_WORD, "big") + len(content).to_bytes(_WORD, "big")
    return Call(oracle, GET_L1_FEE + head + content + padding)


def decode_data_fee(result: CallResult) -> int:
    """Wei. Raises `QuoteError` where there is no such oracle, or its answer is none."""
    (fee_wei,) = words(result, 1, "data fee")
    if fee_wei > _MOST_WEI:
        raise QuoteError(f"data fee: {fee_wei} wei is not believed")
    return fee_wei


def found_oracle(results: Sequence[CallResult]) -> Address | None:
    """Which of `ORACLES` answers, by their answers at the start; None where the chain has none: no code there, so nothing came
    back. Raises `QuoteError` for one that is there and tells no fee: it may not be taken for 0."""
    for oracle, result in zip(ORACLES, results, strict=True):
        if result.ok and not result.returndata:
            continue
        decode_data_fee(result)
        return oracle
    return None


@lru_cache(maxsize=16)
def incompressible(size_bytes: int) -> bytes:
    """So many bytes from 1 to 255, of which no three in a row occur twice (up to 16 million of them)."""
    made, seen, state = bytearray(), set[bytes](), 1
    while len(made) < size_bytes:
        state = state * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407 & (1 << 64) - 1
        made.append(1 + (state >> 33) % 255)
        if len(made) >= 3:
            if bytes(made[-3:]) in seen:
                made.pop()
            else:
                seen.add(bytes(made[-3:]))
    return bytes(made)
