"""A key in AWS KMS: DER to r, low s and v; AWS's troubles in one line without its words, which quote requests."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from keeper.core.errors import ConfigError, Defect, Refused, RpcUnreachable
from keeper.execution.signing import kms
from keeper.execution.signing.envelope import decode_signed
from keeper.execution.signing.kms import KmsSigner, open_kms
from keeper.execution.signing.policy import GuardedSigner
from tests.signing.stands import ADDRESS, CANARY, KmsStand, serving
from tests.signing.test_remote import FIELDS, POLICY

KEY_ID = "alias/keeper"
REGION = "eu-central-1"


@pytest.fixture(autouse=True)
def aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials as a machine would have them, and nothing of this one's."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIACANARY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    monkeypatch.setenv("AWS_SESSION_TOKEN", CANARY)


@asynccontextmanager
async def opened(stand: KmsStand, later: str = "", times: int = 1_000) -> AsyncIterator[KmsSigner]:
    """`later` is what it does once the key was shown."""
    async with serving(stand.app()) as url:
        signer = await open_kms(KEY_ID, REGION, url)
        try:
            stand.does, stand.times = later, times
            yield signer
        finally:
            signer.close()


async def test_the_address_comes_from_the_key_and_the_signature_is_made_valid() -> None:
    stand = KmsStand()
    async with opened(stand) as signer:
        assert signer.address == ADDRESS
        signed = await GuardedSigner(signer, POLICY).sign_transaction(FIELDS)
    assert decode_signed(signed.raw).sender == ADDRESS
    assert stand.targets == ["TrentService.GetPublicKey", "TrentService.Sign"]
    assert all(body["KeyId"] == KEY_ID for body in stand.bodies)
    assert all("AKIACANARY" in each and f"{REGION}/kms" in each for each in stand.authorizations)


async def test_a_high_s_becomes_the_low_one() -> None:
    async with opened(KmsStand(), "high_s") as signer:
        signed = await GuardedSigner(signer, POLICY).sign_transaction(FIELDS)
    assert decode_signed(signed.raw).sender == ADDRESS


async def test_both_parities_come_out_right() -> None:
    """One signature in two has an odd y: over a dozen nonces both occur."""
    async with opened(KmsStand()) as signer:
        guarded = GuardedSigner(signer, POLICY)
        fields = [type(FIELDS)(31337, nonce, FIELDS.call, 500_000, 99, 2) for nonce in range(12)]
        signed = await asyncio.gather(*(guarded.sign_transaction(each) for each in fields))
    assert {decode_signed(each.raw).sender for each in signed} == {ADDRESS}


@pytest.mark.parametrize(
    "does, words",
    [
        ("malformed", "something else than a signature"),
        ("truncated", "something else than a signature"),
        ("empty", "something else than a signature"),
        ("other_key", "not that of"),
        ("other_digest", "not that of"),
    ],
)
async def test_what_is_no_signature_of_this_key_is_a_defect(does: str, words: str) -> None:
    async with opened(KmsStand(), does) as signer:
        with pytest.raises(Defect, match=words):
            await GuardedSigner(signer, POLICY).sign_transaction(FIELDS)


@pytest.mark.parametrize(
    "does, words",
    [
        ("ThrottlingException", "ThrottlingException"),
        ("AccessDeniedException", "kms:Sign"),
        ("ExpiredTokenException", "expired"),
        ("KMSInvalidStateException", "disabled"),
        ("html", "502"),
    ],
)
async def test_no_signature_is_a_refusal_without_aws_own_words(
    does: str, words: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kms, "TRIES", 1)
    async with opened(KmsStand(), does) as signer:
        with caplog.at_level(logging.WARNING), pytest.raises(Refused, match=words) as caught:
            await signer.sign_transaction(FIELDS)
    text = str(caught.value)
    assert "\n" not in text
    assert not any(secret in text + caplog.text + repr(signer) for secret in (CANARY, "AKIACANARY"))
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


async def test_throttling_that_passes_is_waited_for() -> None:
    stand = KmsStand()
    async with opened(stand, "ThrottlingException", times=1) as signer:
        assert (await signer.sign_transaction(FIELDS)).raw[0] == 2
    assert stand.targets.count("TrentService.Sign") == 2


@pytest.mark.parametrize(
    "does, words",
    [
        ("other_curve", "ECC_SECG_P256K1"),
        ("other_usage", "ECC_SECG_P256K1"),
        ("bad_spki", "no secp256k1 key"),
        ("off_curve", "no secp256k1 key"),
        ("NotFoundException", "no such key"),
        ("AccessDeniedException", "kms:GetPublicKey"),
        ("UnrecognizedClientException", "does not know"),
    ],
)
async def test_a_key_that_cannot_be_used_is_one_line_for_a_person(does: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        async with opened(KmsStand(does)):
            pass
    assert "\n" not in str(caught.value)
    assert CANARY not in str(caught.value)


async def test_an_aws_that_does_not_answer_is_no_matter_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kms, "TRIES", 1)
    async with serving(KmsStand().app()) as url:
        pass
    with pytest.raises(RpcUnreachable, match="EndpointConnectionError") as caught:
        await open_kms(KEY_ID, REGION, f"{url}/{CANARY}")
    assert CANARY not in str(caught.value)


async def test_missing_credentials_region_and_library_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"aws_region"):
        await open_kms(KEY_ID, None, None)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    with pytest.raises(ConfigError, match="no credentials"):
        await open_kms(KEY_ID, REGION, "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "botocore.config", None)
    with pytest.raises(ConfigError, match="extra `aws`"):
        await open_kms(KEY_ID, REGION, None)
