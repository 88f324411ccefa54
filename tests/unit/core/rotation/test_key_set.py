"""A key set in use: replicas sign and accept while its three values arrive at one after another."""

from __future__ import annotations

from datetime import timedelta

import pytest

from secret_authority.core.catalogue.schema import CatalogueSecret
from secret_authority.core.rotation.cycle import Cycle
from secret_authority.core.rotation.document import Document, Start, State, Trigger
from secret_authority.core.rotation.rotator import Fence, Plan, Value
from secret_authority.core.rotation.runner import advance
from secret_authority.core.rotation.state_machine import Rules
from secret_authority.engine.rotation.rotators.key_set import KeySetRotator
from tests.unit.core.rotation.model import Store, World, delivery_of

KEYS = {"current": "key", "next": "key-next", "previous": "key-previous"}
REPLICAS = 3
SECRET = CatalogueSecret.model_validate(
    {
        "name": "session-key",
        "class": "internal",
        "owner": "team",
        "vault": {"datasource": "sessions", "consumer": "shop"},
        "consumers": [{"namespace": "shop", "secret": "keys", "keys": {name: name for name in KEYS.values()}}],
        "rotation": {"type": "event-based", "max_overlap": "1h"},
        "rotator": {"kind": "key-set", "keys": KEYS},
    }
)


class TwoPhases(KeySetRotator):
    """Signs with the new key at once."""

    def plan(self, current: Value, fence: Fence) -> Plan:
        return Plan(super().plan(current, fence).publications[1:])


class OnePhase(KeySetRotator):
    def plan(self, current: Value, fence: Fence) -> Plan:
        return Plan(super().plan(current, fence).publications[2:])


def rejected(world: World) -> int:
    """How many of all signatures that any replica makes now are refused by another one."""
    values = [world.value(version) for version in world.consumers]
    accepted = [{value[name] for name in KEYS.values()} for value in values]
    return sum(value["key"] not in keys for value in values for keys in accepted)


def rotation(kind: type[KeySetRotator]) -> int:
    """One rotation, replica by replica. Returns how many signatures were refused on the way."""
    world = World()
    world.versions = [({"key": "old", "key-next": "none", "key-previous": "none"}, world.now)]
    world.consumers = [1] * REPLICAS
    rotator = kind.build(SECRET, {"keys": KEYS}, lambda _name: {})
    one = Cycle(Store(world), rotator, delivery_of(world), "run-1")
    one.start = Start(Trigger.MANUAL, "a test")
    found = 0
    for step in range(60):
        advance(Rules(settled_first=False), "retry", one, lambda: 0.0)
        found += rejected(world)
        if Document.from_fields(world.documents[-1] or {}).state is State.IDLE:
            assert world.newest()["key"] not in ("old", "none")
            return found
        world.deliver(step % REPLICAS)
        found += rejected(world)
        world.now += timedelta(minutes=30)
    raise AssertionError("no end")


def test_three_values_refuse_no_signature() -> None:
    assert rotation(KeySetRotator) == 0


@pytest.mark.parametrize("kind", [TwoPhases, OnePhase])
def test_fewer_are_found_by_the_very_same_watch(kind: type[KeySetRotator]) -> None:
    assert rotation(kind) > 0
