"""Vault's clock and the engine's differ: nothing begins and nothing is revoked, and what was begun is delivered."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from secret_authority.clients.vault import Vault
from secret_authority.core.rotation.cycle import Cycle
from secret_authority.core.rotation.document import Start, State, Trigger
from secret_authority.core.rotation.state_machine import Move, Observation, Revoke, Rules, Wait, next_move
from secret_authority.engine.rotation.store import vault_clock
from tests.unit.core.rotation.model import World, engine

CONSUMERS = 2


def rotation(world: World) -> Cycle:
    one = engine(world)
    one.start = Start(Trigger.TIME, "due")
    return one


def work(one: Cycle, world: World, until: Callable[[Observation, Move], bool]) -> Move | None:
    """Moves, deliveries and time, until what `until` says is seen; the last move when it never is."""
    move: Move | None = None
    for _ in range(60):
        seen = one.observe()
        move = next_move(Rules(), seen)
        if until(seen, move):
            return None
        if not isinstance(move, Wait):
            one.do(move, seen)
        for consumer in range(CONSUMERS):
            world.deliver(consumer)
        world.now += timedelta(seconds=70)
    return move


def test_nothing_begins() -> None:
    world = World(clocks_agree=False)
    last = work(rotation(world), world, lambda seen, _: seen.document.state is not State.IDLE)
    assert isinstance(last, Wait) and "differ too much to begin" in last.reason
    assert world.passwords == {"app_a": "first", "app_b": None} and len(world.versions) == 1


def test_what_was_begun_is_delivered_and_nothing_is_revoked_until_the_clocks_agree() -> None:
    world = World()
    one = rotation(world)
    assert work(one, world, lambda seen, _: seen.document.state is State.PREPARED) is None
    world.clocks_agree = False
    last = work(one, world, lambda _, move: isinstance(move, Revoke))
    assert isinstance(last, Wait) and "differ too much to revoke" in last.reason
    assert world.newest()["username"] == "app_b" and world.consumers == [2, 2]
    assert world.usable() == ["app_a", "app_b"]
    world.clocks_agree = True
    assert work(one, world, lambda seen, _: seen.document.state is State.IDLE) is None
    assert world.usable() == ["app_b"]


class Clock(Vault):
    """Tells a time that is so many seconds off."""

    def __init__(self, seconds: float) -> None:
        super().__init__("https://vault.invalid")
        self.seconds = seconds

    def read(self, path: str) -> dict[str, Any] | None:
        assert path.startswith("sys/health")
        return {"server_time_utc": int(datetime.now(UTC).timestamp() + self.seconds)}


@pytest.mark.parametrize(("seconds", "agree"), [(0, True), (20, True), (-20, True), (40, False), (-40, False)])
def test_half_a_minute_is_allowed(seconds: float, agree: bool) -> None:
    assert vault_clock(Clock(seconds))[1] is agree
