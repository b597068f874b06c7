"""Trouble with a node ends a command with one line that also says what to do."""

from __future__ import annotations

import pytest

from keeper.chain.subscription import NotOffered
from keeper.cli.advice import with_advice
from keeper.core import errors


def all_kinds(kind: type[errors.ChainError] = errors.ChainError) -> list[type[errors.ChainError]]:
    return [kind, *(each for child in kind.__subclasses__() for each in all_kinds(child))]


SAYS_ENOUGH = (errors.ChainError, errors.WrongChain, errors.RangeRefused, errors.ReorgTooDeep, NotOffered)
"""Whoever raises these says the rest; or the keeper deals with them by itself."""


@pytest.mark.parametrize("kind", [kind for kind in all_kinds() if kind not in SAYS_ENOUGH])
def test_every_kind_of_trouble_with_a_node_has_its_advice(kind: type[errors.ChainError]) -> None:
    error = kind(-32000, "odd") if issubclass(kind, errors.RpcFailure) else kind("odd")
    assert with_advice(error).startswith(f"{error}: ")
    assert len(with_advice(error)) > len(f"{error}: ") + 10


@pytest.mark.parametrize(
    "error",
    [
        errors.MarketError("unknown revision"),
        errors.StoreError("held by pid 7"),
        errors.ChainError("devnet: no new head"),
    ],
)
def test_who_says_what_to_do_is_not_talked_over(error: errors.KeeperError) -> None:
    assert with_advice(error) == str(error)
    assert with_advice(errors.RpcFailure(401, "refuses us; check the key")) == "refuses us; check the key (code 401)"
