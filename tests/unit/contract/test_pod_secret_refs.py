"""Which Secrets a pod uses has one answer: of the policy, of the restarts and of the admission guard.

The guard is CEL that only an API server runs: tests/cluster/test_bootstrap_secrets.py gives it the same pods.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from components.bootstrap.pod_guard import USES_A_SECRET
from policy.inventory.resource import Origin, Position, Resource
from policy.inventory.workloads import Pods, pods_of, secret_uses
from secret_authority.contract.pod_secret_refs import POD_FIELDS, secret_names
from tests.support.pod_secret_uses import PAUSE, SECRET, USES

EPHEMERAL: dict[str, Any] = {
    "ephemeralContainers": [{"name": "debug", "image": PAUSE, "envFrom": [{"secretRef": {"name": SECRET}}]}]
}
PODS = {**USES, "ephemeral container": EPHEMERAL}


def pods(spec: dict[str, Any]) -> Pods:
    whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "user", "namespace": "shop"}, "spec": spec}
    made = pods_of(Resource("kubernetes:core/v1:Pod", "user", Position("urn"), Origin.STACK, lambda: whole))
    assert made is not None
    return made


@pytest.mark.parametrize("use", PODS)
def test_the_policy_and_the_restarts_see_every_use(use: str) -> None:
    spec = {"containers": [{"name": "main", "image": PAUSE}], **PODS[use]}
    assert secret_names(spec) == {SECRET}
    assert [found.name for found in secret_uses(pods(spec))] == [SECRET]


def test_every_field_of_the_table_has_a_pod_that_uses_it() -> None:
    """Each field alone, so that a field that is added here or at the guard only does not go unseen."""
    seen = {path for path in POD_FIELDS for spec in PODS.values() if SECRET in secret_names_at(spec, path)}
    # The same fields of every kind of container.
    kinds = {re.sub(r"^(initC|ephemeralC|c)ontainers", "containers", path) for path in POD_FIELDS}
    assert {re.sub(r"^(initC|ephemeralC|c)ontainers", "containers", path) for path in seen} == kinds


def secret_names_at(spec: dict[str, Any], path: str) -> set[str]:
    values: list[Any] = [spec]
    for step in path.split("."):
        values = [value.get(step.removesuffix("[]")) or {} for value in values if isinstance(value, dict)]
        if step.endswith("[]"):
            values = [entry for value in values for entry in value]
    return {value for value in values if isinstance(value, str)}


@pytest.mark.parametrize("path", POD_FIELDS)
def test_the_guard_asks_for_every_field_of_the_table(path: str) -> None:
    """Field by field in their order: the lists of the path, then what is in their entries."""
    steps = [step.removesuffix("[]") for step in path.split(".")]
    assert re.search(r"\W.{0,1200}?".join(rf"\b{step}\b" for step in steps), USES_A_SECRET, re.DOTALL)


def test_what_names_no_secret_is_no_use() -> None:
    spec = {
        "containers": [{"name": "main", "envFrom": [{"configMapRef": {"name": "no"}}], "env": [{"name": "A"}]}],
        "volumes": [
            {"name": "a", "emptyDir": {}},
            {"name": "b", "projected": {"sources": [{"configMap": {"name": "no"}}]}},
            {"name": "c", "csi": {"driver": "example.org"}},
        ],
    }
    assert secret_names(spec) == set() and not list(secret_uses(pods(spec)))
