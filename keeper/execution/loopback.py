"""Is this node a local anvil?"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from keeper.core.errors import MethodUnavailable, RpcFailure
from keeper.execution.rpc import Rpc


def is_loopback_url(url: str) -> bool:
    """Whether a URL names this machine: `localhost` or a loopback address."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def is_loopback_anvil(url: str, rpc: Rpc) -> bool:
    """Whether `rpc` (the client of `url`) is an anvil on this machine. A node that does not know the question is none; one
    that is in trouble has not answered it: raises a `ChainError`."""
    if not is_loopback_url(url):
        return False
    try:
        return isinstance(await rpc.request("anvil_nodeInfo"), dict)
    except (MethodUnavailable, RpcFailure):
        return False
