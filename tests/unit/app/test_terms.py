"""Settings of the endpoints as the pool receives them."""

from __future__ import annotations

from typing import Any

import pytest

from keeper.app.terms import desk_terms, endpoints_of, final_rpc
from keeper.chain.agreement import Agreement
from keeper.chain.rpc import Entry
from keeper.core.errors import ConfigError
from keeper.settings import Chain

PROVIDER = "0x012bAC54348C0E635dCAc9D5FB99f06F24136C9A"
CALL: Entry = ("eth_call", [{}, "latest"])
HEAD: Entry = ("eth_blockNumber", [])


def chain_of(*urls: str, **rpc: Any) -> Chain:
    return Chain.model_validate({"rpc_url": list(urls), "addresses_provider": PROVIDER, "rpc": rpc})


@pytest.mark.parametrize("most_in_flight, longest", [(None, 3), (1, 1), (2, 2), (50, 3)])
def test_no_sequence_is_longer_than_what_may_be_on_its_way(most_in_flight: int | None, longest: int) -> None:
    """It would wait for room for ever."""
    signer = {"keystore": "key.json", "most_in_flight": most_in_flight}
    chain = Chain.model_validate({"rpc_url": "http://127.0.0.1:1", "addresses_provider": PROVIDER, "signer": signer})
    assert desk_terms(chain, 10**8, None, 12.0, on_demand=False).policy.most_calls == longest


async def test_one_voice_is_the_pool_itself() -> None:
    chain = chain_of("http://127.0.0.1:1")
    async with endpoints_of(chain, 1) as pool:
        assert final_rpc("x", chain, pool) is pool


async def test_two_voices_are_of_two_hosts() -> None:
    chain = chain_of("http://127.0.0.1:1", "http://localhost:1", agreement=2)
    async with endpoints_of(chain, 1) as pool:
        assert isinstance(final_rpc("x", chain, pool), Agreement)


@pytest.mark.parametrize(
    "urls", [["http://a.example/v2/key"], ["http://a.example/v2/key", "http://a.example:81/v2/key"]]
)
async def test_two_voices_of_one_host_are_refused_with_the_way_out(urls: list[str]) -> None:
    chain = chain_of(*urls, agreement=2)
    async with endpoints_of(chain, 1) as pool:
        with pytest.raises(ConfigError) as caught:
            final_rpc("x", chain, pool)
    text = str(caught.value)
    assert text.startswith("chains.x: rpc.agreement = 2 needs as many rpc_url of different hosts, there is 1: add an")
    assert "key" not in text


async def test_every_kind_of_request_has_its_deadline_and_timeout_s_bounds_them() -> None:
    chain = chain_of("http://127.0.0.1:1", timeout_s=5.0, deadlines_s={"head": 1.5, "state": 30})
    async with endpoints_of(chain, 1) as pool:
        [line] = pool.lines
        assert (line.deadline_s([HEAD]), line.deadline_s([CALL])) == (1.5, 5.0)
