"""Secrets that charts of others make for their passwords, unless the values name one that is there.

From the charts themselves: the name is that of the release, with the name of the chart where the release has it not.
Only what the values in the tree decide is a claim.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from policy.claims.origin import claimant
from policy.inventory.installed import CHART_VALUES, Installed
from policy.inventory.inventory import Inventory
from policy.inventory.resource import Origin, Resource, dig, mapping
from secret_authority.core.claims.conflicts import Claim, System
from secret_authority.core.claims.locations import Keys


@dataclass(frozen=True)
class ChartPassword:
    """The keys of the Secret of a chart, and the values with which it makes none (`off`: those that are false).

    `part` is the dependency that makes it, whose values are below its name. The name of the Secret is that of the
    release with the chart's, with `suffix` behind it, or `fixed`.
    """

    keys: frozenset[str]
    unless: tuple[str, ...] = ()
    off: tuple[str, ...] = ()
    part: str = ""
    suffix: str = ""
    fixed: str = ""


_GRAFANA = (
    "admin.existingSecret",
    "env.GF_SECURITY_ADMIN_PASSWORD__FILE",
    "env.GF_SECURITY_ADMIN_PASSWORD",
    "env.GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION",
)
_GRAFANA_KEYS = frozenset({"admin-user", "admin-password"})

CHARTS: Final[Mapping[str, ChartPassword]] = {
    "postgresql": ChartPassword(
        frozenset({"postgres-password"}), ("auth.existingSecret", "global.postgresql.auth.existingSecret")
    ),
    "redis": ChartPassword(
        frozenset({"redis-password"}),
        ("auth.existingSecret", "global.redis.existingSecret", "auth.acl.enabled"),
        ("auth.enabled", "auth.password.enabled"),
    ),
    "mariadb": ChartPassword(frozenset({"mariadb-root-password"}), ("auth.existingSecret",)),
    "mysql": ChartPassword(frozenset({"mysql-root-password"}), ("auth.existingSecret",), ("auth.createSecret",)),
    "mongodb": ChartPassword(frozenset({"mongodb-root-password"}), ("auth.existingSecret",), ("auth.enabled",)),
    "rabbitmq": ChartPassword(frozenset({"rabbitmq-password"}), ("auth.existingPasswordSecret",)),
    # The charts of Bitnami and of MinIO itself.
    "minio": ChartPassword(
        frozenset({"root-user", "root-password", "rootUser", "rootPassword"}),
        ("auth.existingSecret", "existingSecret", "global.minio.existingSecret"),
    ),
    "influxdb2": ChartPassword(
        frozenset({"admin-password", "admin-token"}), ("adminUser.existingSecret",), suffix="-auth"
    ),
    "oauth2-proxy": ChartPassword(
        frozenset({"cookie-secret", "client-secret", "client-id"}), ("config.existingSecret",), ("proxyVarsAsSecrets",)
    ),
    "grafana": ChartPassword(_GRAFANA_KEYS, _GRAFANA),
    "kube-prometheus-stack": ChartPassword(_GRAFANA_KEYS, _GRAFANA, ("enabled",), part="grafana"),
    # Argo CD completes it with a key of its own.
    "argo-cd": ChartPassword(
        frozenset({"server.secretkey"}), off=("configs.secret.createSecret",), fixed="argocd-secret"
    ),
}


def claims(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    for resource in inventory.index.of("helm.toolkit.fluxcd.io", "HelmRelease"):
        for installed in _installed(resource):
            version = str(resource.get("spec", "chart", "spec", "version") or "")
            if installed.chart is None:
                chart, version = _of_reference(inventory, resource)
                installed = replace(installed, chart=chart)
            yield from _of(inventory, resource, installed)
            yield from _named(inventory, resource, installed)
            yield from _of_app_template(inventory, resource, installed, version)
    for resource in inventory.index.of("argoproj.io", "Application"):
        for installed in _installed(resource):
            yield from _of(inventory, resource, installed)
            yield from _named(inventory, resource, installed)


def _installed(resource: Resource) -> Sequence[Installed]:
    """The charts of an object whose values are all in sight, as the reader of a tree found them."""
    if resource.origin is not Origin.STACK:
        found: Sequence[Installed] = resource.derived.get(CHART_VALUES, ())
        return found
    spec = mapping(resource.get("spec"))
    if resource.kind == "Application":
        source = mapping(spec.get("source"))
        helm = mapping(source.get("helm"))
        more = ("valueFiles", "parameters", "fileParameters", "values")
        if any(helm.get(field) for field in more) or not _is_here(spec.get("destination")):
            return ()
        release = helm.get("releaseName") or resource.metadata_name
        space = dig(spec, "destination", "namespace")
        return [Installed(source.get("chart"), release, space, helm.get("valuesObject"))]
    if spec.get("valuesFrom") or dig(spec, "chart", "spec", "valuesFiles"):
        return ()
    space, own = spec.get("targetNamespace"), resource.metadata_name
    release = spec.get("releaseName") or (f"{space}-{own}" if space else own)
    return [Installed(dig(spec, "chart", "spec", "chart"), release, space, spec.get("values"))]


def _is_here(destination: Any) -> bool:
    here = (None, "", "in-cluster", "https://kubernetes.default.svc")
    return dig(destination, "server") in here and dig(destination, "name") in here


def _of_reference(inventory: Inventory, resource: Resource) -> tuple[str | None, str]:
    """The chart of spec.chartRef with its version: an OCIRepository has the chart at the end of its URL."""
    reference = mapping(resource.get("spec", "chartRef"))
    if reference.get("kind") != "OCIRepository":
        return None, ""
    space = reference.get("namespace") or resource.namespace
    for candidate in inventory.index.of("source.toolkit.fluxcd.io", "OCIRepository"):
        if (candidate.namespace, candidate.metadata_name) == (space, reference.get("name")):
            url, tag = candidate.get("spec", "url"), candidate.get("spec", "ref", "tag")
            return (url.rstrip("/").rpartition("/")[2] if isinstance(url, str) else None), str(tag or "")
    return None, ""


def _of_app_template(
    inventory: Inventory, resource: Resource, installed: Installed, version: str
) -> Iterator[tuple[Claim, Resource]]:
    """The Secrets in the values of bjw-s' app-template, from version 4 on: a single one has the name of the release."""
    if installed.chart != "app-template" or not re.match(r"[~^v]?([4-9]|[1-9]\d)(\.|$)", version):
        return
    values = mapping(installed.values)
    listed = {k: mapping(v) for k, v in mapping(values.get("secrets")).items() if dig(v, "enabled") is not False}
    full = dig(values, "global", "fullnameOverride") or installed.release
    for identifier, secret in listed.items():
        keys = {str(key) for field in ("data", "stringData") for key in mapping(secret.get(field))}
        name = str(full)
        if len(listed) > 1 or dig(values, "global", "alwaysAppendIdentifierToResourceName"):
            name = name if name.endswith(f"-{identifier}") or name == identifier else f"{name}-{identifier}"
        name = "-".join(str(text) for text in (secret.get("prefix"), name, secret.get("suffix")) if text)
        name = str(secret.get("forceRename") or name)
        if not keys or "{{" in name or not isinstance(installed.release, str):
            continue
        by = claimant(inventory, System.HELM, resource, f"the chart app-template of {resource.label}")
        location = inventory.secret_location(resource, name, installed.namespace)
        if installed.cluster is not None:
            location = replace(location, cluster=installed.cluster)
        yield Claim(by, location, Keys(frozenset(keys))), resource


def _of(inventory: Inventory, resource: Resource, installed: Installed) -> Iterator[tuple[Claim, Resource]]:
    chart, release, values = installed.chart, installed.release, installed.values
    known = CHARTS.get(chart) if isinstance(chart, str) else None
    if known is None or not isinstance(chart, str) or not isinstance(release, str):
        return
    given = mapping(mapping(values).get(known.part)) if known.part else mapping(values)
    if any(dig(given, *path.split(".")) for path in known.unless):
        return
    if any(dig(given, *path.split(".")) is False for path in known.off):
        return
    by = claimant(inventory, System.HELM, resource, f"the chart {chart} of {resource.label}")
    name = known.fixed or f"{_full_name(known.part or chart, release, given)}{known.suffix}"
    if "{{" in name:
        return  # The chart renders it.
    location = inventory.secret_location(resource, name, installed.namespace)
    if installed.cluster is not None:
        location = replace(location, cluster=installed.cluster)
    yield Claim(by, location, Keys(known.keys)), resource


def _named(inventory: Inventory, resource: Resource, installed: Installed) -> Iterator[tuple[Claim, Resource]]:
    """Other Secrets of charts, by their names: repositories of Argo CD, the configuration of Alertmanager."""
    values, found = mapping(installed.values), dict[str, frozenset[str]]()
    if installed.chart == "argo-cd":
        for field, prefix in (("repositories", "argocd-repo-"), ("credentialTemplates", "argocd-repo-creds-")):
            for name, given in mapping(dig(values, "configs", field)).items():
                found[f"{prefix}{name}"] = frozenset(map(str, mapping(given)))
    if installed.chart == "kube-prometheus-stack" and isinstance(installed.release, str):
        given = mapping(values.get("alertmanager"))
        elsewhere = given.get("enabled") is False or dig(given, "alertmanagerSpec", "useExistingSecret")
        if not elsewhere and not values.get("cleanPrometheusOperatorObjectNames"):
            # The chart has no longer names than this.
            full = _full_name("kube-prometheus-stack", installed.release, values)[:26].rstrip("-")
            found[f"alertmanager-{full}-alertmanager"] = frozenset({"alertmanager.yaml"})
    by = claimant(inventory, System.HELM, resource, f"the chart {installed.chart} of {resource.label}")
    for name, keys in found.items():
        location = inventory.secret_location(resource, name, installed.namespace)
        if installed.cluster is not None:
            location = replace(location, cluster=installed.cluster)
        if keys and "{{" not in name:
            yield Claim(by, location, Keys(keys)), resource


def _full_name(chart: str, release: str, values: Mapping[str, Any]) -> str:
    """The name that charts give their objects, as `helm create` writes it."""
    if isinstance(full := values.get("fullnameOverride"), str) and full:
        return full
    name = values.get("nameOverride")
    name = name if isinstance(name, str) and name else chart
    return (release if name in release else f"{release}-{name}")[:63].rstrip("-")
