"""`keeper demo` from end to end: the real contracts, the real keeper, as somebody types it; and taken away half-way."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from keeper.cli.demo_svg import links

INTERRUPTED = "keeper: interrupted"
SPECIALS = ("e-mode", "dust gap", "close factor", "sequence", "toxic", "bad debt")
PATIENCE_S = 240


def environment(temporary: Path) -> Mapping[str, str]:
    """Ours, with temporary folders where we can count them and settings that would lead a keeper elsewhere."""
    misleading = {"KEEPER_MODE": "dry", "KEEPER_STORE": str(temporary / "not-here.db"), "KEEPER_NO_SUCH": "key"}
    return {**os.environ, **misleading, "TMPDIR": str(temporary)}


def keeper(*arguments: str, temporary: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "keeper", *arguments]
    return subprocess.run(
        command, check=False, env=environment(temporary), capture_output=True, text=True, timeout=PATIENCE_S
    )


@contextmanager
def running_demo(temporary: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "keeper", "demo"]
    with subprocess.Popen(
        command,
        env=environment(temporary),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def still_there(session: int) -> list[str]:
    """Processes of a session, whoever their parent is now."""
    found = subprocess.run(["pgrep", "-s", str(session)], check=False, capture_output=True, text=True)
    return found.stdout.split()


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


def test_the_whole_demo(tmp_path: Path, temporary: Path) -> None:
    picture, store = tmp_path / "demo.svg", tmp_path / "demo.db"
    done = keeper("demo", "--svg", str(picture), "--store", str(store), temporary=temporary)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in SPECIALS:
        assert re.search(rf"^ ?{name} 0x", done.stdout, re.MULTILINE), name
    summary = " ".join(done.stdout.split())
    fell = re.search(r"(\d+) of (\d+) borrowers fell below 1", summary)
    assert fell is not None
    assert int(fell[1]) >= 20
    assert int(fell[2]) >= 200
    assert "all read back at or above it in their inclusion block" in summary
    assert all(f"{name} 0x" in summary.split("shown: ")[1] for name in SPECIALS)
    assert list(temporary.iterdir()) == []
    assert links(picture.read_text()) == []
    told = re.search(r"keeper explain --store \S+ (0x\w{40})", summary)
    assert told is not None
    story = keeper("explain", "--store", str(store), told[1], temporary=temporary)
    assert story.returncode == 0
    assert "Our arithmetic gives the chain's health to the wei." in story.stdout


MOMENTS = ("making the keeper's account", "the keeper is live", "crash:", "restored:")
SIGNALS = (signal.SIGINT, signal.SIGTERM)
USUAL = set(zip(MOMENTS, SIGNALS * 2, strict=True))
"""Every moment and both signals; the other pairs of them belong to the long run."""


@pytest.mark.parametrize(
    "moment, number",
    [
        pytest.param(moment, number, marks=() if (moment, number) in USUAL else pytest.mark.long)
        for moment in MOMENTS
        for number in SIGNALS
    ],
)
def test_interrupted_at_any_moment_nothing_is_left(temporary: Path, moment: str, number: int) -> None:
    with running_demo(temporary) as running:
        assert running.stderr is not None
        assert any(moment in line for line in running.stderr), f"the demo never said {moment!r}"
        running.send_signal(number)
        stdout, stderr = running.communicate(timeout=60)
    assert running.returncode == 130
    assert stdout == ""
    assert stderr.splitlines()[-1] == INTERRUPTED
    assert "Traceback" not in stderr
    assert list(temporary.iterdir()) == []
    assert still_there(running.pid) == []


def test_a_store_that_exists_is_not_overwritten(tmp_path: Path, temporary: Path) -> None:
    store = tmp_path / "mine.db"
    store.write_text("precious")
    done = keeper("demo", "--store", str(store), temporary=temporary)
    assert done.returncode == 2
    assert "exists already" in done.stderr.splitlines()[-1]
    assert store.read_text() == "precious"
    assert list(temporary.iterdir()) == []
