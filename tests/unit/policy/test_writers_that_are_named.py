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


def _made(name: str) -> R:
    spec = {"secretStoreRef": {"name": "vault"}, "dataFrom": [{"extract": {"key": "x"}}]}
    return k8s("external-secrets.io/v1", "ExternalSecret", name, spec=spec)


def test_a_kind_that_is_not_known_is_named_once_where_it_names_a_secret_that_something_else_makes() -> None:
    def strange(name: str, spec: dict[str, object]) -> R:
        return k8s("db.example.org/v1", "Warehouse", name, spec=spec)

    objects = [
        _made("shop/login"),
        strange("shop/a", {"users": [{"passwordSecretRef": {"name": "login", "key": "password"}}]}),
        strange("shop/b", {"pullSecrets": [{"name": "other"}, {"name": "login"}]}),
        strange("other/c", {"credentialsSecret": "login"}),
        strange("shop/d", {"credentialsSecret": "its-own"}),
        strange("shop/e", {"configMapRef": {"name": "login"}}),
    ]
    assert unjudged(context_of_state(objects)) == [
        "Warehouse shop/a names Secret shop/login, which something else makes (1 more object does so): "
        "whether Warehouse of db.example.org writes it is not known"
    ]


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        ("volsync.backube/v1alpha1", "ReplicationSource"),
        ("gateway.networking.k8s.io/v1", "Gateway"),
        ("apps/v1", "Deployment"),
        ("aws.upbound.io/v1beta1", "ProviderConfig"),
        ("helm.toolkit.fluxcd.io/v2", "HelmRelease"),
    ],
)
def test_what_only_reads_the_secrets_that_it_names_is_not(version: str, kind: str) -> None:
    reader = k8s(version, kind, "shop/app", spec={"secretRef": {"name": "login"}})
    assert unjudged(context_of_state([_made("shop/login"), reader])) == []


def test_a_claim_of_the_object_itself_is_no_other_maker() -> None:
    spec = {"writeConnectionSecretToRef": {"name": "login", "namespace": "shop"}}
    assert unjudged(context_of_state([k8s("sql.example.org/v1", "User", "shop/ada", spec=spec)])) == []
