"""Keystores, password files, stores, ports: what a person must mend, in one line, before anything happens."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from keeper.core.units import to_hex
from keeper.devnet.market import Bed
from keeper.devnet.throwaway import Throwaway
from tests.devnet.chain_facts import nonce
from tests.devnet.commands import happens
from tests.devnet.keeping import Keeping, keeping

PASSWORD = "c4n4ry-p4ssw0rd"


@pytest.fixture
async def kept(bed36: Bed, tmp_path: Path) -> Keeping:
    """With a key and money."""
    return await keeping(bed36, tmp_path, funded=True)


def keystore(kept: Keeping) -> Path:
    assert kept.account is not None
    return kept.account.keystore


def password_file(kept: Keeping) -> Path:
    assert kept.account is not None
    return kept.account.password_file


def replaced_by_a_folder(kept: Keeping) -> None:
    keystore(kept).unlink()
    keystore(kept).mkdir()


BAD_KEYS: dict[str, tuple[Callable[[Keeping], object], list[str]]] = {
    "no keystore": (lambda kept: keystore(kept).unlink(), ["keystore.json", "does not exist"]),
    "open keystore": (lambda kept: keystore(kept).chmod(0o640), ["keystore.json", "mode 0640", "chmod 600"]),
    "no keystore but a file": (lambda kept: keystore(kept).write_text("{}"), ["no V3 keystore file"]),
    "a torn keystore": (lambda kept: os.truncate(keystore(kept), 100), ["no V3 keystore file"]),
    "a folder": (replaced_by_a_folder, ["is not a file"]),
    "wrong password": (lambda kept: password_file(kept).write_text(PASSWORD), ["wrong password"]),
    "no password": (lambda kept: password_file(kept).write_text("\n"), ["no password on its first line"]),
    "no password file": (lambda kept: password_file(kept).unlink(), ["password", "does not exist"]),
    "open password file": (lambda kept: password_file(kept).chmod(0o644), ["mode 0644", "chmod 600"]),
}


@pytest.mark.parametrize("name", BAD_KEYS)
async def test_a_key_that_cannot_be_used_ends_the_run_before_it_begins(bed36: Bed, kept: Keeping, name: str) -> None:
    spoil, says = BAD_KEYS[name]
    assert kept.account is not None
    secret, used = password_file(kept).read_text().strip(), await nonce(bed36, kept.account.address)
    spoil(kept)
    once = await kept.run_once("--live")
    async with kept.daemon("--live") as daemon:
        endings = [once, await daemon.ended()]
    for ended in endings:
        assert (ended.code, ended.out) == (2, "")
        for each in says:
            assert each in ended.error_line
        assert PASSWORD not in ended.err
        assert secret not in ended.err
    assert await nonce(bed36, kept.account.address) == used


async def test_live_without_a_keystore_names_the_missing_key(kept: Keeping) -> None:
    kept.account = None
    ended = await kept.run_once("--live")
    assert ended.code == 2
    assert "chains.devnet.signer is missing" in ended.error_line


async def test_the_password_is_asked_for_where_nobody_named_a_file(kept: Keeping) -> None:
    """On a terminal; and where there is none, that is said."""
    secret = password_file(kept).read_text().strip()
    kept.tables["signer"] = {"keystore": str(keystore(kept))}
    without = await kept.run("run", "--once", "--live", "--config", str(kept.write(mode="live")), fresh=True)
    assert without.code == 2
    assert "no terminal to ask on" in without.error_line
    assert "GetPassWarning" not in without.err
    code, shown = await on_a_terminal(kept, lambda end: os.write(end, f"{secret}\n".encode()))
    assert code == 0, shown
    assert f"password for {keystore(kept)}" in shown
    assert secret not in shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_nobody_is_held_at_the_question_for_the_password(kept: Keeping, number: signal.Signals) -> None:
    kept.tables["signer"] = {"keystore": str(keystore(kept))}
    code, shown = await on_a_terminal(kept, None, number)
    assert code == 130, shown
    assert "Traceback" not in shown


async def on_a_terminal(
    kept: Keeping, answer: Callable[[int], object] | None, number: signal.Signals | None = None
) -> tuple[int, str]:
    """`run --once --live` with a terminal of its own; when it asks, it gets the answer, or the signal."""
    config = str(kept.write(mode="live", log_level="error"))
    ours, theirs = pty.openpty()
    process = _of_its_own(theirs, ["run", "--once", "--live", "--config", config])
    os.close(theirs)
    os.set_blocking(ours, False)
    shown = bytearray()

    def read() -> bytearray:
        try:
            shown.extend(os.read(ours, 65_536))
        except (BlockingIOError, OSError):
            pass
        return shown

    try:
        await happens(lambda: b"password for" in read() or process.poll() is not None)
        if answer is not None:
            await asyncio.sleep(0.2)  # until it has turned the echo off
            answer(ours)
        if number is not None:
            process.send_signal(number)
        await happens(lambda: read() is not None and process.poll() is not None, within_s=30)
        read()
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return process.returncode, shown.decode()


def _of_its_own(terminal: int, arguments: list[str]) -> subprocess.Popen[bytes]:
    """A session leader that opens a terminal has it."""
    code = "import os, sys; os.open(os.ttyname(0), os.O_RDWR); from keeper.__main__ import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )


async def test_a_store_of_a_newer_keeper_is_left_alone(kept: Keeping) -> None:
    assert (await kept.run_once()).code == 0
    with sqlite3.connect(kept.store) as connection:
        connection.execute("UPDATE keeper_schema SET version = version + 1")
    connection.close()
    for command in (["run", "--once"], ["run"], ["journal"], ["explain"]):
        ended = await kept.run(*command, "--config", str(kept.config))
        assert ended.code == 1
        assert "written by a newer keeper" in ended.error_line
        assert "upgrade the keeper" in ended.error_line


async def test_a_store_that_is_none_is_left_alone(kept: Keeping) -> None:
    kept.store.write_text("mode = 'dry'\n" * 500)
    ended = await kept.run_once()
    assert ended.code == 1
    assert "it is no SQLite file" in ended.error_line


async def test_a_second_keeper_on_one_store_is_turned_away(kept: Keeping) -> None:
    async with kept.daemon() as daemon:
        await kept.until("caught_up")
        ended = await kept.run_once()
        assert ended.code == 1
        assert f"another keeper (pid {daemon.pid}) is writing to it" in ended.error_line
        assert (await kept.run("journal", "--config", str(kept.config))).code == 0, "reading is not writing"
        assert (await daemon.stopped()).code == 0
    assert (await kept.run_once()).code == 0


async def test_a_health_port_that_is_taken_is_a_mistake_in_the_file(kept: Keeping) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        async with kept.daemon(health_port=port) as daemon:
            ended = await daemon.ended()
        assert ended.code == 2
        assert f"port {port}" in ended.error_line
        assert (await kept.run("run", "--once", "--config", str(kept.config))).code == 0, "a single round needs no page"


async def test_two_signers_with_one_key_are_refused_however_it_is_stored(
    bed36: Bed, kept: Keeping, tmp_path: Path
) -> None:
    """Two queues would take each other's nonces."""
    assert kept.account is not None
    copied = tmp_path / "copied.json"
    copied.write_bytes(keystore(kept).read_bytes())
    copied.chmod(0o600)
    kept.others = [Throwaway(kept.account.address, copied, password_file(kept))]
    used = await nonce(bed36, kept.account.address)
    ended = await kept.run_once("--live")
    words = f"chains.devnet.signers.0, {to_hex(kept.account.address)}: each signer needs one of its own"
    assert (ended.code, ended.out) == (2, "")
    assert "chains.devnet.signers.1 has the key of " + words in ended.error_line
    assert await nonce(bed36, kept.account.address) == used
    checked = await kept.run("config", "check", "--config", str(kept.config))
    assert checked.code == 2
    assert "chains.devnet.signers.1: has the key of signers.0" in checked.error_line
