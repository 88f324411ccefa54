"""`pulumi destroy` leaves the cluster as it was before phase 1, with the namespaces of Git, which hold workloads."""

from __future__ import annotations

import pytest

from tests.support.cluster_objects import Key
from tests.support.recorded_stack import DESTROY, RecordedStack
from tests.support.waiting import until

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def before(built: RecordedStack) -> set[Key]:
    """The objects of the cluster at phase 2."""
    return built.objects.names()


def test_destroy_leaves_nothing(before: set[Key], destroyed: RecordedStack, bare_names: set[Key]) -> None:
    assert {key.kind for key in before - bare_names} >= {"CustomResourceDefinition", "Namespace", "Secret", "Job"}
    until(lambda: not destroyed.left(), lambda: f"everything is gone but {destroyed.left()}", 120)
    assert destroyed.reached() is None


def test_destroy_again_has_nothing_to_do(destroyed: RecordedStack) -> None:
    destroyed.run(*DESTROY).passed()
    assert destroyed.left() == []
