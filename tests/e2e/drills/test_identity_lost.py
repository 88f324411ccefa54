"""The cluster's identity is deleted by hand; a run with the root holder brings it back (docs/runbooks/unseal.md)."""

from __future__ import annotations

import pytest

from secret_authority.contract.names import ENGINE_NAMESPACE, FLUX_NAMESPACE, IDENTITY_SECRET, RECIPIENT_ANNOTATION
from tests.support.recorded_stack import RecordedStack

pytestmark = [pytest.mark.drill, pytest.mark.nightly]

PLACES = [
    f"/api/v1/namespaces/{namespace}/secrets/{IDENTITY_SECRET}" for namespace in (FLUX_NAMESPACE, ENGINE_NAMESPACE)
]


def planted(stack: RecordedStack) -> list[str | None]:
    """The recipient of the identity in each place."""
    found = [stack.objects.get(path) for path in PLACES]
    return [one and one["metadata"]["annotations"][RECIPIENT_ANNOTATION] for one in found]


def test_a_deleted_identity_comes_back_with_the_root_holder(built: RecordedStack) -> None:
    stack = built
    _, cluster = stack.identities()
    values = stack.cluster_values()
    assert planted(stack) == [cluster.recipient] * 2 and values
    for deleted in (PLACES, PLACES[1:]):
        for path in deleted:
            stack.objects.request("DELETE", path)
        if deleted == PLACES:
            stack.reach(2).refused("has no decryption identity yet", "SECRET_AUTHORITY_ROOT_IDENTITY")
            assert planted(stack) == [None, None]
        stack.set_up(2, root=True)
        assert planted(stack) == [cluster.recipient] * 2
        assert stack.cluster_values() == values
    stack.reach(2, "--expect-no-changes").passed()
