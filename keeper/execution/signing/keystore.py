"""A key from an encrypted V3 keystore file.

Every refusal is a `ConfigError` of one line that names the file and the fix, without a cause or a context: what went
wrong inside the decryption may quote what it was given.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from coincurve import PrivateKey
from eth_account import Account
from eth_account.signers.local import LocalAccount

from keeper.core.errors import ConfigError
from keeper.core.units import Address, to_hex
from keeper.execution.signing.envelope import assemble, signing_digest
from keeper.execution.signing.reputation import ReputationKey
from keeper.execution.signing.signer import SignedTransaction, TransactionFields

MAX_KEYSTORE_BYTES = 64 * 1024
MAX_PASSWORD_BYTES = 4096

_NOT_OPENED = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    NotImplementedError,
    ArithmeticError,
    AssertionError,
    MemoryError,
)
"""What the library raises for a wrong password, and for files with odd parameters."""

PasswordSource = Callable[[], str]
"""Asked once, when the key is unlocked. Raises `ConfigError`."""


class KeystoreSigner:
    """Holds the key in memory. Shows nothing of it: neither printed, nor pickled, nor compared."""

    __slots__ = ("_key", "address")

    def __init__(self, account: LocalAccount) -> None:
        self._key = PrivateKey(bytes(account.key))
        self.address = Address(bytes.fromhex(account.address[2:]))

    async def sign_transaction(self, fields: TransactionFields) -> SignedTransaction:
        """The same bytes as `eth_account` makes, in a fifth of its time: an order waits for this."""
        signature = self._key.sign_recoverable(signing_digest(fields), hasher=None)
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
        return assemble(fields, signature[64], r, s)

    def __repr__(self) -> str:
        return f"KeystoreSigner({to_hex(self.address)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not pickled")


def load_keystore(path: Path, password: PasswordSource) -> KeystoreSigner:
    """Unlock a keystore. Raises `ConfigError`; the password is asked for only when the file itself is fine."""
    return KeystoreSigner(_account(path, password))


def load_reputation(path: Path, password: PasswordSource) -> ReputationKey:
    """The same, for the key under which relays know us."""
    return ReputationKey(_account(path, password))


def _account(path: Path, password: PasswordSource) -> LocalAccount:
    keystore = read_keystore(path)
    account = _unlock(keystore, password)
    if account is None:
        raise ConfigError(f"keystore {path} does not open: wrong password, or the file is damaged")
    claimed, found = named_address(keystore), Address(bytes.fromhex(account.address[2:]))
    if claimed not in (None, found):
        named = keystore["address"]
        raise ConfigError(f"keystore {path} names address {named!s:.50} but holds the key of {to_hex(found)}")
    return account


def read_keystore(path: Path) -> dict[str, Any]:
    """The file, still locked. Raises `ConfigError`."""
    keystore = _parse(read_private_file(path, "keystore", MAX_KEYSTORE_BYTES))
    if keystore is None:
        raise ConfigError(f"keystore {path} is no V3 keystore file: create one, for example with `geth account new`")
    return keystore


def named_address(keystore: Mapping[str, Any]) -> Address | None:
    """Whose key the file says it holds; None when it does not say. It may be wrong: only unlocking shows. Nobody's (0x00…)
    when what it says is no address."""
    claimed = str(keystore.get("address", "")).lower().removeprefix("0x")
    if not claimed:
        return None
    return Address(bytes.fromhex(claimed)) if re.fullmatch("[0-9a-f]{40}", claimed) else Address(bytes(20))


def password_from_prompt(ask: Callable[[str], str], path: Path) -> PasswordSource:
    """`ask` is `getpass.getpass` in earnest."""

    def source() -> str:
        try:
            return ask(f"password for {path}: ")
        except EOFError:
            raise ConfigError(f"no password for {path}: no terminal to ask on; name a password file") from None

    return source


def password_from_file(path: Path, credentials_directory: Path | None = None) -> PasswordSource:
    """The file's first line. It must be private (mode 0600), or lie in the folder in which systemd hands a unit its
    credentials (`$CREDENTIALS_DIRECTORY`), which systemd keeps to the unit by other means."""

    def source() -> str:
        content = read_private_file(path, "password file", MAX_PASSWORD_BYTES, credentials_directory)
        try:
            lines = content.decode().splitlines()
        except UnicodeDecodeError:
            lines = []
        if not lines or not lines[0]:
            raise ConfigError(f"password file {path} holds no password on its first line")
        return lines[0]

    return source


def read_private_file(path: Path, what: str, most_bytes: int, credentials_directory: Path | None = None) -> bytes:
    """Content of a regular file that only its owner can read; checked on the opened file. Raises `ConfigError`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise ConfigError(f"{what} {path} does not exist") from None
    except OSError as error:
        raise ConfigError(f"{what} {path} cannot be opened: {error.strerror}") from None
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise ConfigError(f"{what} {path} is not a file")
        permissions = stat.S_IMODE(mode)
        if permissions & 0o077 and not _is_credential(path, credentials_directory, permissions):
            raise ConfigError(f"{what} {path} is open to others (mode {permissions:04o}): chmod 600 {path}")
        content = os.read(descriptor, most_bytes + 1)
    finally:
        os.close(descriptor)
    if len(content) > most_bytes:
        raise ConfigError(f"{what} {path} is larger than {most_bytes} bytes")
    return content


def _is_credential(path: Path, directory: Path | None, permissions: int) -> bool:
    """systemd's credentials are read-only, at most group-readable (0400 or 0440), directly in their folder."""
    if directory is None or permissions & ~0o440:
        return False
    return path.resolve().parent == directory.resolve()


def _parse(content: bytes) -> dict[str, Any] | None:
    try:
        keystore = json.loads(content)
    except ValueError:
        return None
    if not isinstance(keystore, dict) or keystore.get("version") != 3:
        return None
    return keystore if isinstance(keystore.get("crypto", keystore.get("Crypto")), dict) else None


def _unlock(keystore: dict[str, Any], password: PasswordSource) -> LocalAccount | None:
    """None instead of an exception: no traceback leads to a frame that holds the password or the key."""
    secret = password()
    try:
        account: LocalAccount = Account.from_key(Account.decrypt(keystore, secret))
        return account
    except _NOT_OPENED:
        return None
