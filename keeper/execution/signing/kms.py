"""A key that never leaves AWS KMS: it is given 32 bytes to sign, and everything else is done here.

AWS finds its own credentials (environment, profile, the machine's role); nothing of them passes through this code. Messages
name AWS's error by its code only: its texts may quote requests.
"""

from __future__ import annotations

import asyncio
from types import ModuleType
from typing import Any

from coincurve import PublicKey

from keeper.core.errors import ConfigError, Defect, Refused, RpcUnreachable
from keeper.core.units import Address, to_hex
from keeper.execution.signing.der import decode_public_key, decode_signature
from keeper.execution.signing.envelope import GROUP_ORDER, HIGHEST_S, address_of, assemble, recover, signing_digest
from keeper.execution.signing.signer import SignedTransaction, TransactionFields

CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 3.0
TRIES = 3
"""Signing twice does no harm: both signatures are of the same transaction."""

_TO_BE_MENDED = {
    "NoCredentialsError": "AWS finds no credentials: set a profile, the environment, or a role of the machine",
    "PartialCredentialsError": "the AWS credentials are incomplete",
    "ProfileNotFound": "the AWS profile does not exist",
    "NoRegionError": "no AWS region: set signer.aws_region",
    "AccessDeniedException": "AWS forbids it: allow kms:GetPublicKey and kms:Sign on this key",
    "NotFoundException": "there is no such key in this AWS region",
    "InvalidArnException": "the key id is no key's ARN",
    "DisabledException": "the key is disabled",
    "KMSInvalidStateException": "the key is disabled or about to be deleted",
    "UnrecognizedClientException": "AWS does not know these credentials",
    "InvalidClientTokenId": "AWS does not know these credentials",
    "InvalidSignatureException": "AWS does not accept the signature made with these credentials; is the clock right?",
    "ExpiredTokenException": "the AWS credentials have expired",
    "UnsupportedOperationException": "the key is not one for signing",
}


class KmsSigner:
    """Signs with one key of the curve secp256k1. `open_kms` makes one."""

    def __init__(self, client: Any, key_id: str, address: Address, failures: tuple[type[Exception], ...]) -> None:
        self._client = client
        self._key_id = key_id
        self._failures = failures
        self.address = address

    def __repr__(self) -> str:
        return f"KmsSigner({to_hex(self.address)})"

    async def sign_transaction(self, fields: TransactionFields) -> SignedTransaction:
        """Raises `Refused` when AWS does not sign now, `Defect` when what it returns is no signature by this key."""
        digest = signing_digest(fields)
        try:
            answer = await asyncio.to_thread(
                self._client.sign,
                KeyId=self._key_id,
                Message=digest,
                MessageType="DIGEST",
                SigningAlgorithm="ECDSA_SHA_256",
            )
        except self._failures as error:
            why = _code(error)
        else:
            return _signed(fields, digest, answer.get("Signature"), self.address)
        raise Refused(f"AWS KMS gave no signature ({why}){_advice(why)}")

    def close(self) -> None:
        self._client.close()


async def open_kms(key_id: str, region: str | None, endpoint_url: str | None) -> KmsSigner:
    """Look at the key. Raises `ConfigError` for what a person must mend, else `ChainError` when AWS does not answer."""
    return await asyncio.to_thread(_open, key_id, region, endpoint_url)


def _open(key_id: str, region: str | None, endpoint_url: str | None) -> KmsSigner:
    botocore = _botocore()
    failures = botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError
    try:
        client = botocore.session.get_session().create_client(
            "kms",
            region_name=region,
            endpoint_url=endpoint_url,
            config=botocore.config.Config(
                connect_timeout=CONNECT_TIMEOUT_S,
                read_timeout=READ_TIMEOUT_S,
                retries={"mode": "standard", "total_max_attempts": TRIES},
            ),
        )
        answer = client.get_public_key(KeyId=key_id)
    except failures as error:
        why = _code(error)
    else:
        return KmsSigner(client, key_id, _address(answer), failures)
    text = f"AWS KMS does not show the key of signer.aws_kms_key_id ({why}){_advice(why)}"
    raise ConfigError(text) if why in _TO_BE_MENDED else RpcUnreachable(text)


def check_library() -> None:
    """Raises `ConfigError` when AWS's library is not installed."""
    _botocore()


def _botocore() -> ModuleType:
    try:
        import botocore.config  # type: ignore[import-untyped]
        import botocore.exceptions  # type: ignore[import-untyped]
        import botocore.session  # type: ignore[import-untyped]
    except ImportError:
        raise ConfigError("signer.aws_kms_key_id needs botocore: install keeper with its extra `aws`") from None
    module: ModuleType = botocore
    return module


def _address(answer: dict[str, Any]) -> Address:
    if answer.get("KeyUsage") != "SIGN_VERIFY" or answer.get("KeySpec") != "ECC_SECG_P256K1":
        raise ConfigError("the key of signer.aws_kms_key_id is not for signing with secp256k1 (ECC_SECG_P256K1)")
    try:
        return address_of(PublicKey(decode_public_key(answer["PublicKey"])))
    except (ValueError, LookupError):
        raise ConfigError("AWS KMS shows no secp256k1 key for signer.aws_kms_key_id") from None


def _signed(fields: TransactionFields, digest: bytes, der: object, signer: Address) -> SignedTransaction:
    try:
        r, s = decode_signature(der if isinstance(der, bytes) else b"")
    except ValueError:
        raise Defect("AWS KMS returned something else than a signature") from None
    s = GROUP_ORDER - s if s > HIGHEST_S else s
    for parity in (0, 1):
        try:
            if recover(digest, parity, r, s) == signer:
                return assemble(fields, parity, r, s)
        except ValueError:
            continue
    raise Defect(f"AWS KMS returned a signature that is not that of {to_hex(signer)}")


def _code(error: Exception) -> str:
    """AWS's own name for what went wrong, without its words."""
    response = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return code if isinstance(code, str) and code.isalnum() else type(error).__name__


def _advice(code: str) -> str:
    return f": {_TO_BE_MENDED[code]}" if code in _TO_BE_MENDED else ""
