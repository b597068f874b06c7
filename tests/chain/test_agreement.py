"""The last word on an order, asked of two hosts at once. Both stand in front of one real node; one of them may lie."""

from __future__ import annotations

from typing import Any

import pytest

from keeper.chain.agreement import Agreement
from keeper.chain.endpoints import Endpoints
from keeper.chain.line import Endpoint
from keeper.chain.translate import reverted
from keeper.core.errors import ChainError, ConfigError, Defect, MethodUnavailable, NodesDisagree, RpcFailure
from keeper.core.units import to_hex
from tests.chain.bench import CHAIN_ID, ECHO, LOGGER, NUMBER, REVERTER, SICK, TOPIC, Bench
from tests.faults import FaultProxy, Manners

SECRET = "canarypath0123456789"
CALL = ("eth_call", [{"to": to_hex(ECHO), "data": "0x1234"}, "latest"])
SIMULATION = (
    "eth_simulateV1",
    [
        {
            "blockStateCalls": [
                {
                    "calls": [
                        {"to": to_hex(NUMBER)},
                        {"to": to_hex(LOGGER), "input": to_hex(TOPIC + bytes(32))},
                        {"to": to_hex(REVERTER), "input": "0x99"},
                    ]
                }
            ]
        },
        "latest",
    ],
)


def elsewhere(proxy: FaultProxy) -> str:
    """The same proxy under another host's name."""
    return proxy.url.replace("127.0.0.1", "localhost")


def pool(*urls: str, **changes: Any) -> Endpoints:
    return Endpoints([Endpoint(f"{url}/v3/{SECRET}", timeout_s=1.0) for url in urls], CHAIN_ID, **changes)


async def test_honest_nodes_agree(bench: Bench, proxy: FaultProxy, second: FaultProxy) -> None:
    async with pool(proxy.url, elsewhere(second)) as rpc:
        agreed = Agreement(rpc, 2)
        assert await agreed.batch([]) == []
        assert await agreed.request(*CALL) == "0x1234"
        [block] = await agreed.request(*SIMULATION)
        assert [call["status"] for call in block["calls"]] == ["0x1", "0x1", "0x0"]
        # What both say reverts has an answer, too.
        with pytest.raises(RpcFailure) as caught:
            await agreed.request("eth_call", [{"to": to_hex(REVERTER), "data": "0x77"}, "latest"])
        assert reverted(caught.value) == b"\x77"
    assert proxy.counts["eth_call"] == second.counts["eth_call"] == 2
    assert proxy.counts["eth_simulateV1"] == second.counts["eth_simulateV1"] == 1


def _lie(where: tuple[Any, ...], says: Any) -> Any:
    def rewrite(method: str, _: list[Any], answer: dict[str, Any]) -> dict[str, Any]:
        if method != "eth_simulateV1":
            return answer
        place: Any = answer["result"]
        for step in where[:-1]:
            place = place[step]
        place[where[-1]] = says
        return answer

    return rewrite


@pytest.mark.parametrize(
    "where, says, told",
    [
        ((0, "calls", 0, "returnData"), "0x" + "00" * 31 + "09", "against 0x0000"),
        ((0, "calls", 0, "gasUsed"), "0x1", "against 0x1"),
        ((0, "calls", 1, "status"), "0x0", "0x1 against 0x0"),
        ((0, "calls", 1, "logs", 0, "data"), "0x" + "01" * 32, "against 0x0101"),
        ((0, "calls", 1, "logs"), [], "a list against a list"),
        ((0, "calls"), [], "a list against a list"),
        ((0, "calls", 0, "returnData"), f"http://node/{SECRET}", "against text of"),
    ],
)
async def test_one_that_lies_is_named(
    bench: Bench, proxy: FaultProxy, second: FaultProxy, where: tuple[Any, ...], says: Any, told: str
) -> None:
    second.on_answer = _lie(where, says)
    async with pool(proxy.url, elsewhere(second)) as rpc:
        with pytest.raises(NodesDisagree) as caught:
            await Agreement(rpc, 2).request(*SIMULATION)
    text = str(caught.value)
    assert text.startswith(f"{proxy.url} and {elsewhere(second)} disagree on eth_simulateV1: ")
    assert told in text
    assert SECRET not in text


@pytest.mark.parametrize("field", ["hash", "stateRoot", "gasLimit"])
async def test_the_looks_of_a_block_that_will_never_be_do_not_matter(
    bench: Bench, proxy: FaultProxy, second: FaultProxy, field: str
) -> None:
    second.on_answer = _lie((0, field), "0x" + "ab" * 32)
    async with pool(proxy.url, elsewhere(second)) as rpc:
        assert await Agreement(rpc, 2).request(*SIMULATION)


async def test_a_result_against_a_revert_is_a_difference(bench: Bench, proxy: FaultProxy, second: FaultProxy) -> None:
    second.on_request = lambda method, _: (
        {"error": {"code": 3, "message": "execution reverted", "data": "0x55"}} if method == "eth_call" else None
    )
    async with pool(proxy.url, elsewhere(second)) as rpc:
        with pytest.raises(NodesDisagree, match="0x1234 against"):
            await Agreement(rpc, 2).request(*CALL)


@pytest.mark.parametrize("manners", SICK)
async def test_one_that_does_not_answer_does_not_agree(
    bench: Bench, proxy: FaultProxy, second: FaultProxy, manners: Manners
) -> None:
    async with pool(proxy.url, elsewhere(second), attempts=2, deadline_s=1.5) as rpc:
        agreed = Agreement(rpc, 2)
        await agreed.request(*CALL)
        second.manners = manners
        with pytest.raises(NodesDisagree) as caught:
            await agreed.request(*CALL)
    assert str(caught.value).startswith(f"2 nodes must agree on eth_call, {proxy.url} answered: {elsewhere(second)}")
    assert SECRET not in str(caught.value)


async def test_a_third_stands_in_for_one_that_is_ill(bench: Bench, proxy: FaultProxy, second: FaultProxy) -> None:
    async with FaultProxy(bench.url, Manners(status=500)) as ill, pool(ill.url, elsewhere(proxy), second.url) as rpc:
        # Two endpoints of one host have one voice: it is heard through the one that is well.
        assert await Agreement(rpc, 2).request(*CALL) == "0x1234"
        assert (proxy.counts["eth_call"], second.counts["eth_call"]) == (1, 1)


async def test_two_endpoints_of_one_host_are_one_voice(proxy: FaultProxy, second: FaultProxy) -> None:
    async with pool(proxy.url, second.url) as rpc:
        with pytest.raises(
            ConfigError, match=r"rpc\.agreement = 2 needs as many rpc_url of different hosts, there is 1"
        ):
            Agreement(rpc, 2)


async def test_a_block_that_one_sees_a_moment_later_is_waited_for(
    bench: Bench, proxy: FaultProxy, second: FaultProxy
) -> None:
    head = await bench.mine(5)
    call = [{"to": to_hex(NUMBER)}, {"blockHash": to_hex(head.hash)}]
    async with pool(proxy.url, elsewhere(second)) as rpc:
        await rpc.check()
        second.manners = Manners(head_number=3, only_next=3)
        await rpc.request("eth_call", call)
        assert int(await Agreement(rpc, 2).request("eth_call", call), 16) == 5
        assert second.counts["eth_call"] > 1


async def test_a_method_that_nobody_offers_is_no_disagreement(
    bench: Bench, proxy: FaultProxy, second: FaultProxy
) -> None:
    async with pool(proxy.url, elsewhere(second)) as rpc:
        with pytest.raises(MethodUnavailable):
            await Agreement(rpc, 2).request("eth_foo")
        proxy.manners = Manners(errors={"eth_simulateV1": {"code": -32601, "message": "no such method"}})
        with pytest.raises(NodesDisagree, match="eth_simulateV1"):
            await Agreement(rpc, 2).request(*SIMULATION)


async def test_a_write_is_never_asked_of_two(bench: Bench, proxy: FaultProxy, second: FaultProxy) -> None:
    async with pool(proxy.url, elsewhere(second)) as rpc:
        for method in ("eth_sendRawTransaction", "eth_sendTransaction", "evm_mine"):
            with pytest.raises(Defect):
                await Agreement(rpc, 2).request(method, ["0x"])
    proxy.assert_none("eth_send")
    second.assert_none("eth_send")


async def test_members_stand_in_their_place(bench: Bench, proxy: FaultProxy, second: FaultProxy) -> None:
    revert = ("eth_call", [{"to": to_hex(REVERTER)}, "latest"])
    async with pool(proxy.url, elsewhere(second)) as rpc:
        answers = await Agreement(rpc, 2).batch([CALL, revert, ("eth_chainId", [])])
    assert [isinstance(answer, ChainError) for answer in answers] == [False, True, False]
