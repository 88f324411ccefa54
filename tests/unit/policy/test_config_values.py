"""Where a catalogued key is looked for: in the namespace that the values go to, and in YAML that is a text."""

from __future__ import annotations

from typing import Any

import pytest

from policy.inventory.yaml_text import strings
from tests.support.policy.cases import ORDERS, catalogue, component
from tests.support.policy.stacks import CANARY, R, k8s, verdicts

RULE = "catalogued-key-in-config"
LAYER = component("BootstrapSecrets", catalogue=catalogue(ORDERS), claims=[])
HELM = "helm.toolkit.fluxcd.io/v2"
ARGO = "argoproj.io/v1alpha1"
VALUES = {"auth": {"password": CANARY}}
TEXT = f"auth:\n  password: {CANARY}\n"


def release(target: str | None) -> R:
    more = {"targetNamespace": target} if target else {}
    return k8s(HELM, "HelmRelease", "flux-system/app", spec={"values": VALUES, **more})


def application(namespace: str, **helm: Any) -> R:
    spec = {"source": {"helm": helm}, "destination": {"namespace": namespace}}
    return k8s(ARGO, "Application", "argocd/app", spec=spec)


def chart(token: str, namespace: str) -> R:
    return R(f"kubernetes:helm.sh/{token}", "app", {"chart": "app", "namespace": namespace, "values": VALUES})


def config(key: str, text: str, namespace: str = "orders") -> R:
    return k8s("v1", "ConfigMap", f"{namespace}/app", data={key: text})


FOUND = {
    "release": (release("orders"), "spec.values.auth.password"),
    "application": (application("orders", valuesObject=VALUES), "spec.source.helm.valuesObject.auth.password"),
    "application-text": (application("orders", values=TEXT), "spec.source.helm.values: auth.password"),
    "v4-chart": (chart("v4:Chart", "orders"), "values.auth.password"),
    "v3-release": (chart("v3:Release", "orders"), "values.auth.password"),
    "values-file": (config("values.yaml", TEXT), "data.values.yaml: auth.password"),
    "second-document": (config("all.yml", f"a: 1\n---\n{TEXT}"), "data.all.yml: auth.password"),
    "json-file": (config("app.json", f'{{"users": [{{"password": "{CANARY}"}}]}}'), "data.app.json: users.0.password"),
}
SILENT = {
    "release-elsewhere": release("shop"),
    "release-at-home": release(None),
    "application-elsewhere": application("shop", values=TEXT),
    "chart-elsewhere": chart("v4:Chart", "shop"),
    "file-elsewhere": config("values.yaml", TEXT, "shop"),
    "other-key": config("values.yaml", f"auth:\n  host: {CANARY}-password\n"),
    "reference": config("values.yaml", "auth:\n  password: ${PASSWORD}\n"),
    "prose": config("README.md", TEXT),
    "no-yaml": config("values.yaml", f"password: [{CANARY}"),
}


@pytest.mark.parametrize("name", FOUND)
def test_a_catalogued_key_is_found_where_its_values_go(name: str) -> None:
    resource, path = FOUND[name]
    (message,) = verdicts([LAYER, resource])[RULE]
    assert f"{path} carries the key password of the catalogued secret orders-db" in message
    assert CANARY not in message


@pytest.mark.parametrize("name", SILENT)
def test_what_is_no_copy_passes(name: str) -> None:
    assert RULE not in verdicts([LAYER, SILENT[name]])


def test_aliases_are_walked_once() -> None:
    doubled = "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    assert list(strings(f"a0: &a0 [x]\n{doubled}")) == [(("a0", 0), "x")]
    assert list(strings("a: &a {b: x, c: *a}")) == [(("a", "b"), "x")]
