"""The stages of a node's stack. The order of modules with nodes and their lane follow from the stage each asks for."""

from __future__ import annotations

from collections.abc import Collection

# Fixtures of tests/e2e/conftest.py in the order in which one stack passes through them. A module runs at the furthest
# stage that it asks for. `stack` alone asks for a node, in whatever state; a module without any has nodes of its own.
STAGES = ("empty", "built", "destroyed", "rising", "stack", "runtime", "complete", "searched", "altered", "expendable")
# The first stage of each lane after the first. Lane "b" has a Vault from its start, after the modules with nodes of
# their own; lane "c" has what leaves the stack changed or lost, and rises to phase 4 by itself.
BOUNDS = ("runtime", "altered")
LANES = ("a", "b", "c")
OWN_NODES = -1


def stage(fixtures: Collection[str]) -> int:
    """The furthest stage among the fixtures of a module's tests, as a place in STAGES."""
    asked = [number for number, name in enumerate(STAGES) if name in fixtures]
    # Each stage is one of the session's stack, so that `stack` says nothing beside another.
    others = [number for number in asked if STAGES[number] != "stack"]
    return max(others or asked, default=OWN_NODES)


def lane(of: int) -> str:
    """The lane of a stage."""
    if of == OWN_NODES:
        return LANES[1]
    return LANES[sum(of >= STAGES.index(bound) for bound in BOUNDS)]
