"""Who reaches whom: network policies, seen from pods in several namespaces. The local node enforces them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from secret_authority.contract.names import (
    CLUSTER_PORT,
    ENGINE_NAMESPACE,
    FLUX_NAMESPACE,
    INTERNAL_SERVICE,
    VAULT_NAMESPACE,
    VAULT_PORT,
)
from tests.support.recorded_stack import RecordedStack
from tests.support.waiting import until

pytestmark = pytest.mark.cluster

VAULT = f"vault.{VAULT_NAMESPACE}.svc:{VAULT_PORT}"
RAFT = f"vault-0.{INTERNAL_SERVICE}.{VAULT_NAMESPACE}.svc:{CLUSTER_PORT}"
FLUX_ARTIFACTS = f"source-controller.{FLUX_NAMESPACE}.svc:80"
LOOK = """
import json, socket, sys
found = {}
for target in sys.argv[1:]:
    host, _, port = target.rpartition(":")
    address = socket.gethostbyname(host)
    try:
        socket.create_connection((address, int(port)), timeout=4).close()
        found[target] = True
    except OSError:
        found[target] = False
print(json.dumps(found), flush=True)
"""


@pytest.fixture
def seen(complete: RecordedStack, namespace: str) -> Iterator[dict[str, bool]]:
    """Which targets a pod of the namespace reaches that has no label of any of our programs."""
    pods = f"/api/v1/namespaces/{namespace}/pods"
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "look",
                "image": complete.engine_image,
                "command": ["python3", "-c", LOOK, VAULT, RAFT, FLUX_ARTIFACTS],
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
    }
    complete.objects.request("POST", pods, {"metadata": {"name": "look-around"}, "spec": spec})

    def ended() -> str:
        return str((complete.objects.get(f"{pods}/look-around") or {})["status"].get("phase"))

    try:
        until(lambda: ended() in ("Succeeded", "Failed"), "the pod has looked around", 60)
        yield json.loads(complete.objects.text(f"{pods}/look-around/log"))
    finally:
        complete.objects.request("DELETE", f"{pods}/look-around?gracePeriodSeconds=0")
        until(lambda: complete.objects.get(f"{pods}/look-around") is None, "the pod is gone", 30)


@pytest.mark.parametrize(
    ("namespace", "reached"),
    [
        ("default", set()),
        # A consumer's workload reads its Secret and nothing else.
        ("shop", set()),
        ("external-secrets", {VAULT}),
        # The engine, and the evidence that fetches what Flux has fetched.
        (ENGINE_NAMESPACE, {VAULT, FLUX_ARTIFACTS}),
    ],
)
def test_who_reaches_vault_its_raft_port_and_the_artifacts_of_flux(seen: dict[str, bool], reached: set[str]) -> None:
    assert set(seen) == {VAULT, RAFT, FLUX_ARTIFACTS}
    assert {target for target, open_ in seen.items() if open_} == reached
