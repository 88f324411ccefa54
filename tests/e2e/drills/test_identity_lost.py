"""The cluster's identity is deleted by hand; docs/runbooks/unseal.md brings it back with the root holder."""

from __future__ import annotations

import os
import subprocess

import pytest

from secret_authority.contract.names import ENGINE_NAMESPACE, FLUX_NAMESPACE, IDENTITY_SECRET, RECIPIENT_ANNOTATION
from tests.support.recorded_stack import RecordedStack
from tests.support.runbook import commands, section
from toolchain.local_stack import CHECKOUT

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
    for path in PLACES:
        stack.objects.request("DELETE", path)
    stack.reach(2).refused("has no decryption identity yet", "SECRET_AUTHORITY_ROOT_IDENTITY")
    assert planted(stack) == [None, None]
    (forget,) = commands(section("unseal.md", "The cluster's identity was deleted"), "kubectl")
    path = f"{CHECKOUT / '.tools/bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "KUBECONFIG": str(stack.kubeconfig)}
    subprocess.run(["bash", "-c", forget], env=environment, check=True, capture_output=True)
    stack.set_up(2, "--refresh", root=True)
    assert planted(stack) == [cluster.recipient] * 2
    assert stack.cluster_values() == values
    stack.reach(2, "--expect-no-changes").passed()
