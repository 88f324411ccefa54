"""Drills of human error on a stack at phase 4: each is refused, or undone by the next run, and no value is lost.

What workloads have is compared byte for byte, and so is what Vault holds, by its own version numbers. The other errors
are in docs/runbooks/drills.md with their tests.
"""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Any

import pytest

from secret_authority.contract.names import FLUX_NAMESPACE, IDENTITY_SECRET
from tests.support.cluster_objects import Key
from tests.support.recorded_stack import DESTROY, UP, RecordedStack
from tests.support.waiting import until
from tests.support.whole_stack import Whole, whole_stack

pytestmark = [
    pytest.mark.drill,
    pytest.mark.nightly,
    # A tunnel's thread may still write while its test has ended.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]

PROGRAM = [sys.executable, "-m", "cli.main", "pulumi"]
NAMESPACE = "edge"
NAMESPACES = "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations/namespaces"
EXTERNAL_SECRETS = f"/apis/external-secrets.io/v1/namespaces/{NAMESPACE}/externalsecrets"


@pytest.fixture(scope="module")
def whole(expendable: RecordedStack, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return whole_stack(expendable, tmp_path_factory.mktemp("vault"))


def test_a_protected_vault_is_not_destroyed(whole: Whole) -> None:
    """`vault.protect`, the default outside of this node."""
    stack, vault = whole.stack, whole.stack.present_vault()
    stack.set_up(4, vault={**vault, "protect": True})
    try:
        stack.run(*DESTROY, phase=4, vault={**vault, "protect": True}).refused("protected")
        whole.nothing_is_lost()
    finally:
        stack.set_up(4, vault=vault)


def test_a_deleted_namespace_comes_back_with_its_secrets(whole: Whole) -> None:
    """docs/runbooks/external-secrets.md, "A consumer namespace was deleted".

    Git has the namespace, and Pulumi what is in it; the values are in Vault.
    """
    stack, path = whole.stack, f"/api/v1/namespaces/{NAMESPACE}"
    uid = (stack.objects.get(path) or {})["metadata"]["uid"]
    stack.objects.request("DELETE", path)
    until(lambda: _released(stack, uid), "the namespace is gone", 120)
    reconcile_namespaces(stack)
    until(lambda: _uid(stack) not in (None, uid), "Flux has made the namespace again", 300)
    run = stack.run(*UP, "--refresh", phase=4, vault=stack.present_vault(), program=PROGRAM)
    stack.record("up --refresh after a deleted namespace", run.passed())
    whole.nothing_is_lost()


def test_a_forgotten_state_changes_nothing_and_is_brought_back(whole: Whole) -> None:
    """docs/runbooks/rebuild.md, "The state is lost or forgotten, and the cluster is not".

    With the root holder too, whose run would plant the identity again; and no refused run leaves what the next one
    would take for a state.
    """
    stack, state = whole.stack, whole.folder / "state.json"
    identity = f"/api/v1/namespaces/{FLUX_NAMESPACE}/secrets/{IDENTITY_SECRET}"
    planted = (stack.objects.get(identity) or {})["metadata"]["resourceVersion"]
    stack.query("stack", "export", "--file", str(state))
    stack.query("state", "delete", "--all", "--force", "--yes")
    before = written_by_pulumi(stack)
    for root in (False, True):
        run = stack.run(*UP, "--skip-preview", phase=4, root=root, vault=stack.present_vault())
        run.refused("has reached phase 4 (consumption)", "Namespace vault", "`pulumi stack import --file FILE`")
    assert {key: marks for key, marks in written_by_pulumi(stack).items() if before.get(key) != marks} == {}
    assert (stack.objects.get(identity) or {})["metadata"]["resourceVersion"] == planted
    stack.query("stack", "import", "--file", str(state))
    run = stack.run(*UP, "--refresh", phase=4, vault=stack.present_vault(), program=PROGRAM)
    stack.record("up --refresh after stack import", run.passed())
    whole.nothing_is_lost()


def written_by_pulumi(stack: RecordedStack) -> dict[Key, list[tuple[str, str]]]:
    """Each object that Pulumi has written, by which run's field managers, and when."""
    found: dict[Key, list[tuple[str, str]]] = {}
    for key, item in stack.objects.everything():
        managers = [(one.get("manager", ""), one.get("time", "")) for one in item["metadata"].get("managedFields", [])]
        if marks := sorted(mark for mark in managers if mark[0].startswith("pulumi")):
            found[key] = marks
    return found


def reconcile_namespaces(stack: RecordedStack) -> None:
    """Ask Flux to apply Git's namespaces now; it does so every ten minutes."""
    asked = {"reconcile.fluxcd.io/requestedAt": str(time.time())}
    stack.objects.request("PATCH", NAMESPACES, {"metadata": {"annotations": asked}})


def _released(stack: RecordedStack, uid: str) -> bool:
    """Whether the deleted namespace is gone. What waits for a controller that has lost its rights is released."""
    with contextlib.suppress(OSError):
        for item in (stack.objects.get(EXTERNAL_SECRETS) or {}).get("items", []):
            if item["metadata"].get("deletionTimestamp") and item["metadata"].get("finalizers"):
                place = f"{EXTERNAL_SECRETS}/{item['metadata']['name']}"
                stack.objects.request("PATCH", place, {"metadata": {"finalizers": None}})
        found = stack.objects.get(f"/api/v1/namespaces/{NAMESPACE}")
        return found is None or found["metadata"]["uid"] != uid
    return False


def _uid(stack: RecordedStack) -> str | None:
    """Of the namespace as it is now; None while it is not there, is going, or the API server is too busy to say."""
    found: dict[str, Any] = {}
    with contextlib.suppress(OSError):
        found = (stack.objects.get(f"/api/v1/namespaces/{NAMESPACE}") or {}).get("metadata") or {}
    return None if "deletionTimestamp" in found else found.get("uid")
