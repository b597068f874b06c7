"""The keys of a live run: unlocked when first needed, each once. Nothing of `eth_account` is loaded before."""

from __future__ import annotations

import asyncio
import getpass
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from keeper.telemetry.redact import Redactor

if TYPE_CHECKING:
    from keeper.execution.signing.keystore import KeystoreSigner, PasswordSource

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class KeyRing:
    """A chain that starts anew does not ask for the password again. Passwords are masked wherever they might be shown."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._opened: dict[Path, KeystoreSigner] = {}

    def open(self, keystore: Path, password_file: Path | None) -> KeystoreSigner:
        """Raises `ConfigError`; `CancelledError` when somebody would rather stop than answer."""
        from keeper.execution.signing.keystore import load_keystore

        if keystore not in self._opened:
            self._opened[keystore] = load_keystore(keystore, self._masked(_password(keystore, password_file)))
        return self._opened[keystore]

    def _masked(self, source: PasswordSource) -> PasswordSource:
        def password() -> str:
            secret = source()
            self._redactor.add(secret)
            return secret

        return password


def check_files(keystore: Path, password_file: Path | None) -> None:
    """Whether both files are there, of the right form, and closed to others; nothing is unlocked, nobody asked. Raises
    `ConfigError`."""
    from keeper.execution.signing.keystore import read_keystore

    read_keystore(keystore)
    if password_file is not None:
        _password(keystore, password_file)()


def _password(keystore: Path, password_file: Path | None) -> PasswordSource:
    from keeper.execution.signing.keystore import password_from_file, password_from_prompt

    if password_file is None:
        return password_from_prompt(ask_on_terminal, keystore)
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return password_from_file(password_file, Path(folder) if folder else None)


def ask_on_terminal(prompt: str) -> str:
    """`getpass`, which a signal ends at once: the event loop's own handlers would wait until somebody has answered."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise asyncio.CancelledError

    before = {number: signal.signal(number, stop) for number in _STOP_SIGNALS}
    try:
        return getpass.getpass(prompt)
    except EOFError:
        sys.stderr.write("\n")  # what is said about it stands on a line of its own
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
