"""`pulumi destroy` leaves the cluster as it was before phase 1."""

from __future__ import annotations

import pytest

from tests.support.cluster_objects import Key
from tests.support.recorded_stack import DESTROY, RecordedStack, until

pytestmark = pytest.mark.cluster


def test_destroy_leaves_nothing(built: RecordedStack, bare_names: set[Key]) -> None:
    present = built.objects.names()
    assert {key.kind for key in present - bare_names} >= {"CustomResourceDefinition", "Namespace", "Secret", "Job"}
    built.record("destroy from phase 2", built.run(*DESTROY).passed())
    until(lambda: not left(built, bare_names), "everything is gone")
    assert built.reached() is None


def test_destroy_again_has_nothing_to_do(built: RecordedStack, bare_names: set[Key]) -> None:
    built.run(*DESTROY).passed()
    assert left(built, bare_names) == []


def left(stack: RecordedStack, bare_names: set[Key]) -> list[str]:
    """What is there that was not there before phase 1, and what is missing of that."""
    return sorted(str(key) for key in stack.objects.names() ^ bare_names)
