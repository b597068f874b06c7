"""What can go wrong while a devnet is set up or driven."""

from __future__ import annotations

from keeper.core.errors import KeeperError


class DevnetError(KeeperError):
    """The devnet could not be built or driven; the message is one line: what failed, and the fix where there is one."""


class Reverted(DevnetError):
    """A transaction of ours reverted. `data` is what the contract answered to the same call (may be empty)."""

    def __init__(self, message: str, data: bytes) -> None:
        super().__init__(f"{message} (0x{data.hex()[:8]}…)" if data else message)
        self.data = data
