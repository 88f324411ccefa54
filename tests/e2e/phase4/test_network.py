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


REACHED = {
    "default": set(),
    # A consumer's workload reads its Secret and nothing else.
    "shop": set(),
    "external-secrets": {VAULT},
    # The engine, and the evidence that fetches what Flux has fetched.
    ENGINE_NAMESPACE: {VAULT, FLUX_ARTIFACTS},
}


@pytest.fixture(scope="module")
def seen(complete: RecordedStack) -> Iterator[dict[str, dict[str, bool]]]:
    """Which targets a pod of each namespace reaches that has no label of any of our programs. All ask at once."""
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
    objects = complete.objects
    pods = {namespace: f"/api/v1/namespaces/{namespace}/pods" for namespace in REACHED}

    def ended(path: str) -> bool:
        return (objects.get(f"{path}/look-around") or {})["status"].get("phase") in ("Succeeded", "Failed")

    try:
        for path in pods.values():
            objects.request("POST", path, {"metadata": {"name": "look-around"}, "spec": spec})
        until(lambda: all(map(ended, pods.values())), "every pod has asked", 90)
        yield {name: json.loads(objects.text(f"{path}/look-around/log")) for name, path in pods.items()}
    finally:
        made = [pod for path in pods.values() if objects.get(pod := f"{path}/look-around")]
        for pod in made:
            objects.request("DELETE", f"{pod}?gracePeriodSeconds=0")
        until(lambda: not any(map(objects.get, made)), "the pods are gone", 30)


@pytest.mark.parametrize("namespace", REACHED)
def test_who_reaches_vault_its_raft_port_and_the_artifacts_of_flux(
    seen: dict[str, dict[str, bool]], namespace: str
) -> None:
    assert set(seen[namespace]) == {VAULT, RAFT, FLUX_ARTIFACTS}
    assert {target for target, open_ in seen[namespace].items() if open_} == REACHED[namespace]
