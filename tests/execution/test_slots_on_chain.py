"""Slots found on the real thing: plain tokens, tokens behind proxies, and tokens that cannot be dealt."""

from __future__ import annotations

from keeper.chain.blocks import read_header
from keeper.core.block import Call
from keeper.core.units import Address, to_hex
from keeper.devnet.chain import salted_address
from keeper.devnet.market import Bed
from keeper.execution.funding import DealtFunding
from keeper.execution.pinned import PinnedReads
from keeper.execution.simulate import state_overrides
from keeper.execution.slots import SlotFinder
from keeper.execution.tokens import encode_allowance, encode_balance_of

KEEPER = salted_address("keeper")
FORWARDER = salted_address("a token that keeps its balances in another contract")


def forwarding_code(target: Address) -> str:
    """Run-time code that passes every call on to `target` and returns what it answers."""
    return f"0x363d3d373d3d363d3d73{target.hex()}5af13d5f5f3e3d5ff3"


async def test_every_debt_asset_can_be_dealt(bed: Bed) -> None:
    head = await read_header(bed.chain.rpc, "latest")
    funding = DealtFunding(SlotFinder(bed.chain.rpc), KEEPER)
    pool = bed.deployment.pool
    needs = {(asset.token, pool): 10 ** (asset.decimals + 3) for asset in bed.deployment.assets.values()}
    dealt = await funding.deal(needs, head)
    assert dealt.undealable == frozenset()
    overrides = state_overrides(dealt)
    for (token, spender), amount_raw in needs.items():
        for calldata in (encode_balance_of(KEEPER), encode_allowance(KEEPER, spender)):
            call = {"to": to_hex(token), "input": to_hex(calldata)}
            answer = await bed.chain.rpc.request("eth_call", [call, "latest", overrides])
            assert int(answer, 16) == 2 * amount_raw
    untouched = await PinnedReads(bed.chain.rpc).read(
        [Call(token, encode_balance_of(KEEPER)) for token, _ in needs], head
    )
    assert [int.from_bytes(result.returndata) for result in untouched] == [0] * len(needs)


async def test_a_token_behind_a_proxy_is_dealt_in_the_proxys_storage(bed: Bed) -> None:
    """The market's receipt tokens are proxies; their allowances are plain words, their balances are computed."""
    await bed.chain.advance(86_400 * 30)
    head = await read_header(bed.chain.rpc, "latest")
    finder = SlotFinder(bed.chain.rpc)
    token = bed.asset("DAI").a_token
    allowance = await finder.allowance(token, KEEPER, bed.deployment.pool, head)
    assert allowance is not None
    assert allowance.contract == token
    assert await finder.balance(token, KEEPER, head) is None


async def test_a_token_that_keeps_its_balances_elsewhere_is_dealt_there(bed36: Bed) -> None:
    token = bed36.asset("DAI").token
    await bed36.chain.rpc.request("anvil_setCode", [to_hex(FORWARDER), forwarding_code(token)])
    await bed36.chain.mine()
    head = await read_header(bed36.chain.rpc, "latest")
    slot = await SlotFinder(bed36.chain.rpc).balance(FORWARDER, KEEPER, head)
    assert slot is not None
    assert slot.contract == token


async def test_an_address_without_code_has_no_slot(bed36: Bed) -> None:
    head = await read_header(bed36.chain.rpc, "latest")
    funding = DealtFunding(SlotFinder(bed36.chain.rpc), KEEPER)
    debt = (salted_address("nobody"), bed36.deployment.pool)
    assert (await funding.deal({debt: 1}, head)).undealable == frozenset({debt})
