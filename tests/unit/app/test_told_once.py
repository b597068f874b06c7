"""What ends `keeper run` is on standard error once, whatever the log's form, and in the journal as well."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from keeper.core.events import Kind
from keeper.store import EventFilter, StoreReader

PROVIDER = "0x" + "a0" * 20


@pytest.mark.parametrize("log_format", ["auto", "console"])
def test_the_error_that_ends_a_run_is_told_once(log_format: str, tmp_path: Path) -> None:
    chain = '[chains.{}]\nrpc_url = "http://127.0.0.1:{}"\naddresses_provider = "{}"\n'
    config, store = tmp_path / "keeper.toml", tmp_path / "keeper.db"
    head = f'store = "{store}"\nhealth_port = 0\nlog_format = "{log_format}"\n'
    config.write_text(head + chain.format("one", 9, PROVIDER) + chain.format("two", 8, PROVIDER))
    command = [sys.executable, "-m", "keeper", "run", "--once", "--config", str(config)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 1
    assert ended.stderr.count("127.0.0.1:9: ") == 1, "it is the last line"
    assert ended.stderr.splitlines()[-1].startswith("keeper: http://127.0.0.1:9: ")
    assert ended.stderr.count("127.0.0.1:8: ") == 1, "the other chain's is a line of the log"
    with StoreReader.open(store) as reader:
        troubles = list(reader.events(EventFilter(kinds=(Kind.TROUBLE,))))
        stopped = list(reader.events(EventFilter(kinds=(Kind.STOPPED,))))
    assert [row.chain for row in troubles] == ["one", "two"]
    assert all("RpcUnreachable" in row.fields["detail"] for row in stopped)
