"""What stops a rotation although everything else is ready: clocks that differ, and sessions of the old login."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest

from secret_authority.clients.vault import TIME_PATH
from secret_authority.core.rotation.cycle import Cycle
from secret_authority.core.rotation.document import Document, Start, State, Trigger
from secret_authority.core.rotation.rotator import Value
from secret_authority.core.rotation.runner import advance
from secret_authority.core.rotation.state_machine import Rules
from secret_authority.engine.rotation.store import vault_clock
from tests.fakes.kv import KvVault
from tests.unit.core.rotation.model import Store, TwoUsers, World, delivery_of

START = Start(Trigger.TIME, "due")
RULES = Rules(drain=timedelta(seconds=60))


class Clocked(Store):
    """Vault's clock may differ from that of the engine."""

    agrees: bool = True

    def clock(self) -> tuple[datetime, bool]:
        return self.world.now, self.agrees


class Counted(TwoUsers):
    """Sessions live on when the pod that made them was replaced. None: the target cannot tell."""

    sessions: int | None = 0

    def in_use(self, value: Value) -> int | None:
        return self.sessions


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def parts(world: World) -> tuple[Cycle, Clocked, Counted]:
    store, rotator = Clocked(world), Counted(world)
    return Cycle(store, rotator, delivery_of(world), "run-1"), store, rotator


def state(world: World) -> State:
    return Document.from_fields(world.documents[-1] or {}).state if world.documents else State.IDLE


def deliver(world: World) -> None:
    for consumer in range(len(world.consumers)):
        world.deliver(consumer)


def rounds(world: World, one: Cycle, seconds: float) -> Iterator[str]:
    """What each look waits for, so many seconds after the one before; ends when the rotation does."""
    while True:
        waits_for = advance(RULES, "retry", one, lambda: 0.0).waits_for
        if state(world) is State.IDLE:
            return
        yield waits_for
        world.now += timedelta(seconds=seconds)


def test_while_the_clocks_differ_nothing_begins_and_nothing_is_revoked(
    world: World, parts: tuple[Cycle, Clocked, Counted]
) -> None:
    one, store, _ = parts
    one.start, store.agrees = START, False
    assert "differ too much to begin" in advance(RULES, "retry", one, lambda: 0.0).waits_for
    assert world.documents == [] and world.logs_in(world.value(1))
    store.agrees = True
    next(rounds(world, one, 0))
    deliver(world)
    world.now += timedelta(hours=1)
    store.agrees = False
    for waits_for in itertools.islice(rounds(world, one, 3600), 3):
        assert "differ too much to revoke" in waits_for
    assert state(world) is State.RETIRING and world.logs_in(world.value(1)) and world.logs_in(world.value(2))
    store.agrees = True
    assert [*rounds(world, one, 60)] == [] and not world.logs_in(world.value(1))


@pytest.mark.parametrize(("seconds", "agrees"), [(0, True), (29, True), (32, False), (-32, False)])
def test_clocks_agree_that_differ_by_half_a_minute_at_most(
    seconds: int, agrees: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = KvVault()
    read: Callable[[str], dict[str, int]] = vault.read  # type: ignore[assignment]

    def other(path: str) -> dict[str, int]:
        assert path == TIME_PATH
        return {"server_time_utc": read(path)["server_time_utc"] + seconds}

    monkeypatch.setattr(vault, "read", other)
    assert vault_clock(vault)[1] is agrees


def test_an_old_login_is_revoked_when_it_had_no_session_for_the_drain_time(
    world: World, parts: tuple[Cycle, Clocked, Counted]
) -> None:
    one, _, rotator = parts
    one.start, rotator.sessions = START, 2
    next(rounds(world, one, 0))
    deliver(world)
    for waits_for in itertools.islice(rounds(world, one, 600), 5):
        assert waits_for == "2 sessions use the old value"
    rotator.sessions = 0
    assert [*itertools.islice(rounds(world, one, 20), 2)] == ["the old value has to be out of use for 60 s"] * 2
    rotator.sessions = 1  # one comes back: the time begins again
    assert next(rounds(world, one, 0)) == "1 sessions use the old value"
    world.now += timedelta(seconds=59)
    rotator.sessions = 0
    waited = [*rounds(world, one, 20)]
    assert waited == ["the old value has to be out of use for 60 s"] * 3
    assert not world.logs_in(world.value(1)) and world.logs_in(world.value(2))


def test_where_the_target_cannot_tell_the_drain_time_counts_from_delivery(
    world: World, parts: tuple[Cycle, Clocked, Counted]
) -> None:
    one, _, rotator = parts
    one.start, rotator.sessions = START, None
    next(rounds(world, one, 0))
    deliver(world)
    waited = [*rounds(world, one, 20)]
    assert waited == ["the old value has to be out of use for 60 s"] * 3
    assert not world.logs_in(world.value(1))
