"""Which key a signer's table leads to; that it is the configured one; and that nothing secret of it is shown."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from keeper.app.keys import KeyRing
from keeper.app.relays import private_routes
from keeper.core.errors import ConfigError, RpcUnreachable
from keeper.core.events import Event
from keeper.core.standing import Standing
from keeper.core.units import Address, address_from_hex, to_hex
from keeper.execution.signing.envelope import decode_signed
from keeper.settings import Chain
from keeper.settings.relays import Relays
from keeper.settings.signing import Signer
from keeper.telemetry.redact import Redactor
from tests.signing.stands import ADDRESS, CANARY, KEY, KmsStand, RemoteStand, serving
from tests.signing.test_kms import aws_environment  # noqa: F401  # a fixture
from tests.signing.test_remote import FIELDS

PASSWORD = f"{CANARY}-password"
OTHER_ADDRESS = "0x" + "ab" * 20


@pytest.fixture
def redactor() -> Redactor:
    return Redactor()


@pytest.fixture
async def ring(redactor: Redactor) -> AsyncIterator[KeyRing]:
    async with KeyRing(redactor) as ring:
        yield ring


def by_keystore(folder: Path, **more: str) -> Signer:
    path, password = folder / "keystore.json", folder / "password"
    path.write_text(json.dumps(Account.encrypt(KEY, PASSWORD, kdf="pbkdf2", iterations=10)))
    password.write_text(PASSWORD)
    for each in (path, password):
        each.chmod(0o600)
    return Signer.model_validate({"keystore": path, "password_file": password, **more})


async def test_a_keystore_is_unlocked_once_and_its_password_masked(
    tmp_path: Path, ring: KeyRing, redactor: Redactor
) -> None:
    signing = by_keystore(tmp_path, address=to_hex(ADDRESS))
    signer = await ring.open(signing)
    (tmp_path / "password").unlink()
    assert await ring.open(signing) is signer
    assert await ring.open(signing.model_copy(update={"most_in_flight": 3})) is signer, "another chain's table"
    assert (await signer.sign_transaction(FIELDS)).raw[0] == 2
    assert PASSWORD not in redactor.clean(f"opened with {PASSWORD}")


async def test_a_keystore_for_another_address_is_one_line(tmp_path: Path, ring: KeyRing) -> None:
    with pytest.raises(ConfigError, match=f"is for {to_hex(ADDRESS)}, but address says {OTHER_ADDRESS}") as caught:
        await ring.open(by_keystore(tmp_path, address=OTHER_ADDRESS))
    assert "\n" not in str(caught.value)
    assert PASSWORD not in str(caught.value)


async def test_a_remote_signer_is_asked_for_the_key_and_its_url_masked(ring: KeyRing, redactor: Redactor) -> None:
    stand = RemoteStand()
    async with serving(stand.app()) as url:
        signing = Signer.model_validate({"remote_url": f"{url}/v1/{CANARY}", "address": to_hex(ADDRESS)})
        signed = await (await ring.open(signing)).sign_transaction(FIELDS)
    assert decode_signed(signed.raw).sender == ADDRESS
    assert stand.paths == [f"/v1/{CANARY}"] * 2
    assert CANARY not in redactor.clean(f"asked {url}/v1/{CANARY}") + repr(signing) + str(signing)


async def test_a_remote_signer_without_the_key_or_away_is_told(ring: KeyRing) -> None:
    async with serving(RemoteStand(accounts=[]).app()) as url:
        signing = Signer.model_validate({"remote_url": f"{url}/{CANARY}", "address": to_hex(ADDRESS)})
        with pytest.raises(ConfigError, match="no key for") as caught:
            await ring.open(signing)
    with pytest.raises(RpcUnreachable) as away:
        await ring.open(signing)
    assert CANARY not in str(caught.value) + str(away.value)


async def test_a_key_in_kms_is_held_against_the_address(ring: KeyRing) -> None:
    async with serving(KmsStand().app()) as url:
        table = {"aws_kms_key_id": "alias/keeper", "aws_region": "eu-central-1", "aws_endpoint_url": url}
        signer = await ring.open(Signer.model_validate({**table, "address": to_hex(ADDRESS)}))
        assert decode_signed((await signer.sign_transaction(FIELDS)).raw).sender == ADDRESS
        with pytest.raises(ConfigError, match="aws_kms_key_id is for"):
            await ring.open(Signer.model_validate({**table, "address": OTHER_ADDRESS}))


async def test_the_reputation_key_is_unlocked_once_and_its_relays_masked(
    tmp_path: Path, ring: KeyRing, redactor: Redactor
) -> None:
    signing = by_keystore(tmp_path)
    relays = Relays.model_validate(
        {"urls": f"https://relay/{CANARY}", "keystore": signing.keystore, "password_file": signing.password_file}
    )
    key = ring.reputation(relays)
    (tmp_path / "password").unlink()
    assert ring.reputation(relays) is key
    assert key.address == ADDRESS
    assert KEY.hex() not in repr(key) + str(key.headers(b"{}"))
    assert CANARY not in redactor.clean(f"asked https://relay/{CANARY}")


async def test_relays_are_not_told_the_signers_own_key(tmp_path: Path, ring: KeyRing) -> None:
    """By what the keystores hold, whatever their names say."""
    signing = by_keystore(tmp_path)
    relays = {"urls": "http://127.0.0.1:1", "keystore": signing.keystore, "password_file": signing.password_file}
    chain = Chain.model_validate(
        {"rpc_url": "http://127.0.0.1:1", "addresses_provider": OTHER_ADDRESS, "relays": relays}
    )
    async with AsyncExitStack() as stack:
        with pytest.raises(
            ConfigError, match=f"chains.devnet.relays.keystore holds the signer's own key {to_hex(ADDRESS)}"
        ):
            await private_routes("devnet", chain, ring, {ADDRESS: never}, Nowhere(), Untold(), stack, 1)
        other = address_from_hex(OTHER_ADDRESS)
        assert list(await private_routes("devnet", chain, ring, {other: never}, Nowhere(), Untold(), stack, 1)) == [
            other
        ]
        without = chain.model_copy(update={"relays": None})
        assert await private_routes("devnet", without, ring, {ADDRESS: never}, Nowhere(), Untold(), stack, 1) == {}


async def never() -> bool:
    return False


class Nowhere:
    """No node."""

    async def request(self, method: str, params: Sequence[Any] = ()) -> Any:
        raise AssertionError(method)

    async def batch(self, entries: Sequence[tuple[str, Sequence[Any]]]) -> Sequence[Any]:
        raise AssertionError(entries)


class Untold:
    """A journal that is not written."""

    async def record(self, events: Sequence[Event]) -> None:
        raise AssertionError(events)

    async def record_standing(
        self, chain: str, market: Address, block_number: int, standing: Mapping[Address, Standing]
    ) -> None:
        raise AssertionError(chain)
