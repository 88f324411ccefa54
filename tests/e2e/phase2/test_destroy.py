"""`pulumi destroy` leaves the cluster as it was before phase 1."""

from __future__ import annotations

import pytest

from tests.support.cluster_objects import Key
from tests.support.recorded_stack import DESTROY, RecordedStack
from tests.support.waiting import until

pytestmark = pytest.mark.cluster


def test_destroy_leaves_nothing(built: RecordedStack, bare_names: set[Key]) -> None:
    present = built.objects.names()
    assert {key.kind for key in present - bare_names} >= {"CustomResourceDefinition", "Namespace", "Secret", "Job"}
    built.record("destroy from phase 2", built.run(*DESTROY).passed())
    until(lambda: not built.left(), lambda: f"everything is gone but {built.left()}", 120)
    assert built.reached() is None


def test_destroy_again_has_nothing_to_do(built: RecordedStack) -> None:
    built.run(*DESTROY).passed()
    assert built.left() == []
