"""What can be wrong with a provider, drawn by seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from tests.faults import FaultProxy, Manners
from tests.socket_faults import SocketManners

LIE_PERCENT = 90
"""A lying provider's prices, of the true ones."""

Draw = Callable[[random.Random, int], Manners]
"""From the seed and the true head."""

TROUBLES: dict[str, Draw] = {
    "slow": lambda rng, head: Manners(delay_s=rng.uniform(0.05, 0.3)),
    "hanging": lambda rng, head: Manners(delay_s=1.5),
    "limited": lambda rng, head: Manners(calls_per_s=rng.choice((3, 10)), retry_after="1"),
    "refusing with 429": lambda rng, head: Manners(status=429),
    "refusing with 401": lambda rng, head: Manners(status=401),
    "bad gateway": lambda rng, head: Manners(status=502),
    "html": lambda rng, head: Manners(html=True),
    "wrong id": lambda rng, head: Manners(wrong_id=True),
    "truncated": lambda rng, head: Manners(truncated=True),
    "cut off": lambda rng, head: Manners(dropped=True),
    "hung up": lambda rng, head: Manners(hung_up=True),
    "behind": lambda rng, head: Manners(head_number=head - rng.randint(1, 6)),
    "frozen": lambda rng, head: Manners(head_number=head),
    "no batches": lambda rng, head: Manners(batches=False),
    "no archive": lambda rng, head: Manners(state_depth=rng.randint(0, 2)),
    "short ranges": lambda rng, head: Manners(max_log_range=1),
}
SOCKET_TROUBLES: dict[str, Callable[[], SocketManners]] = {
    "socket well": SocketManners,
    "socket refusing": lambda: SocketManners(refuses=True),
    "socket half-open": lambda: SocketManners(half_open=True),
    "socket silent": lambda: SocketManners(silent=True),
    "socket late": lambda: SocketManners(late_blocks=3),
    "socket garbage": lambda: SocketManners(garbage=True),
    "socket half headers": lambda: SocketManners(half_headers=True),
    "socket cut off": lambda: SocketManners(cut_off=True),
    "heads twice": lambda: SocketManners(times=2),
    "heads missed": lambda: SocketManners(drop_every=2),
    "heads backwards": lambda: SocketManners(backwards=True),
    "heads removed": lambda: SocketManners(removed=True),
}
NOWHERE = {"hash": "0x" + "ab" * 32, "parentHash": "0x" + "cd" * 32}
LIES = ("logs removed", "prices", "prices in all it says", "a head of its own")
"""What `Provider` does besides its manners."""


class Provider(FaultProxy):
    """A provider that may also lie."""

    lie: str | None = None
    prices: tuple[int, ...] = ()
    """The true prices that it lies about."""

    def calm(self) -> None:
        self.manners, self.lie = Manners(), None

    async def _ask(self, method: str, params: list[Any]) -> dict[str, Any]:
        answer = await super()._ask(method, params)
        result = answer.get("result")
        if self.lie == "logs removed" and method == "eth_getLogs" and isinstance(result, list):
            return {"result": [log | {"removed": True} for log in result]}
        latest = method == "eth_getBlockByNumber" and params[0] == "latest"
        if self.lie == "a head of its own" and latest and isinstance(result, dict):
            return {"result": result | {"number": hex(int(result["number"], 16) + 7)} | NOWHERE}
        if self.lie == "prices" and method == "eth_call" and isinstance(result, str):
            return {"result": self._priced_wrong(result)}
        if self.lie == "prices in all it says" and result is not None:
            return {"result": self._wrong_inside(result)}
        return answer

    def _wrong_inside(self, node: Any) -> Any:
        if isinstance(node, dict):
            return {key: self._wrong_inside(value) for key, value in node.items()}
        if isinstance(node, list):
            return [self._wrong_inside(value) for value in node]
        return self._priced_wrong(node) if isinstance(node, str) else node

    def _priced_wrong(self, text: str) -> str:
        for price_base in self.prices:
            text = text.replace(_word(price_base), _word(price_base * LIE_PERCENT // 100))
        return text


def _word(number: int) -> str:
    return f"{number:064x}"
