"""Who reaches whom: network policies, seen from pods in several namespaces. The local node enforces them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from secret_authority.contract.names import (
    BOOTSTRAP_EVIDENCE,
    CLUSTER_PORT,
    CONSUMPTION_ACCOUNT,
    ENGINE_ACCOUNT,
    ENGINE_NAMESPACE,
    ESO_NAMESPACE,
    FLUX_NAMESPACE,
    INTERNAL_SERVICE,
    ROTATION_ACCOUNT,
    VAULT_NAMESPACE,
    VAULT_PORT,
)
from tests.support.flux import SOURCE_PATH
from tests.support.recorded_stack import RecordedStack
from tests.support.waiting import until

pytestmark = pytest.mark.cluster

VAULT = f"vault.{VAULT_NAMESPACE}.svc:{VAULT_PORT}"
RAFT = f"vault-0.{INTERNAL_SERVICE}.{VAULT_NAMESPACE}.svc:{CLUSTER_PORT}"
FLUX_ARTIFACTS = f"source-controller.{FLUX_NAMESPACE}.svc:80"
# Policies are in effect a moment after a pod has its address. The first argument is what they close to it, or empty.
LOOK = """
import json, socket, sys, time
def reached(target):
    host, _, port = target.rpartition(":")
    address = socket.gethostbyname(host)
    try:
        socket.create_connection((address, int(port)), timeout=4).close()
        return True
    except OSError:
        return False
closed, *targets = sys.argv[1:]
end = time.monotonic() + 60
while closed and time.monotonic() < end and reached(closed):
    time.sleep(0.1)
print(json.dumps({target: reached(target) for target in targets}), flush=True)
"""


# The API server and the Git server, which the local node has outside of the cluster's pods.
API, GIT, METRICS = "kubernetes.default.svc:443", "the Git server", "metrics of the engine"
# The target of a rotation, and what an application of the example logs in to.
DATABASE = "orders-db.data.svc:5432"
TARGETS = {VAULT, RAFT, FLUX_ARTIFACTS, API, GIT, METRICS, DATABASE}
# By namespace and the label `app`: a pod without a label of ours, and pods that look like ours.
REACHED: dict[tuple[str, str], set[str]] = {
    # No policy of the platform is over these.
    ("default", ""): {API, GIT},
    # A consumer's workload reads its Secret and nothing else.
    ("shop", ""): {API, GIT},
    ("data", ""): {API, GIT},
    (ESO_NAMESPACE, ""): {API, VAULT},
    (ENGINE_NAMESPACE, ""): {API},
    (ENGINE_NAMESPACE, ENGINE_ACCOUNT): {API, VAULT, FLUX_ARTIFACTS},
    (ENGINE_NAMESPACE, CONSUMPTION_ACCOUNT): {API, VAULT},
    (ENGINE_NAMESPACE, ROTATION_ACCOUNT): {API, VAULT, DATABASE},
    (ENGINE_NAMESPACE, BOOTSTRAP_EVIDENCE): {API, FLUX_ARTIFACTS},
    (FLUX_NAMESPACE, ""): {API, FLUX_ARTIFACTS},
    (VAULT_NAMESPACE, ""): {API},
}


def engine_address(stack: RecordedStack) -> str:
    """Where the engine's metrics are: it has no Service."""
    selector = f"labelSelector=app%3D{ENGINE_ACCOUNT}"
    found = stack.objects.get(f"/api/v1/namespaces/{ENGINE_NAMESPACE}/pods?{selector}") or {}
    (pod,) = found["items"]
    return f"{pod['status']['podIP']}:8080"


def looking(image: str, arguments: list[str]) -> dict[str, Any]:
    """A pod's specification: it looks around and ends."""
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "look",
                "image": image,
                "command": ["python3", "-c", LOOK, *arguments],
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
    }


@pytest.fixture(scope="module")
def seen(complete: RecordedStack) -> Iterator[dict[tuple[str, str], set[str]]]:
    """Which targets a pod of each kind reaches. All ask at once."""
    source = complete.objects.get(SOURCE_PATH)
    assert source is not None
    named = {GIT: urlsplit(source["spec"]["url"]).netloc, METRICS: engine_address(complete)}
    asked = {target: named.get(target, target) for target in TARGETS}
    objects = complete.objects
    pods = {case: f"/api/v1/namespaces/{case[0]}/pods/look-around-{number}" for number, case in enumerate(REACHED)}

    def ended(path: str) -> bool:
        return (objects.get(path) or {})["status"].get("phase") in ("Succeeded", "Failed")

    def opened(path: str) -> set[str]:
        found = json.loads(objects.text(f"{path}/log"))
        return {target for target, address in asked.items() if found[address]}

    try:
        for (namespace, app), path in pods.items():
            collection, _, name = path.rpartition("/")
            labels = {"labels": {"app": app}} if app else {}
            # The one target that no policy of its own protects shows that those of the pod are in effect.
            closed = "" if GIT in REACHED[namespace, app] else asked[GIT]
            spec = looking(complete.engine_image, [closed, *asked.values()])
            objects.request("POST", collection, {"metadata": {"name": name, **labels}, "spec": spec})
        until(lambda: all(map(ended, pods.values())), "every pod has asked", 120)
        yield {case: opened(path) for case, path in pods.items()}
    finally:
        made = [path for path in pods.values() if objects.get(path)]
        for path in made:
            objects.request("DELETE", f"{path}?gracePeriodSeconds=0")
        until(lambda: not any(map(objects.get, made)), "the pods are gone", 30)


@pytest.mark.parametrize("case", REACHED, ids=lambda case: "-".join(filter(None, case)))
def test_who_reaches_what(seen: dict[tuple[str, str], set[str]], case: tuple[str, str]) -> None:
    assert seen[case] == REACHED[case]
