"""From one Vault pod to three on a running stack, and all three deleted at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.recorded_stack import RecordedStack
from tests.support.vault_pods import PODS, back_in_service, in_service, phase_of, ready_pods
from tests.support.vault_way import broken_glass
from tests.support.waiting import until

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.nightly,
    # A tunnel's thread may still write while its test has ended.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]


def test_three_replicas_join_and_come_back_when_all_are_deleted(complete: RecordedStack, tmp_path: Path) -> None:
    stack = complete
    settings = {"storageClass": "local", "replicas": 3}
    stack.record("up to three replicas", stack.reach(phase_of(stack), vault=settings).passed())
    until(lambda: in_service(stack, 3), "three pods in service", 180)
    gone = ready_pods(stack)
    for number in range(3):
        stack.objects.request("DELETE", f"{PODS}/vault-{number}")
    back_in_service(stack, "all three pods were deleted", gone, pods=3)
    root, _ = stack.identities()
    with broken_glass(stack.kubeconfig, tmp_path, root.secret) as vault:
        peers = vault.read("sys/storage/raft/configuration")
        assert peers is not None
        servers = peers["data"]["config"]["servers"]
        assert {server["node_id"] for server in servers} == {"vault-0", "vault-1", "vault-2"}
        assert sum(server["leader"] for server in servers) == 1
    stack.reach(phase_of(stack), "--expect-no-changes", vault=settings).passed()
