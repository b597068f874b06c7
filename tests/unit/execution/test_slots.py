"""Storage keys, and what counts as proof of a slot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from eth_utils.crypto import keccak

from keeper.core.errors import ChainError, MethodUnavailable, RateLimited, RpcFailure
from keeper.core.units import Address, to_hex
from keeper.execution import tokens
from keeper.execution.slots import ERC20_NAMESPACE, MARKER, Layout, Slot, SlotFinder, derive_layout, mapping_key
from tests.unit.execution.fakes import BORROWER, POOL, TOKEN, head

OWNER, SPENDER = BORROWER, POOL
STORAGE = Address(b"\x5a" * 20)


def test_mapping_keys_follow_the_compilers() -> None:
    key_then_base = keccak(bytes(12) + OWNER + (3).to_bytes(32, "big"))
    base_then_key = keccak((3).to_bytes(32, "big") + bytes(12) + OWNER)
    assert mapping_key(3, [OWNER], key_first=True) == key_then_base
    assert mapping_key(3, [OWNER], key_first=False) == base_then_key
    assert mapping_key(3, [OWNER, SPENDER], key_first=True) == keccak(bytes(12) + SPENDER + key_then_base)


@pytest.mark.parametrize("base", [0, 9, 51, 255, ERC20_NAMESPACE, ERC20_NAMESPACE + 1])
@pytest.mark.parametrize("key_first", [True, False])
@pytest.mark.parametrize("path", [(OWNER,), (OWNER, SPENDER)])
def test_a_layout_is_derived_and_leads_to_the_same_slot(base: int, key_first: bool, path: tuple[Address, ...]) -> None:
    slot = Slot(STORAGE, mapping_key(base, path, key_first))
    assert derive_layout(slot, path) == Layout(STORAGE, base, key_first)
    assert Layout(STORAGE, base, key_first).slot(path) == slot


def test_an_unusual_base_has_no_layout() -> None:
    assert derive_layout(Slot(STORAGE, mapping_key(10_000, [OWNER], key_first=True)), [OWNER]) is None


def test_the_selectors_are_those_of_erc20() -> None:
    assert keccak(b"balanceOf(address)")[:4] == tokens.BALANCE_OF
    assert keccak(b"allowance(address,address)")[:4] == tokens.ALLOWANCE
    assert keccak(b"approve(address,uint256)")[:4] == tokens.APPROVE


class TokenNode:
    """Answers `eth_createAccessList` with some slots and `eth_call` as a token that reads `true_slot`, plus `inflation`."""

    def __init__(self, slots: Sequence[Slot], true_slot: Slot | None, inflation: int = 0) -> None:
        self.slots, self.true_slot, self.inflation = slots, true_slot, inflation
        self.asked: list[str] = []
        self.trouble: ChainError | None = None

    async def request(self, method: str, params: Sequence[Any] = ()) -> Any:
        self.asked.append(method)
        if self.trouble is not None:
            raise self.trouble
        listed = [{"address": to_hex(slot.contract), "storageKeys": [to_hex(slot.key)]} for slot in self.slots]
        return {"accessList": listed, "gasUsed": "0x5208"}

    async def batch(self, entries: Sequence[tuple[str, Sequence[Any]]]) -> list[Any | ChainError]:
        return [self._call(params[2]) for _, params in entries]

    def _call(self, overrides: dict[str, Any]) -> Any:
        word = None
        if self.true_slot is not None:
            word = (
                overrides.get(to_hex(self.true_slot.contract), {}).get("stateDiff", {}).get(to_hex(self.true_slot.key))
            )
        if word is None:
            return "0x" + "00" * 32
        return "0x" + (int(word, 16) + self.inflation).to_bytes(32, "big").hex()


IMPLEMENTATION = Slot(TOKEN, mapping_key(77_777, [OWNER], key_first=True))
BALANCE = Slot(STORAGE, mapping_key(4, [OWNER], key_first=True))
ODD = Slot(STORAGE, mapping_key(99_999, [OWNER], key_first=True))


async def test_a_proxys_own_words_are_not_taken_for_the_balance() -> None:
    node = TokenNode([IMPLEMENTATION, BALANCE], BALANCE)
    assert await SlotFinder(node).balance(TOKEN, OWNER, head(1)) == BALANCE


async def test_a_known_layout_serves_every_account_without_asking() -> None:
    node = TokenNode([BALANCE], BALANCE)
    finder = SlotFinder(node)
    await finder.balance(TOKEN, OWNER, head(1))
    assert await finder.balance(TOKEN, SPENDER, head(2)) == Layout(STORAGE, 4, key_first=True).slot([SPENDER])
    assert len(node.asked) == 1


async def test_an_unusual_slot_is_remembered_for_its_account_only() -> None:
    node = TokenNode([ODD], ODD)
    finder = SlotFinder(node)
    assert [await finder.balance(TOKEN, OWNER, head(n)) for n in (1, 2)] == [ODD, ODD]
    assert len(node.asked) == 1
    node.slots = []
    assert await finder.balance(TOKEN, SPENDER, head(3)) is None


@pytest.mark.parametrize("inflation", [1, MARKER])
async def test_a_token_that_answers_another_number_is_not_believed(inflation: int) -> None:
    assert await SlotFinder(TokenNode([BALANCE], BALANCE, inflation)).balance(TOKEN, OWNER, head(1)) is None


async def test_a_computed_balance_has_no_slot() -> None:
    assert await SlotFinder(TokenNode([IMPLEMENTATION], None)).balance(TOKEN, OWNER, head(1)) is None


@pytest.mark.parametrize("error", [MethodUnavailable("no access lists"), RpcFailure(-32000, "execution reverted")])
async def test_a_node_without_access_lists_finds_nothing(error: ChainError) -> None:
    node = TokenNode([BALANCE], BALANCE)
    node.trouble = error
    assert await SlotFinder(node).balance(TOKEN, OWNER, head(1)) is None


async def test_a_passing_trouble_is_raised_and_not_remembered() -> None:
    node = TokenNode([BALANCE], BALANCE)
    node.trouble = RateLimited("later")
    finder = SlotFinder(node)
    with pytest.raises(RateLimited):
        await finder.balance(TOKEN, OWNER, head(1))
    node.trouble = None
    assert await finder.balance(TOKEN, OWNER, head(1)) == BALANCE
