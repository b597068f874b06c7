"""Keystores and passwords: what opens, what is refused in one line, and that nothing of them shows."""

from __future__ import annotations

import json
import pickle
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from eth_account import Account

from keeper.core.errors import ConfigError
from keeper.execution.signing.keystore import (
    KeystoreSigner,
    load_keystore,
    password_from_file,
    password_from_prompt,
)

KEY = bytes.fromhex("c0ffee" + "11" * 29)
PASSWORD = "canary-password-7313"
SECRETS = (KEY.hex(), PASSWORD, str(int.from_bytes(KEY, "big")))


@pytest.fixture
def keystore(tmp_path: Path) -> Path:
    """A V3 keystore, cheap to open."""
    path = tmp_path / "keystore.json"
    path.write_text(json.dumps(Account.encrypt(KEY, PASSWORD, kdf="pbkdf2", iterations=10)))
    path.chmod(0o600)
    return path


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\n")
    path.chmod(0o600)
    return path


def password() -> str:
    return PASSWORD


def everything_reachable(error: BaseException) -> Iterator[str]:
    """The error's texts, those of its causes and contexts, and the locals of the frames that it passed in our code."""
    seen: BaseException | None = error
    while seen is not None:
        yield repr(seen)
        yield "".join(traceback.format_exception(seen))
        for frame, _ in traceback.walk_tb(seen.__traceback__):
            if "keystore" in frame.f_code.co_filename and "test_" not in frame.f_code.co_filename:
                yield repr(frame.f_locals)
        seen = seen.__cause__ or seen.__context__


def assert_one_clear_line(error: ConfigError, *words: str) -> None:
    assert "\n" not in str(error)
    assert all(word in str(error) for word in words), str(error)
    texts = list(everything_reachable(error))
    assert not any(secret in text for secret in SECRETS for text in texts)
    assert error.__cause__ is None


def test_a_keystore_opens_with_its_password(keystore: Path) -> None:
    assert "0x" + load_keystore(keystore, password).address.hex() == Account.from_key(KEY).address.lower()


def test_the_older_spelling_of_crypto_opens_too(keystore: Path) -> None:
    content = json.loads(keystore.read_text())
    content["Crypto"] = content.pop("crypto")
    keystore.write_text(json.dumps(content))
    assert load_keystore(keystore, password).address


def test_a_wrong_password_is_one_line_without_secrets(keystore: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_keystore(keystore, lambda: PASSWORD + "x")
    assert_one_clear_line(caught.value, str(keystore), "wrong password")


def test_a_missing_keystore_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_keystore(tmp_path / "nowhere.json", password)
    assert_one_clear_line(caught.value, "nowhere.json", "does not exist")


def test_a_folder_is_no_keystore(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_keystore(tmp_path, password)
    assert_one_clear_line(caught.value, str(tmp_path), "not a file")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601])
def test_a_keystore_open_to_others_is_refused_before_the_password_is_asked(keystore: Path, mode: int) -> None:
    keystore.chmod(mode)

    def never() -> str:
        raise AssertionError("the password was asked for")

    with pytest.raises(ConfigError) as caught:
        load_keystore(keystore, never)
    assert_one_clear_line(caught.value, f"{mode:04o}", "chmod 600")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json",
        b"[]",
        b"{}",
        b'{"version": 1, "crypto": {}}',
        b'{"version": 3}',
        b"\xff\xfe\x00",
        b'{"version": 3, "crypto": "text"}',
    ],
)
def test_a_file_that_is_no_keystore_is_refused(keystore: Path, content: bytes) -> None:
    keystore.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_keystore(keystore, password)
    assert_one_clear_line(caught.value, "no V3 keystore")


@pytest.mark.parametrize("content", [b'{"version": 3, "crypto": {}}', b'{"version": 3, "crypto": {"kdf": "argon"}}'])
def test_a_damaged_keystore_is_refused(keystore: Path, content: bytes) -> None:
    keystore.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_keystore(keystore, password)
    assert_one_clear_line(caught.value, "does not open")


@pytest.mark.parametrize(
    "parameter, odd",
    [("c", 0), ("c", 2**70), ("prf", "zz"), ("salt", None), ("dklen", -1), ("dklen", "32"), ("salt", "odd")],
)
def test_odd_parameters_are_a_damaged_file(keystore: Path, parameter: str, odd: object) -> None:
    content = json.loads(keystore.read_text())
    content["crypto"]["kdfparams"][parameter] = odd
    keystore.write_text(json.dumps(content))
    with pytest.raises(ConfigError) as caught:
        load_keystore(keystore, password)
    assert_one_clear_line(caught.value, "does not open")


def test_a_huge_file_is_not_read(keystore: Path) -> None:
    keystore.write_bytes(b" " * 100_000)
    with pytest.raises(ConfigError) as caught:
        load_keystore(keystore, password)
    assert_one_clear_line(caught.value, "larger than")


def test_a_keystore_that_names_another_address_is_refused(keystore: Path) -> None:
    content = json.loads(keystore.read_text()) | {"address": "ab" * 20}
    keystore.write_text(json.dumps(content))
    with pytest.raises(ConfigError) as caught:
        load_keystore(keystore, password)
    assert_one_clear_line(caught.value, "names address " + "ab" * 20)


def test_the_signer_shows_nothing_of_its_key(keystore: Path) -> None:
    signer = load_keystore(keystore, password)
    assert not any(secret in text for secret in SECRETS for text in (repr(signer), str(signer), f"{signer}"))
    assert not hasattr(signer, "__dict__")
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(signer)


def test_a_password_file_gives_its_first_line(password_file: Path) -> None:
    password_file.write_text(PASSWORD + "\nsecond line\n")
    assert password_from_file(password_file)() == PASSWORD


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xff"])
def test_a_password_file_without_a_password_is_refused(password_file: Path, content: bytes) -> None:
    password_file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        password_from_file(password_file)()
    assert_one_clear_line(caught.value, "no password")


def test_a_password_file_open_to_others_is_refused(password_file: Path) -> None:
    password_file.chmod(0o640)
    with pytest.raises(ConfigError) as caught:
        password_from_file(password_file)()
    assert_one_clear_line(caught.value, "chmod 600", "password file")


@pytest.mark.parametrize("mode", [0o400, 0o440])
def test_systemd_credentials_are_taken_from_their_folder(password_file: Path, mode: int) -> None:
    password_file.chmod(mode)
    assert password_from_file(password_file, credentials_directory=password_file.parent)() == PASSWORD


def test_a_credential_elsewhere_or_writable_is_refused(password_file: Path, tmp_path: Path) -> None:
    password_file.chmod(0o440)
    with pytest.raises(ConfigError, match="open to others"):
        password_from_file(password_file, credentials_directory=tmp_path / "other")()
    password_file.chmod(0o660)
    with pytest.raises(ConfigError, match="open to others"):
        password_from_file(password_file, credentials_directory=tmp_path)()


def test_the_prompt_names_the_file_and_needs_a_terminal(keystore: Path) -> None:
    prompts: list[str] = []

    def ask(prompt: str) -> str:
        prompts.append(prompt)
        return PASSWORD

    assert isinstance(load_keystore(keystore, password_from_prompt(ask, keystore)), KeystoreSigner)
    assert prompts == [f"password for {keystore}: "]

    def no_terminal(prompt: str) -> str:
        raise EOFError

    with pytest.raises(ConfigError) as caught:
        load_keystore(keystore, password_from_prompt(no_terminal, keystore))
    assert_one_clear_line(caught.value, "no terminal")
