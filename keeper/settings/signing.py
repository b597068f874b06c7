"""The tables that say who signs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, Field, model_validator

from keeper.settings.fields import TABLE, Exact, RpcUrl
from keeper.settings.presets import AddressText

KEYS = ("keystore", "remote_url", "aws_kms_key_id")


class Signer(BaseModel):
    """Who signs, in live mode: a keystore, a remote signer or a key in AWS KMS."""

    model_config = TABLE

    keystore: Path | None = None
    """An encrypted V3 keystore file that only its owner can read (mode 0600), or a systemd credential."""
    password_file: Path | None = None
    """A file only its owner can read (mode 0600), or a systemd credential; without it the password is asked for."""
    remote_url: RpcUrl | None = None
    """A signer that answers `eth_signTransaction` (such as web3signer); a secret, like every URL."""
    aws_kms_key_id: str | None = Field(None, min_length=1)
    """Id, ARN or alias of a key of the kind ECC_SECG_P256K1; credentials are found as AWS's own tools find them."""
    aws_region: str | None = None
    """Default: what AWS's environment or profile says."""
    aws_endpoint_url: RpcUrl | None = None
    """Instead of the region's public endpoint."""
    address: AddressText | None = None
    """Whose key it must be. A remote signer needs it; the others are held against it."""
    allowance_bound: Exact | None = None
    """Standing allowance per debt asset in whole tokens; default the balance held at start."""
    most_in_flight: int | None = Field(None, ge=1)
    """So many transactions may be on their way at a time; default what one block can hold, at most 200."""

    expiry_blocks: int | None = Field(None, ge=1)
    """An order that is not mined within so many blocks is cancelled; default twice what its plan must hold for."""

    @model_validator(mode="after")
    def _has_one_key(self) -> Signer:
        given = [name for name in KEYS if getattr(self, name) is not None]
        if len(given) != 1:
            found = f"it has {' and '.join(given)}" if given else "it has none"
            raise ValueError(f"needs exactly one of {', '.join(KEYS)}; {found}")
        if self.remote_url is not None and self.address is None:
            raise ValueError("remote_url needs address beside it: whose key the remote signer is to use")
        if self.password_file is not None and self.keystore is None:
            raise ValueError("password_file opens a keystore; there is none")
        if self.aws_kms_key_id is None and (self.aws_region is not None or self.aws_endpoint_url is not None):
            raise ValueError("aws_region and aws_endpoint_url belong to aws_kms_key_id; there is none")
        return self

    @property
    def key(self) -> tuple[object, ...]:
        """The same for two tables that name one and the same key."""
        if self.address is not None:
            return ("address", self.address.lower())
        return tuple(getattr(self, name) for name in (*KEYS, "aws_region"))


def refuse_shared_keys(signers: Sequence[Signer]) -> None:
    """Raises `ValueError` for two with one key, as far as that shows here: two queues would take each other's nonces."""
    first: dict[tuple[object, ...], int] = {}
    for place, signer in enumerate(signers):
        if first.setdefault(signer.key, place) != place:
            raise ValueError(
                f"signers.{place} has the same key as signers.{first[signer.key]}: each signer needs one of its own"
            )
