"""One writer per store: an advisory lock on a file beside it, released by the operating system when its owner dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keeper.core.errors import StoreError


@contextmanager
def writer_lock(store: Path) -> Iterator[None]:
    """Hold `<store>.lock` for the block. Raises `StoreError` naming the pid that holds it."""
    path = store.with_name(store.name + ".lock")
    try:
        # The file stays when the lock is released: removing it would let two keepers lock two files of one name.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(
            f"store {store}: cannot create {path.name} ({error.strerror}): make the folder writable"
        ) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise StoreError(
                f"store {store}: another keeper (pid {holder}) is writing to it: stop that one, or give this one its"
                " own store (and, live, a key of its own: two keepers with one key take each other's nonces)"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
