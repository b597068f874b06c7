"""`keeper executor …` on the real market: deployed, set up, emptied, looked at; and what it refuses, nothing sent."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from keeper.app import executor
from keeper.app.executor import owner_policy
from keeper.app.executor_check import usable_executor
from keeper.app.ground import reached
from keeper.cli.executor_view import show_state
from keeper.core.block import Call
from keeper.core.errors import ConfigError, Defect, KeeperError
from keeper.core.executor import ExecutorRole
from keeper.core.pauses import BY_PERSON, EVERYBODY, Pause
from keeper.core.units import Address, address_from_hex, to_hex
from keeper.devnet.chain import salted_address
from keeper.execution import executor_calls as calls
from keeper.execution.executor_state import ExecutorState
from keeper.execution.signing.signer import NO_TARGET, TransactionFields
from keeper.settings import Settings
from keeper.store import Store
from tests.contracts.world import OWNER, STRANGER, World
from tests.devnet.chain_facts import nonce
from tests.devnet.keeping import Keeping, keeping

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOBODY = Address(bytes(20))
WHOLE_RAW = 10**6
"""One dollar."""


@pytest_asyncio.fixture(loop_scope="module")
async def kept(world: World, tmp_path: Path) -> Keeping:
    """A keeper with a key and money, and no executor."""
    return await keeping(world.bed, tmp_path, funded=True)


def signer(kept: Keeping) -> Address:
    assert kept.account is not None
    return kept.account.address


def live(kept: Keeping, executor_address: Address | None = None) -> Settings:
    if executor_address is not None:
        kept.chain["executor"] = to_hex(executor_address)
    return kept.settings(mode="live")


async def deployed(kept: Keeping, **roles: Address) -> Settings:
    """With the executor's address in it."""
    named = {"owner": None, "recipient": None, **roles}
    done = await executor.deploy(live(kept), None, named["owner"], named["recipient"], live=True)
    assert done.executor is not None
    return live(kept, done.executor)


async def assert_refused(kept: Keeping, world: World, attempt: Awaitable[object], *words: str) -> None:
    """By one line that says this; and nothing is sent."""
    sent = await nonce(world.bed, signer(kept))
    with pytest.raises(KeeperError) as refused:
        await attempt
    said = str(refused.value)
    assert all(word in said for word in words), said
    assert "\n" not in said
    assert await nonce(world.bed, signer(kept)) == sent


async def test_from_its_deployment_to_an_empty_one(world: World, kept: Keeping) -> None:
    """By commands, as a person gives them."""

    async def keeper(*arguments: str, is_live: bool = False) -> str:
        config = str(kept.write(mode="live" if is_live else "dry"))
        ended = await kept.run("executor", *arguments, *(["--live"] if is_live else []), "--config", config)
        assert (ended.code, ended.err) == (0, ""), ended.err
        return ended.out

    recipient, before = salted_address("cold wallet"), await nonce(world.bed, signer(kept))
    dry = await keeper("deploy", "--recipient", to_hex(recipient))
    assert "nothing was sent" in dry
    assert await nonce(world.bed, signer(kept)) == before
    made = await keeper("deploy", "--recipient", to_hex(recipient), is_live=True)
    [address] = re.findall(r'executor = "(0x\w{40})"', made)
    kept.chain["executor"] = address
    assert "mined" in await keeper("allow", to_hex(world.market), "--as", "market", is_live=True)
    await world.give(world.usdc, 7 * WHOLE_RAW, address_from_hex(address))
    shown = await keeper("show")
    assert "as market" in shown and "7 USDC" in shown and "nobody" in shown
    assert "mined" in await keeper("withdraw", "USDC", is_live=True)
    assert await world.balance_raw(world.usdc, recipient) == 7 * WHOLE_RAW


async def test_what_is_ordered_is_shown(world: World, kept: Keeping) -> None:
    settings = await deployed(kept, recipient=salted_address("cold wallet"))
    roles = {
        world.market: ExecutorRole.MARKET,
        world.morpho.address: ExecutorRole.MORPHO,
        world.pool: ExecutorRole.POOL_V3,
        world.pair: ExecutorRole.PAIR_V2,
        world.uniswap.router: ExecutorRole.ROUTER,
    }
    for target, role in roles.items():
        await executor.allow(settings, None, target, role, None, live=True)
    await executor.allow(settings, None, STRANGER, None, True, live=True)
    await executor.may_lose(settings, None, "USDC", "2.5", live=True)
    state = (await executor.show(settings, None)).state
    assert (state.roles, state.operators) == (roles, (STRANGER,))
    assert state.loss_left_raw == {world.usdc: 5 * WHOLE_RAW // 2}
    await world.give(world.usdc, 7 * WHOLE_RAW, state.identity.address)
    await executor.withdraw(settings, None, "USDC", "3", live=True)
    await executor.allow(settings, None, world.market, ExecutorRole(0), None, live=True)
    await executor.allow(settings, None, STRANGER, None, False, live=True)
    state = (await executor.show(settings, None)).state
    assert state.operators == () and world.market not in state.roles
    assert state.balances_raw[world.usdc] == 4 * WHOLE_RAW
    assert await world.balance_raw(world.usdc, state.identity.recipient) == 3 * WHOLE_RAW


async def test_what_is_deployed_is_ours_and_nothing_else_is(world: World, kept: Keeping) -> None:
    settings = await deployed(kept)
    shown = await executor.show(settings, None)
    assert shown.state.identity.owner == shown.state.identity.recipient == signer(kept)
    for other, words in ((world.market, "is no executor of this keeper"), (STRANGER, "nothing is deployed")):
        settings = live(kept, other)
        await assert_refused(kept, world, executor.show(settings, None), words, to_hex(other), "chains.devnet.executor")
        attempt = executor.withdraw(settings, None, "USDC", None, live=True)
        await assert_refused(kept, world, attempt, words)


async def test_another_version_of_it_is_not_ours(world: World, kept: Keeping) -> None:
    settings = await deployed(kept)
    address = (await executor.show(settings, None)).state.identity.address
    code = await world.bed.chain.rpc.request("eth_getCode", [to_hex(address), "latest"])
    changed = code.replace("5b", "5c", 1)
    await world.bed.chain.rpc.request("anvil_setCode", [to_hex(address), changed])
    await assert_refused(kept, world, executor.show(settings, None), "code hash", "and not")


async def test_an_executor_of_somebody_else_s(world: World, kept: Keeping) -> None:
    settings = live(kept, world.executor)
    attempt = executor.allow(settings, None, world.market, ExecutorRole.MARKET, None, live=True)
    await assert_refused(kept, world, attempt, "is owned by", to_hex(OWNER), to_hex(signer(kept)), "executor_owner")


async def test_somebody_else_s_is_shown_as_that(
    world: World, kept: Keeping, capsys: pytest.CaptureFixture[str]
) -> None:
    for owner, noted in ((None, True), (OWNER, False)):
        if owner is not None:
            kept.chain["executor_owner"] = to_hex(owner)
        show_state(await executor.show(live(kept, world.executor), None))
        assert ("neither the signer nor executor_owner" in capsys.readouterr().out) is noted


async def test_no_gas(world: World, kept: Keeping) -> None:
    await world.bed.chain.fund([signer(kept)], 10**12)
    await assert_refused(kept, world, executor.deploy(live(kept), None, None, None, live=True), "for gas")


async def test_a_fee_cap_under_the_base_fee(world: World, kept: Keeping) -> None:
    kept.tables["fees"] = {"max_fee_gwei": "0.000000001"}
    await assert_refused(kept, world, executor.deploy(live(kept), None, None, None, live=True), "under the base fee")


async def test_a_node_that_is_no_testnet(world: World, kept: Keeping) -> None:
    await world.bed.chain.rpc.request("anvil_setChainId", [1])
    try:
        attempt = executor.deploy(live(kept), None, None, None, live=True)
        await assert_refused(kept, world, attempt, "live is refused on chain 1")
    finally:
        await world.bed.chain.rpc.request("anvil_setChainId", [kept.chain_id])


async def test_live_is_said_twice(world: World, kept: Keeping) -> None:
    attempt = executor.deploy(kept.settings(mode="dry"), None, None, None, live=True)
    await assert_refused(kept, world, attempt, 'mode = "live"')


async def test_while_a_keeper_runs_on_the_store(world: World, kept: Keeping) -> None:
    settings = live(kept)
    async with Store.open(settings.store):
        attempt = executor.deploy(settings, None, None, None, live=True)
        await assert_refused(kept, world, attempt, str(settings.store), "pid")


async def test_a_pause_does_not_keep_the_money_in(world: World, kept: Keeping) -> None:
    settings = await deployed(kept)
    address = (await executor.show(settings, None)).state.identity.address
    await world.give(world.usdc, WHOLE_RAW, address)
    had = await world.balance_raw(world.usdc, signer(kept))
    async with Store.open(settings.store) as store:
        await store.pause(Pause(EVERYBODY, BY_PERSON, "looking into something"))
    await executor.withdraw(settings, None, "USDC", None, live=True)
    assert await world.balance_raw(world.usdc, signer(kept)) == had + WHOLE_RAW


async def test_a_role_that_does_not_fit(world: World, kept: Keeping) -> None:
    settings = await deployed(kept)

    async def refused(target: Address, role: ExecutorRole, *words: str) -> None:
        attempt = executor.allow(settings, None, target, role, None, live=True)
        await assert_refused(kept, world, attempt, *words, to_hex(target))

    await refused(world.pool, ExecutorRole.MARKET, "not the pool of a configured market", to_hex(world.market))
    await refused(world.market, ExecutorRole.POOL_V3, "does not answer as a pool")
    await refused(world.pool, ExecutorRole.PAIR_V2, "does not answer as a pair")
    await refused(world.pair, ExecutorRole.MORPHO, "does not answer as a morpho")
    await refused(world.usdc, ExecutorRole.ROUTER, "is a token")
    await refused(world.market, ExecutorRole.ROUTER, "is a market")
    await refused(world.pool, ExecutorRole.ROUTER | ExecutorRole.POOL_V3, "cannot be a router and something else")
    await refused(STRANGER, ExecutorRole.ROUTER, "no contract")
    await refused(NOBODY, ExecutorRole.ROUTER, "cannot be given a role")


async def test_amounts_and_tokens_that_are_none(world: World, kept: Keeping) -> None:
    settings = await deployed(kept)
    for token, whole, words in (
        ("USDC", "1.1234567", "no amount of a token with 6 decimals"),
        ("USDC", "-1", "no amount"),
        ("USDC", "ten", "no amount"),
        ("SHELL", "1", "not an address"),
        (to_hex(world.market), "1", "does not say its decimals"),
        ("USDC", "1", "holds 0"),
        ("USDC", None, "holds 0"),
    ):
        await assert_refused(kept, world, executor.withdraw(settings, None, token, whole, live=True), words)


async def test_what_a_keeper_needs_is_named_when_it_is_missing(world: World, kept: Keeping) -> None:
    """Not on the list: who operates, a market, a router. And an owner who is neither the signer nor named."""
    settings = await deployed(kept)
    needed = {world.market: ExecutorRole.MARKET, world.uniswap.router: ExecutorRole.ROUTER}

    async def usable(owner: Address | None = None, beside: Sequence[Address] = ()) -> ExecutorState:
        chain = settings.chains["devnet"].model_copy(
            update={"executor_owner": None if owner is None else to_hex(owner)}
        )
        async with reached("devnet", settings, chain) as ground:
            return await usable_executor(
                "devnet", chain, ground.rpc, ground.client, ground.head, [signer(kept), *beside], needed
            )

    async def lacking(*words: str) -> None:
        with pytest.raises(ConfigError) as refused:
            await usable()
        assert all(word in str(refused.value) for word in ("chains.devnet.executor", *words)), str(refused.value)

    await lacking("none of the operators", "--as operator")
    await executor.allow(settings, None, signer(kept), None, True, live=True)
    await lacking("market", to_hex(world.market), "not on the list", "--as market")
    await executor.allow(settings, None, world.market, ExecutorRole.MARKET, None, live=True)
    await lacking("router", to_hex(world.uniswap.router), "--as router")
    await executor.allow(settings, None, world.uniswap.router, ExecutorRole.ROUTER, None, live=True)
    assert (await usable()).operators == (signer(kept),)
    with pytest.raises(ConfigError, match="is owned by"):
        await usable(OWNER)
    with pytest.raises(
        ConfigError, match=f"{to_hex(OWNER)} is none of the operators.*allow {to_hex(OWNER)} --as operator"
    ):
        await usable(beside=[OWNER])
    await executor.allow(settings, None, OWNER, None, True, live=True)
    assert set((await usable(beside=[OWNER])).operators) == {signer(kept), OWNER}


async def test_a_live_keeper_does_not_start_with_an_executor_of_somebody_else_s(world: World, kept: Keeping) -> None:
    kept.chain["executor"] = to_hex(world.executor)
    ended = await kept.run_once("--live")
    assert ended.code == 2
    assert "is owned by" in ended.error_line and to_hex(OWNER) in ended.error_line


async def test_what_an_owner_s_key_may_sign() -> None:
    """The order itself; not another's, and no operator's call."""
    contract, other, key = (Address(bytes([n]) * 20) for n in range(3))

    def signable(order: Call, asked: Call) -> bool:
        fields = TransactionFields(1, 0, asked, 100_000, 10, 1)
        try:
            owner_policy(1, 10, order).check(fields, key)
        except Defect:
            return False
        return True

    allow = calls.encode_allow(contract, other, ExecutorRole.MARKET)
    creation = Call(NO_TARGET, b"code")
    assert signable(allow, calls.encode_withdraw(contract, other, None)) and signable(creation, creation)
    for asked in (Call(other, allow.calldata), Call(contract, calls.EXECUTE), creation, Call(contract, b"")):
        assert not signable(allow, asked)
    for asked in (Call(NO_TARGET, b"other code"), allow):
        assert not signable(creation, asked)


async def test_no_secret_is_told(world: World, kept: Keeping) -> None:
    """Of the key, of its password, of the node's address beyond its host."""
    assert kept.account is not None
    kept.rpc_url += "/s3cr3t-p4th"
    config = str(kept.write(mode="live"))
    ended = await kept.run("executor", "deploy", "--live", "--config", config)
    told = ended.out + ended.err + json.dumps([str(row) for row in kept.events()])
    assert kept.account.password_file.read_text().strip() not in told
    assert "s3cr3t" not in told
