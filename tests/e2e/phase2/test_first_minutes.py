"""The engine is killed when it has Vault's unseal shares and has not stored them: the same `up` gets to phase 3."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from secret_authority.contract.names import ENGINE_ACCOUNT, ENGINE_NAMESPACE, INITIALISATION, UNSEAL_SHARES
from tests.support.recorded_stack import DESTROY, UP, RecordedStack
from tests.support.vault_pods import conditions, in_service
from tests.support.waiting import until

pytestmark = [pytest.mark.drill, pytest.mark.nightly]

POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
BINDINGS = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"
NAME = "no-unseal-shares"
ENGINE = f"system:serviceaccount:{ENGINE_NAMESPACE}:{ENGINE_ACCOUNT}"
CREATED = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["secrets"]}
RULE: dict[str, Any] = {
    "failurePolicy": "Fail",
    "matchConstraints": {"resourceRules": [CREATED]},
    "validations": [
        {"expression": f"object.metadata.name != '{UNSEAL_SHARES}' || request.userInfo.username != '{ENGINE}'"}
    ],
}
ENGINES = f"/api/v1/namespaces/{ENGINE_NAMESPACE}/pods?labelSelector=app={ENGINE_ACCOUNT}"
RECORD = f"/api/v1/namespaces/vault/configmaps/{INITIALISATION}"
SHARES = f"/api/v1/namespaces/vault/secrets/{UNSEAL_SHARES}"


@pytest.fixture
def nowhere_to_store(destroyed: RecordedStack) -> Iterator[RecordedStack]:
    """The API server lets no engine create the Secret of the shares. Afterwards the stack is destroyed again."""
    spec = {"policyName": NAME, "validationActions": ["Deny"]}
    destroyed.objects.request("POST", POLICIES, {"metadata": {"name": NAME}, "spec": RULE})
    destroyed.objects.request("POST", BINDINGS, {"metadata": {"name": NAME}, "spec": spec})
    yield destroyed
    for path in (BINDINGS, POLICIES):
        destroyed.objects.request("DELETE", f"{path}/{NAME}")
    destroyed.run(*DESTROY).passed()


def engines(stack: RecordedStack) -> set[str]:
    return {pod["metadata"]["name"] for pod in (stack.objects.get(ENGINES) or {})["items"]}


def has_shares_in_memory(stack: RecordedStack) -> bool:
    """Vault is initialised, by what the engine writes while it tries to store its shares."""
    if not (claimed := stack.objects.get(RECORD)) or set(claimed["data"]) != {"claimed", "run"}:
        return False
    return any(b"shares cannot be stored yet" in log(stack, pod) for pod in engines(stack))


def log(stack: RecordedStack, pod: str) -> bytes:
    return stack.objects.text(f"/api/v1/namespaces/{ENGINE_NAMESPACE}/pods/{pod}/log")


def test_the_run_that_waits_for_vault_clears_it_and_reaches_phase_3(nowhere_to_store: RecordedStack) -> None:
    stack = nowhere_to_store
    begun = time.monotonic()
    process = stack.start(*UP, "--skip-preview", phase=3, root=True)
    until(lambda: has_shares_in_memory(stack), "an engine has shares that it cannot store", 400)
    for pod in engines(stack):
        path = f"/api/v1/namespaces/{ENGINE_NAMESPACE}/pods/{pod}"
        stack.objects.request("DELETE", path, {"gracePeriodSeconds": 0})
    run = stack.record("up to phase 3 with an engine killed at sys/init", stack.finish(process, begun)).passed()
    assert "never opened, so it is cleared" in " ".join(run.output.split())
    assert stack.reached() == 3 and in_service(stack)
    assert (stack.objects.get(SHARES) or {})["immutable"]
    assert conditions(stack)["HandedOver"]["status"]
    # And nothing is left to do.
    quiet = stack.run("preview", "--expect-no-changes", "--non-interactive", phase=3).passed()
    assert "cleared" not in quiet.output
