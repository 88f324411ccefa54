"""Secrets that a controller makes because another object asks for them: an Ingress, a policy of Kyverno, an export.

cert-manager, ingress-shim: an Ingress with an annotation that names an issuer gets a Certificate for each entry of
spec.tls, with the name of the Secret. Kyverno v1: spec.rules[].generate. AWS Controllers for Kubernetes: a FieldExport
writes a field of a resource into a Secret.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from typing import Any

from policy.claims.origin import claimant
from policy.inventory.inventory import Inventory
from policy.inventory.resource import Resource, dig, items, mapping, part
from secret_authority.core.claims.conflicts import Claim, System
from secret_authority.core.claims.locations import Keys, Unknown

_TLS = frozenset({"tls.crt", "tls.key", "ca.crt"})
_ISSUERS = ("cert-manager.io/cluster-issuer", "cert-manager.io/issuer")
_NEW_NAMESPACE = "request.object.metadata.name"


def claims(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    yield from _ingresses(inventory)
    yield from _generated(inventory)
    yield from _exports(inventory)


def _ingresses(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    # Of a Certificate that is there by its name cert-manager makes no second one.
    there = {
        (inventory.identities.cluster(c), c.namespace, c.metadata_name)
        for c in inventory.index.of("cert-manager.io", "Certificate")
    }
    for resource in inventory.index.of("networking.k8s.io", "Ingress"):
        if not any(resource.mark("annotations", issuer) for issuer in _ISSUERS):
            continue
        by = claimant(inventory, System.OPERATOR, resource, shown="cert-manager")
        cluster = inventory.identities.cluster(resource)
        for entry in items(resource.get("spec", "tls")):
            given = dig(entry, "secretName")
            if not isinstance(given, str | Unknown) or (cluster, resource.namespace, given) in there:
                continue
            name = part(given, f"spec.tls[].secretName of {resource.label}")
            yield Claim(by, inventory.secret_location(resource, name), Keys(_TLS)), resource


def _generated(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    for resource in inventory.index.of("kyverno.io", "ClusterPolicy", "Policy"):
        by = claimant(inventory, System.OPERATOR, resource, shown="Kyverno")
        for rule in items(resource.get("spec", "rules")):
            generate = mapping(dig(rule, "generate"))
            name = generate.get("name")
            if generate.get("kind") != "Secret" or not isinstance(name, str) or "{{" in name:
                continue
            source = mapping(generate.get("clone"))
            seed = generate.get("synchronize") is not True
            for space in _namespaces(inventory, generate.get("namespace"), mapping(rule)):
                location = inventory.secret_location(resource, name, space)
                origin = inventory.secret_location(resource, source.get("name"), source.get("namespace"))
                if location != origin:
                    claim = Claim(by, location, Keys.all(), source=origin if source else None, create_only=seed)
                    yield claim, resource


def _namespaces(inventory: Inventory, given: Any, rule: Mapping[str, Any]) -> Iterator[str]:
    """Where a rule generates: the namespace that it names, or each one that it matches, as far as names decide it."""
    if not isinstance(given, str):
        return
    if "{{" not in given:
        yield given
        return
    if _NEW_NAMESPACE not in given or _selects_by_more(rule):
        return
    matched = [n for filtered in _filters(rule.get("match")) for n in items(dig(filtered, "names")) or ["*"]]
    left_out = [n for filtered in _filters(rule.get("exclude")) for n in items(dig(filtered, "names"))]
    for space in inventory.namespaces_in_use:
        fits = any(fnmatch.fnmatchcase(space, str(pattern)) for pattern in matched)
        if fits and not any(fnmatch.fnmatchcase(space, str(pattern)) for pattern in left_out):
            yield space


def _filters(match: Any) -> list[Mapping[str, Any]]:
    """The filters of `match` or `exclude` that are about Namespaces."""
    listed = [match, *items(dig(match, "any")), *items(dig(match, "all"))]
    found = [mapping(dig(entry, "resources")) for entry in listed]
    return [resources for resources in found if "Namespace" in items(resources.get("kinds"))]


def _selects_by_more(rule: Mapping[str, Any]) -> bool:
    """Whether labels, preconditions or the like decide too: then which namespaces match is not known."""
    filters = [*_filters(rule.get("match")), *_filters(rule.get("exclude"))]
    return bool(rule.get("preconditions") or rule.get("context")) or any(
        filtered.get(field) for filtered in filters for field in ("selector", "namespaceSelector", "annotations")
    )


def _exports(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    for resource in inventory.index.of("services.k8s.aws", "FieldExport"):
        to = mapping(resource.get("spec", "to"))
        if str(to.get("kind")).lower() != "secret" or not to.get("name"):
            continue
        by = claimant(inventory, System.OPERATOR, resource, shown="AWS Controllers for Kubernetes")
        name = part(to["name"], f"spec.to.name of {resource.label}")
        key = to.get("key") or f"{resource.namespace}.{resource.metadata_name}"
        location = inventory.secret_location(resource, name, to.get("namespace") or None)
        yield Claim(by, location, Keys(frozenset({str(key)}))), resource
