"""Three Vault pods that start at once, on empty volumes, form one cluster: never two, and never none.

Each round takes Vault and its engine away, empties the volumes, forgets the initialisation and starts all of it
again. FORMATION_ROUNDS says how many rounds. Afterwards the stack's Vault is an empty one.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from secret_authority.contract.names import ENGINE_NAMESPACE, INITIALISATION, UNSEAL_SHARES, VAULT_NAMESPACE
from tests.support.recorded_stack import RecordedStack
from tests.support.vault_pods import conditions, ready_pods
from tests.support.vault_way import broken_glass
from tests.support.waiting import until

pytestmark = [
    pytest.mark.drill,
    pytest.mark.nightly,
    # A tunnel's thread may still write while its test has ended.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]

ROUNDS = int(os.environ.get("FORMATION_ROUNDS", "2"))
VAULT = f"/apis/apps/v1/namespaces/{VAULT_NAMESPACE}/statefulsets/vault"
ENGINE = f"/apis/apps/v1/namespaces/{ENGINE_NAMESPACE}/deployments/secret-authority-engine"
CORE = f"/api/v1/namespaces/{VAULT_NAMESPACE}"


@pytest.fixture(scope="module")
def three(altered: RecordedStack) -> RecordedStack:
    """The stack at phase 4 with three Vault pods, which its engine knows of."""
    if (altered.objects.get(VAULT) or {})["spec"]["replicas"] != 3:
        altered.set_up(4, vault={"storageClass": "local", "replicas": 3})
    return altered


def scale(stack: RecordedStack, path: str, replicas: int) -> None:
    stack.objects.request("PATCH", path, {"spec": {"replicas": replicas}})


def pods(stack: RecordedStack, path: str) -> int:
    return int((stack.objects.get(path) or {})["status"].get("replicas") or 0)


def take_away(stack: RecordedStack) -> None:
    """Vault, its engine, what is on the volumes, and the record of the initialisation."""
    for path in (ENGINE, VAULT):
        scale(stack, path, 0)
    until(lambda: pods(stack, VAULT) == 0 and pods(stack, ENGINE) == 0 and not ready_pods(stack), "no pod is left", 120)
    claims = f"{CORE}/persistentvolumeclaims"
    for item in (stack.objects.get(claims) or {})["items"]:
        stack.objects.request("DELETE", f"{claims}/{item['metadata']['name']}")
    until(lambda: not (stack.objects.get(claims) or {})["items"], "no volume is claimed", 120)
    stack.run_toolchain("node", "recycle", "--name", stack.name)
    for path in (f"{CORE}/configmaps/{INITIALISATION}", f"{CORE}/secrets/{UNSEAL_SHARES}"):
        if stack.objects.get(path) is not None:
            stack.objects.request("DELETE", path)


def formed(stack: RecordedStack) -> bool:
    stored = stack.objects.get(f"{CORE}/secrets/{UNSEAL_SHARES}")
    return stored is not None and len(ready_pods(stack)) == 3 and bool(conditions(stack)["VaultInService"]["status"])


def clusters(stack: RecordedStack) -> set[str]:
    """The id of the Vault cluster that each pod says it belongs to."""
    path = f"{CORE}/pods/https:vault-{{}}:8200/proxy/v1/sys/seal-status"
    found = [stack.objects.get(path.format(number)) or {} for number in range(3)]
    return {str(status["cluster_id"]) for status in found}


@pytest.mark.parametrize("number", range(ROUNDS))
def test_three_pods_that_start_at_once_form_one_cluster(three: RecordedStack, number: int, tmp_path: Path) -> None:
    take_away(three)
    begun = time.monotonic()
    for path, replicas in ((VAULT, 3), (ENGINE, 1)):
        scale(three, path, replicas)
    until(lambda: formed(three), "three pods are in service", 180)
    three.measured.append((f"three empty Vault pods to one cluster, round {number + 1}", time.monotonic() - begun))
    assert len(clusters(three)) == 1
    root, _ = three.identities()
    with broken_glass(three.kubeconfig, tmp_path, root.secret) as vault:
        peers = (vault.read("sys/storage/raft/configuration") or {})["data"]["config"]["servers"]
        assert {peer["node_id"] for peer in peers} == {"vault-0", "vault-1", "vault-2"}
        assert sum(peer["leader"] for peer in peers) == 1
