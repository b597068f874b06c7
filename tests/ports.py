"""A port for what has to be told beforehand where to listen."""

from __future__ import annotations

import random
import socket

_BELOW_THE_SYSTEMS = range(10_000, 32_000)
"""What the system hands out by itself, to whoever connects or asks for any port, is above."""


def free_port() -> int:
    """A port nobody listens on at this moment; nobody gets it by chance until it is used."""
    chance = random.SystemRandom()
    while True:
        port = chance.choice(_BELOW_THE_SYSTEMS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
