"""The keys of a live run: unlocked when first needed, each once. Nothing of `eth_account` is loaded before."""

from __future__ import annotations

import asyncio
import getpass
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING

from keeper.chain.jsonrpc import JsonRpc
from keeper.core.errors import ConfigError
from keeper.core.units import Address, address_from_hex, to_hex
from keeper.settings.relays import Relays
from keeper.settings.signing import Signer as SignerSettings
from keeper.telemetry.redact import Redactor

if TYPE_CHECKING:
    from keeper.execution.signing.keystore import KeystoreSigner, PasswordSource
    from keeper.execution.signing.reputation import ReputationKey
    from keeper.execution.signing.signer import Signer

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
REMOTE_TIMEOUT_S = 3.0
"""A signature that takes longer is no use to an order."""


class KeyRing:
    """A chain that starts anew does not ask for the password again. Passwords are masked wherever they might be shown."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._opened: dict[SignerSettings, Signer] = {}
        self._unlocked: dict[Path, KeystoreSigner] = {}
        self._reputations: dict[Path, ReputationKey] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> KeyRing:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the connections to keys that are elsewhere."""
        await self._stack.aclose()

    async def open(self, signing: SignerSettings) -> Signer:
        """The one key of a signer's table. Raises `ConfigError` for what a person must mend (another key than the configured
        address's, too), `ChainError` when the one that holds it does not answer; `CancelledError` when somebody would rather
        stop than answer."""
        if signing not in self._opened:
            signer = await self._reach(signing)
            _check_address(signer.address, signing)
            self._opened[signing] = signer
        return self._opened[signing]

    async def _reach(self, signing: SignerSettings) -> Signer:
        if signing.remote_url is not None:
            return await self._remote(signing.remote_url.get_secret_value(), signing)
        if signing.aws_kms_key_id is not None:
            return await self._kms(signing.aws_kms_key_id, signing)
        assert signing.keystore is not None, "a signer has one of three keys"
        return self._unlock(signing.keystore, signing.password_file)

    def _unlock(self, keystore: Path, password_file: Path | None) -> KeystoreSigner:
        from keeper.execution.signing.keystore import load_keystore

        if keystore not in self._unlocked:
            self._unlocked[keystore] = load_keystore(keystore, self._masked(_password(keystore, password_file)))
        return self._unlocked[keystore]

    def reputation(self, relays: Relays) -> ReputationKey:
        """The key under which relays know us. Raises `ConfigError`."""
        from keeper.execution.signing.keystore import load_reputation

        for url in relays.urls:
            self._redactor.add_url(url.get_secret_value())
        if relays.keystore not in self._reputations:
            password = self._masked(_password(relays.keystore, relays.password_file))
            self._reputations[relays.keystore] = load_reputation(relays.keystore, password)
        return self._reputations[relays.keystore]

    async def _remote(self, url: str, signing: SignerSettings) -> Signer:
        from keeper.execution.signing.remote import RemoteSigner

        self._redactor.add_url(url)
        assert signing.address is not None, "a remote signer is configured with its address"
        async with AsyncExitStack() as opening:
            rpc = await opening.enter_async_context(JsonRpc(url, timeout_s=REMOTE_TIMEOUT_S))
            signer = RemoteSigner(rpc, address_from_hex(signing.address), rpc.label)
            await signer.check()
            self._stack.push_async_exit(opening.pop_all())
        return signer

    async def _kms(self, key_id: str, signing: SignerSettings) -> Signer:
        from keeper.execution.signing.kms import open_kms

        endpoint = signing.aws_endpoint_url
        if endpoint is not None:
            self._redactor.add_url(endpoint.get_secret_value())
        signer = await open_kms(key_id, signing.aws_region, None if endpoint is None else endpoint.get_secret_value())
        self._stack.callback(signer.close)
        return signer

    def _masked(self, source: PasswordSource) -> PasswordSource:
        def password() -> str:
            secret = source()
            self._redactor.add(secret)
            return secret

        return password


def check_signer(signing: SignerSettings) -> None:
    """What can be told without unlocking, asking or calling anybody: whether the files are there, of the right form, closed
    to others, and for the configured address; whether AWS's library is there. Raises `ConfigError`."""
    if signing.keystore is not None:
        from keeper.execution.signing.keystore import named_address, read_keystore

        named = named_address(read_keystore(signing.keystore))
        if named is not None:
            _check_address(named, signing)
        if signing.password_file is not None:
            _password(signing.keystore, signing.password_file)()
    if signing.aws_kms_key_id is not None:
        from keeper.execution.signing.kms import check_library

        check_library()


def known_address(signing: SignerSettings) -> Address | None:
    """Whose key it is, as far as that shows without unlocking or asking. Raises `ConfigError`."""
    if signing.address is not None:
        return address_from_hex(signing.address)
    if signing.keystore is None:
        return None
    from keeper.execution.signing.keystore import named_address, read_keystore

    return named_address(read_keystore(signing.keystore))


def check_relays(relays: Relays, signers: Sequence[SignerSettings]) -> None:
    """The same for the key under which relays know us; and that it is no signer's, as far as the files say."""
    from keeper.execution.signing.keystore import named_address, read_keystore

    named = named_address(read_keystore(relays.keystore))
    if relays.password_file is not None:
        _password(relays.keystore, relays.password_file)()
    for signing in signers:
        same = signing.keystore is not None and signing.keystore.resolve() == relays.keystore.resolve()
        if same or (signing.address is not None and named == address_from_hex(signing.address)):
            raise ConfigError(f"keystore {relays.keystore} is the signer's own: make another one, without money")


def _check_address(found: Address, signing: SignerSettings) -> None:
    if signing.address is None or found == address_from_hex(signing.address):
        return
    holder = f"keystore {signing.keystore}" if signing.keystore is not None else "the key of aws_kms_key_id"
    raise ConfigError(
        f"{holder} is for {to_hex(found)}, but address says {signing.address}: name the right one of the two"
    )


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
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass(prompt)
    except getpass.GetPassWarning:
        raise EOFError from None  # nobody is there to be asked, or what is typed would be seen
    except EOFError:
        sys.stderr.write("\n")  # what is said about it stands on a line of its own
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
