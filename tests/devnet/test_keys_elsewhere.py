"""`keeper run --live` with a key that it does not hold, and with relays: real processes that leave nothing secret."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from eth_account import Account

from keeper.core.units import Address, to_hex
from keeper.devnet import admin
from keeper.devnet.market import Bed
from keeper.devnet.throwaway import write_throwaway
from tests.devnet.chain_facts import below_one, nonce
from tests.devnet.commands import Ended
from tests.devnet.keeping import Keeping, keeping
from tests.relays.local_relay import LocalRelay
from tests.signing.stands import CANARY, KmsStand, RemoteStand, serving

REGION = "eu-central-1"


async def crash(bed: Bed) -> dict[Address, int]:
    """Bitcoin loses enough for a few borrowers."""
    await admin.set_answer(bed, "WBTC", await bed.price_base("WBTC") * 88 // 100)
    sick = await below_one(bed, [opening.borrower for opening in bed.openings])
    assert sick
    return sick


async def kept_with(bed: Bed, folder: Path) -> tuple[Keeping, bytes, Address]:
    """A funded keeper whose configuration does not yet say where its key is; the key, and whose it is."""
    kept = await keeping(bed, folder, funded=True)
    assert kept.account is not None
    locked, password = json.loads(kept.account.keystore.read_text()), kept.account.password_file.read_text().strip()
    address, key = kept.account.address, bytes(Account.decrypt(locked, password))
    kept.account.keystore.unlink()
    kept.account.password_file.unlink()
    return kept, key, address


def assert_leaks_nothing(kept: Keeping, ended: Ended, *secrets: str) -> None:
    """Neither in what was written to the terminal nor in any byte of the store."""
    left = b"".join(path.read_bytes() for path in kept.folder.glob("keeper.db*"))
    assert left, "there is a store"
    for secret in secrets:
        assert secret not in ended.out + ended.err
        assert secret.encode() not in left


async def test_a_remote_signer_signs_what_restores_and_its_url_is_nowhere(bed36: Bed, tmp_path: Path) -> None:
    kept, key, address = await kept_with(bed36, tmp_path)
    sick, used = await crash(bed36), await nonce(bed36, address)
    stand = RemoteStand(key=key)
    async with serving(stand.app()) as url:
        kept.tables["signer"] = {"remote_url": f"{url}/{CANARY}?token={CANARY}", "address": to_hex(address)}
        ended = await kept.run_once("--live")
    assert ended.code == 0, ended.err
    restored = {row.borrower for row in kept.events("restored")}
    assert restored
    assert restored <= {to_hex(borrower) for borrower in sick}
    assert used + len(stand.asked) == await nonce(bed36, address), "each of its signatures is mined"
    assert_leaks_nothing(kept, ended, CANARY, key.hex())


@pytest.mark.long
@pytest.mark.parametrize(
    "does, accounts, says",
    [
        ("nonce", None, "another transaction than was asked for: nonce"),
        ("", ["0x" + "ab" * 20], "has no key for"),
        ("refuses", None, "is not unlocked"),
    ],
)
async def test_a_remote_signer_that_does_otherwise_sends_nothing(
    bed36: Bed, tmp_path: Path, does: str, accounts: list[str] | None, says: str
) -> None:
    kept, key, address = await kept_with(bed36, tmp_path)
    used = await nonce(bed36, address)
    await crash(bed36)
    stand = RemoteStand(does, key, accounts)
    async with serving(stand.app()) as url:
        kept.tables["signer"] = {"remote_url": f"{url}/{CANARY}", "address": to_hex(address)}
        ended = await kept.run_once("--live")
    assert ended.code != 0
    assert says in ended.error_line
    assert await nonce(bed36, address) == used
    assert_leaks_nothing(kept, ended, CANARY, key.hex())


@pytest.mark.long
async def test_a_key_in_kms_signs_what_restores_and_no_credential_is_anywhere(
    bed36: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, key, address = await kept_with(bed36, tmp_path)
    await crash(bed36)
    for name, text in (
        ("AWS_ACCESS_KEY_ID", "AKIACANARY"),
        ("AWS_SECRET_ACCESS_KEY", CANARY),
        ("AWS_SESSION_TOKEN", CANARY),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_CONFIG_FILE", "/dev/null"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
    ):
        monkeypatch.setenv(name, text)
    async with serving(KmsStand(key=key).app()) as url:
        kept.tables["signer"] = {"aws_kms_key_id": "alias/keeper", "aws_region": REGION, "aws_endpoint_url": url}
        kept.top["log_level"] = "debug"
        ended = await kept.run_once("--live", fresh=True)
    assert ended.code == 0, ended.err
    assert kept.events("restored")
    assert await nonce(bed36, address) > 0
    assert_leaks_nothing(kept, ended, CANARY, "AKIACANARY", key.hex())


async def test_orders_reach_the_chain_through_relays_alone(bed36: Bed, tmp_path: Path) -> None:
    """Two relays, one of which rejects our signature; a builder behind the other makes every block."""
    kept = await keeping(bed36, tmp_path, funded=True)
    assert kept.account is not None
    await crash(bed36)
    (tmp_path / "known").mkdir()
    reputation = write_throwaway(tmp_path / "known")
    good, bad = LocalRelay(), LocalRelay(known="0x" + "ab" * 20)
    await bed36.chain.rpc.request("evm_setAutomine", [False])
    mined = []

    async def building() -> None:
        while True:
            mined.extend(await good.build(bed36.chain.rpc))
            await asyncio.sleep(0.3)

    async with AsyncExitStack() as stack:
        kept.tables["relays"] = {
            "urls": [await stack.enter_async_context(relay.serving()) for relay in (good, bad)],
            "keystore": str(reputation.keystore),
            "password_file": str(reputation.password_file),
        }
        async with asyncio.TaskGroup() as group:
            builder = group.create_task(building())
            ended = await kept.run_once("--live")
            builder.cancel()
    assert ended.code == 0, ended.err
    sent = {call["transaction_hash"] for row in kept.events("sent") for call in row.fields["calls"]}
    assert sent
    assert sent <= {to_hex(each) for each in mined}, "what was mined came by bundle"
    assert kept.events("restored")
    [told] = {row.fields["detail"] for row in kept.events("alert")}
    assert f"it rejects the signature of the reputation key {to_hex(reputation.address)}" in told
    assert_leaks_nothing(kept, ended, CANARY)
