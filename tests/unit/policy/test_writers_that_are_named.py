"""What writes Secrets in a way that manifests do not say is named, and never silent."""

from __future__ import annotations

import pytest

from policy.claims.namespaces import matches, parsed_selector
from policy.rules.registry import unjudged
from tests.support.policy.stacks import CANARY, R, context_of_state, k8s


def _job(command: str) -> R:
    container = {"name": "c", "image": "kubectl", "command": ["/bin/sh", "-c"], "args": [command]}
    return k8s("batch/v1", "Job", "shop/login", spec={"template": {"spec": {"containers": [container]}}})


@pytest.mark.parametrize(
    ("command", "named"),
    [
        (f"kubectl -n shop create secret generic db --from-literal=password={CANARY}", "kubectl … create secret"),
        (f"kubectl get ns; oc create secret tls db --key {CANARY}", "oc create secret"),
        (f"vault kv put kv/db password={CANARY}", "vault kv put"),
        (f"aws secretsmanager put-secret-value --secret-string {CANARY}", "aws secretsmanager put-secret-value"),
        ("kubectl get secret db; kubectl create configmap db", None),
        ("vault kv get kv/db", None),
    ],
)
def test_a_command_that_writes_is_named_without_its_arguments(command: str, named: str | None) -> None:
    script = k8s("v1", "ConfigMap", "shop/scripts", data={"run.sh": f"#!/bin/sh\n{command}\n"})
    told = unjudged(context_of_state([_job(command), script]))
    assert [f"`{named}`" in each for each in told] == [True, True] * bool(named)
    assert CANARY not in str(told)


def test_expressions_that_generate_secrets_are_named() -> None:
    rule = {"name": "r", "generate": {"kind": "Secret", "name": "{{ request.object.metadata.name }}-tls"}}
    old = k8s("kyverno.io/v1", "ClusterPolicy", "copy", spec={"rules": [rule]})
    new = k8s(
        "policies.kyverno.io/v1", "GeneratingPolicy", "clone", spec={"generate": [{"expression": 'x("secrets")'}]}
    )
    told = unjudged(context_of_state([old, new]))
    assert [each.split()[:2] for each in told] == [["GeneratingPolicy", "default/clone"], ["ClusterPolicy", "copy"]]


@pytest.mark.parametrize(
    ("text", "labels", "fits"),
    [
        ("app=shop", {"app": "shop"}, True),
        ("app==shop, tier!=web", {"app": "shop"}, True),
        ("app=shop,tier!=web", {"app": "shop", "tier": "web"}, False),
        ("app in (shop, web),!old", {"app": "web"}, True),
        ("app notin (shop),app", {"app": "shop"}, False),
        ("", {}, True),
        ("app", {}, False),
    ],
)
def test_selectors_in_text_are_those_of_kubectl(text: str, labels: dict[str, object], fits: bool) -> None:
    assert matches(parsed_selector(text), labels, "shop") is fits


@pytest.mark.parametrize("text", ["app=shop app=web", "app in (a", "=x"])
def test_what_is_no_selector_is_none(text: str) -> None:
    assert parsed_selector(text) is None


def test_manifests_that_others_carry_are_named() -> None:
    manifest = {"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {"name": "registry"}}
    tenants = k8s(
        "capsule.clastix.io/v1beta2", "GlobalTenantResource", "all", spec={"resources": [{"rawItems": [manifest]}]}
    )
    chart = k8s("helm.toolkit.fluxcd.io/v2", "HelmRelease", "shop/app", spec={"values": {"extraObjects": [manifest]}})
    told = unjudged(context_of_state([tenants, chart]))
    assert [each.partition(":")[0] for each in told] == [
        "GlobalTenantResource default/all carries ExternalSecret registry"
    ]
