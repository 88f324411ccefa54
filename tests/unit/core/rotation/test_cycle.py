"""One permission is one attempt: what another engine has done meanwhile is not done once more."""

from __future__ import annotations

from datetime import timedelta

import pytest

from secret_authority.core.errors import Unavailable
from secret_authority.core.rotation.cycle import Cycle
from secret_authority.core.rotation.document import Document, Request, RequestKind, Start, State, Trigger
from secret_authority.core.rotation.runner import advance
from secret_authority.core.rotation.state_machine import Rules
from tests.unit.core.rotation.model import World, engine

START = Start(Trigger.MANUAL, "a test", "r1")


@pytest.fixture
def world() -> World:
    made = World()
    made.requests["r1"] = Request("r1", RequestKind.ROTATE, "a test")
    return made


def present(world: World) -> Document:
    found = world.documents[-1] if world.documents else None
    return Document.from_fields(found) if found else Document()


def work(world: World, one: Cycle) -> None:
    """Rounds of one engine, until the request has its answer and nothing is in flight."""
    for _ in range(30):
        advance(Rules(), "retry", one, lambda: 0.5)
        for consumer in range(len(world.consumers)):
            world.deliver(consumer)
        world.now += timedelta(seconds=70)
        if "r1" in world.answers and present(world).state is State.IDLE:
            return
    raise AssertionError(f"does not come to rest: {present(world)}")


@pytest.mark.parametrize("at", ["read document", "read newest", "write document"])
def test_an_engine_that_was_paused_before_it_began_does_not_begin(world: World, at: str) -> None:
    other, raced = engine(world), list[str]()

    def point(name: str) -> None:
        if name == at and not raced:
            raced.append(name)
            other.start, other.admitted = START, 0
            work(world, other)

    paused = engine(world, point)
    paused.start, paused.admitted = START, 0
    work(world, paused)
    assert raced and present(world).generation == 1 and len(world.versions) == 2
    assert paused.start is None


def test_a_permission_whose_answer_is_lost_is_used_up(world: World) -> None:
    lost: list[str] = []

    def point(name: str) -> None:
        if name == "document written" and not lost:
            lost.append(name)
            raise Unavailable("the answer is lost")

    one = engine(world, point)
    one.start, one.admitted = START, 0
    work(world, one)
    assert lost and present(world).generation == 1 and len(world.versions) == 2
