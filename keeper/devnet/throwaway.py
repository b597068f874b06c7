"""A fresh key for one devnet, in a keystore of its own: worth nothing anywhere else, gone with its folder."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from eth_account import Account

from keeper.core.units import Address, address_from_hex

_ROUNDS = 1_000
"""Of key stretching: few, since nobody gains anything from the key."""


@dataclass(frozen=True)
class Throwaway:
    """An account whose key lies in `keystore`, locked with the first line of `password_file`; both mode 0600."""

    address: Address
    keystore: Path
    password_file: Path


def write_throwaway(folder: Path) -> Throwaway:
    """Make a key and write it into an existing folder of our own. Raises FileExistsError rather than replace one."""
    account = Account.create()
    password = secrets.token_hex(16)
    made = Throwaway(address_from_hex(account.address), folder / "keystore.json", folder / "password")
    _write_private(made.password_file, password + "\n")
    _write_private(made.keystore, json.dumps(Account.encrypt(account.key, password, kdf="pbkdf2", iterations=_ROUNDS)))
    return made


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as handle:
        handle.write(text)
