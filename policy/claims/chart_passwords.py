"""Secrets that charts of others make for their passwords, unless the values name one that is there.

From the charts themselves: the name is that of the release, with the name of the chart where the release has it not.
Only what the values in the tree decide is a claim.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from policy.claims.origin import claimant
from policy.inventory.inventory import Inventory
from policy.inventory.resource import Resource, dig, items, mapping
from secret_authority.core.claims.conflicts import Claim, System
from secret_authority.core.claims.locations import Keys


@dataclass(frozen=True)
class ChartPassword:
    """The keys of the Secret of a chart, and the values with which it makes none (`off`: those that are false)."""

    keys: frozenset[str]
    unless: tuple[str, ...]
    off: tuple[str, ...] = ()


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
    "grafana": ChartPassword(
        frozenset({"admin-user", "admin-password"}),
        (
            "admin.existingSecret",
            "env.GF_SECURITY_ADMIN_PASSWORD__FILE",
            "env.GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION",
        ),
    ),
}


def claims(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    for resource in inventory.index.of("helm.toolkit.fluxcd.io", "HelmRelease"):
        if items(resource.get("spec", "valuesFrom")) or resource.get("spec", "chart", "spec", "valuesFiles"):
            continue  # What the values are is not all in sight.
        chart = resource.get("spec", "chart", "spec", "chart")
        space = resource.get("spec", "targetNamespace")
        own = resource.metadata_name
        release = resource.get("spec", "releaseName") or (f"{space}-{own}" if space else own)
        yield from _of(inventory, resource, chart, release, space, resource.get("spec", "values"))
    for resource in inventory.index.of("argoproj.io", "Application"):
        source = mapping(resource.get("spec", "source"))
        helm = mapping(source.get("helm"))
        if helm.get("valueFiles") or helm.get("parameters") or helm.get("fileParameters") or helm.get("values"):
            continue
        if not _is_here(resource.get("spec", "destination")):
            continue
        release = helm.get("releaseName") or resource.metadata_name
        space = resource.get("spec", "destination", "namespace")
        yield from _of(inventory, resource, source.get("chart"), release, space, helm.get("valuesObject"))


def _is_here(destination: Any) -> bool:
    here = (None, "", "in-cluster", "https://kubernetes.default.svc")
    return dig(destination, "server") in here and dig(destination, "name") in here


def _of(
    inventory: Inventory, resource: Resource, chart: Any, release: Any, namespace: Any, values: Any
) -> Iterator[tuple[Claim, Resource]]:
    known = CHARTS.get(chart) if isinstance(chart, str) else None
    if known is None or not isinstance(chart, str) or not isinstance(release, str):
        return
    given = mapping(values)
    if any(dig(given, *path.split(".")) for path in known.unless):
        return
    if any(dig(given, *path.split(".")) is False for path in known.off):
        return
    by = claimant(inventory, System.HELM, resource, f"the chart {chart} of {resource.label}")
    name = _full_name(chart, release, given)
    if "{{" in name:
        return  # The chart renders it.
    location = inventory.secret_location(resource, name, namespace)
    yield Claim(by, location, Keys(known.keys)), resource


def _full_name(chart: str, release: str, values: Mapping[str, Any]) -> str:
    """The name that charts give their objects, as `helm create` writes it."""
    if isinstance(full := values.get("fullnameOverride"), str) and full:
        return full
    name = values.get("nameOverride")
    name = name if isinstance(name, str) and name else chart
    return (release if name in release else f"{release}-{name}")[:63].rstrip("-")
