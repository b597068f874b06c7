from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from keeper.core.errors import ConfigError, RpcTimeout
from keeper.telemetry.health import HealthBoard, MarketState, Status, serve_health
from keeper.telemetry.redact import Redactor
from tests.unit.store.facts import CHAIN, MARKET, OTHER_MARKET, block


class World:
    def __init__(self) -> None:
        self.now_s = 1000.0
        self.trouble: str | None = None
        self.redactor = Redactor()
        self.redactor.add("CANARYsecret")
        self.board = HealthBoard(
            self.redactor, max_age_s=60, store_trouble=lambda: self.trouble, clock=lambda: self.now_s
        )

    def status(self) -> Status:
        return self.board.report()[0]


@pytest.fixture
def world() -> World:
    return World()


def running(world: World, chain: str = CHAIN) -> None:
    """A chain that is well: one verified market, one block applied."""
    world.board.chain(chain).note_market(MARKET, MarketState.VERIFIED)
    world.board.chain(chain).note_applied(block(100))


async def get(port: int, path: str = "/health") -> tuple[int, dict[str, Any]]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as response:
        return response.status, await response.json() if response.status != 404 else {}


def test_nothing_is_well_before_the_first_block_is_applied(world: World) -> None:
    assert world.status() is Status.STALLED
    world.board.chain(CHAIN).note_market(MARKET, MarketState.VERIFIED)
    world.board.chain(CHAIN).note_head(block(100))
    assert world.status() is Status.STALLED
    world.board.chain(CHAIN).note_applied(block(100))
    assert world.status() is Status.OK


def test_a_slow_chain_is_given_its_own_time(world: World) -> None:
    running(world)
    world.board.chain(CHAIN).max_age_s = 120
    world.now_s += 119
    assert world.status() is Status.OK
    world.now_s += 2
    assert world.status() is Status.STALLED


def test_only_another_block_is_progress(world: World) -> None:
    running(world)
    chain = world.board.chain(CHAIN)
    world.now_s += 59
    chain.note_applied(block(100))
    assert world.status() is Status.OK
    world.now_s += 2
    chain.note_head(block(140))
    assert world.status() is Status.STALLED
    chain.note_applied(block(101))
    assert world.status() is Status.OK


def test_one_chain_that_stands_still_is_enough(world: World) -> None:
    running(world)
    running(world, "other")
    world.now_s += 61
    world.board.chain("other").note_applied(block(101))
    assert world.status() is Status.STALLED


@pytest.mark.parametrize("state", [MarketState.REFUSED, MarketState.STOPPED])
def test_a_market_that_is_left_alone_shows_and_the_last_one_stalls_the_chain(world: World, state: MarketState) -> None:
    running(world)
    chain = world.board.chain(CHAIN)
    chain.note_market(OTHER_MARKET, state, "stable debt")
    assert world.status() is Status.DEGRADED
    chain.note_market(MARKET, state, "defect")
    assert world.status() is Status.STALLED


def test_trouble_with_the_store_shows(world: World) -> None:
    running(world)
    world.trouble = "store: disk full"
    assert world.status() is Status.DEGRADED
    assert world.board.report()[1]["store_trouble"] == "store: disk full"


async def test_the_page_answers_503_until_all_is_well_and_tells_what_is(world: World) -> None:
    async with serve_health(world.board, port=0) as port:
        assert (await get(port))[0] == 503
        running(world)
        chain = world.board.chain(CHAIN)
        chain.note_head(block(103))
        chain.note_market(OTHER_MARKET, MarketState.REFUSED, "stable debt at CANARYsecret")
        chain.note_error(RpcTimeout("no answer from CANARYsecret"))
        chain.open_orders = 2
        world.now_s += 5
        code, body = await get(port)
        assert code == 200
        assert body == {
            "status": "degraded",
            "store_trouble": None,
            "chains": {
                CHAIN: {
                    "status": "degraded",
                    "applied_block": 100,
                    "head_block": 103,
                    "age_s": 5.0,
                    "max_age_s": 60,
                    "markets": {
                        "0x" + "a0" * 20: {"state": "verified", "why": ""},
                        "0x" + "a1" * 20: {"state": "refused", "why": "stable debt at ***"},
                    },
                    "open_orders": 2,
                    "paused": None,
                    "paused_signers": {},
                    "last_error": "RpcTimeout: no answer from ***",
                    "last_error_age_s": 5.0,
                }
            },
        }
        world.now_s += 56
        assert (await get(port))[0] == 503
        assert (await get(port, "/"))[0] == 404


async def test_a_port_that_is_taken_is_a_configuration_error(world: World) -> None:
    async with serve_health(world.board, port=0) as port:
        with pytest.raises(ConfigError, match=f"port {port}"):
            async with serve_health(world.board, port=port):
                pass
        assert (await get(port))[0] == 503, "the first one still answers"


def test_a_paused_chain_is_degraded_and_says_why(world: World) -> None:
    running(world)
    world.board.chain(CHAIN).paused = "gas: too much CANARYsecret"
    status, body = world.board.report()
    assert status is Status.DEGRADED
    assert "CANARY" not in body["chains"][CHAIN]["paused"]
    assert body["chains"][CHAIN]["paused"].startswith("gas: too much")
    world.board.chain(CHAIN).paused = None
    assert world.status() is Status.OK
