"""Secrets that a controller makes because another object asks for them: an Ingress, a policy of Kyverno, an export.

cert-manager: an Ingress with an annotation that names an issuer gets a Certificate for each entry of spec.tls, with the
name of the Secret, and a Gateway one for each Secret of its own namespace that a listener with a hostname serves.
Kyverno v1: spec.rules[].generate. AWS Controllers for Kubernetes: a FieldExport writes a field of a resource into a
Secret. provider-kubernetes of Crossplane: an Object applies spec.forProvider.manifest in the cluster of its
ProviderConfig. Kubernetes Secret Generator: an annotation of a Secret lists the keys to fill. OpenShift: an annotation
of a Service names the Secret of its certificate. trust-manager: spec.target.secret of a Bundle, under its own name.
Azure Service Operator: spec.operatorSpec.secrets of any kind.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from policy.claims.kubernetes import secret_keys
from policy.claims.namespaces import by_labels, matches
from policy.claims.origin import claimant
from policy.inventory.installed import CHART_VALUES, Installed
from policy.inventory.inventory import Inventory
from policy.inventory.resource import Resource, dig, items, mapping, part
from secret_authority.core.claims.conflicts import Claim, System
from secret_authority.core.claims.locations import Keys, KubernetesSecret, Part, Unknown

_TLS = frozenset({"tls.crt", "tls.key", "ca.crt"})
_ISSUERS = ("cert-manager.io/cluster-issuer", "cert-manager.io/issuer")
_DEEPEST_VALUE = 6
_NEW_NAMESPACE = "request.object.metadata.name"


def claims(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    yield from _ingresses(inventory)
    yield from _generated(inventory)
    yield from _exports(inventory)
    yield from _objects(inventory)
    yield from _generated_in_place(inventory)
    yield from _serving_certificates(inventory)
    yield from _bundles(inventory)
    yield from _of_azure(inventory)


def _ingresses(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    # Of a Certificate that is there by its name cert-manager makes no second one.
    there = {
        (inventory.identities.cluster(c), c.namespace, c.metadata_name)
        for c in inventory.index.of("cert-manager.io", "Certificate")
    }
    asking = [
        *inventory.index.of("networking.k8s.io", "Ingress"),
        *inventory.index.of("gateway.networking.k8s.io", "Gateway"),
    ]
    yield from _of_values(inventory, there)
    for resource in asking:
        if not any(resource.mark("annotations", issuer) for issuer in _ISSUERS):
            continue
        by = claimant(inventory, System.OPERATOR, resource, shown="cert-manager")
        cluster = inventory.identities.cluster(resource)
        for given, field in _of_listeners(resource) if resource.kind == "Gateway" else _of_tls(resource):
            if not isinstance(given, str | Unknown) or (cluster, resource.namespace, given) in there:
                continue
            name = part(given, f"{field} of {resource.label}")
            yield Claim(by, inventory.secret_location(resource, name), Keys(_TLS)), resource


# How the claim of an Ingress that a chart makes begins.
INGRESS_OF_VALUES = "the Ingress in the values of"


def _of_values(inventory: Inventory, there: set[tuple[Part, Part, Part]]) -> Iterator[tuple[Claim, Resource]]:
    """What charts ask for: values with the annotation of an issuer and with tls become an Ingress."""
    makers = (
        *inventory.index.of("helm.toolkit.fluxcd.io", "HelmRelease"),
        *inventory.index.of("argoproj.io", "Application"),
    )
    for resource in makers:
        found: Sequence[Installed] = resource.derived.get(CHART_VALUES, ())
        for installed in found:
            by = claimant(inventory, System.OPERATOR, resource, f"{INGRESS_OF_VALUES} {resource.label}", "cert-manager")
            for name in dict.fromkeys(_ingress_values(installed.values)):
                location = inventory.secret_location(resource, name, installed.namespace)
                if installed.cluster is not None:
                    location = replace(location, cluster=installed.cluster)
                if location.parts() not in there:
                    yield Claim(by, location, Keys(_TLS)), resource


def _ingress_values(values: Any, depth: int = 0) -> Iterator[str]:
    if depth > _DEEPEST_VALUE or not isinstance(values, Mapping):
        return
    if values.get("enabled") is False:
        return
    if any(dig(values, "annotations", issuer) for issuer in _ISSUERS):
        for entry in items(values.get("tls")):
            name = dig(entry, "secretName")
            if isinstance(name, str) and name and "{{" not in name:
                yield name
    for inner in values.values():
        yield from _ingress_values(inner, depth + 1)


def _of_tls(resource: Resource) -> Iterator[tuple[Any, str]]:
    for entry in items(resource.get("spec", "tls")):
        yield dig(entry, "secretName"), "spec.tls[].secretName"


def _of_listeners(resource: Resource) -> Iterator[tuple[Any, str]]:
    found: dict[Any, None] = {}
    for listener in items(resource.get("spec", "listeners")):
        if not dig(listener, "hostname") or dig(listener, "tls", "mode") not in (None, "Terminate"):
            continue
        for reference in items(dig(listener, "tls", "certificateRefs")):
            elsewhere = dig(reference, "namespace") not in (None, resource.namespace)
            name = dig(reference, "name")
            if not elsewhere and dig(reference, "kind") in (None, "Secret") and isinstance(name, str | Unknown):
                found[name] = None
    yield from ((name, "spec.listeners[].tls.certificateRefs[].name") for name in found)


def _generated(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    for resource in inventory.index.of("kyverno.io", "ClusterPolicy", "Policy"):
        by = claimant(inventory, System.OPERATOR, resource, shown="Kyverno")
        for rule in items(resource.get("spec", "rules")):
            whole = mapping(dig(rule, "generate"))
            for generate in [whole, *map(mapping, items(whole.get("foreach")))]:
                seed = whole.get("synchronize") is not True
                for name, origin in _generated_names(inventory, resource, generate):
                    for space in _namespaces(inventory, generate.get("namespace"), mapping(rule)):
                        location = inventory.secret_location(resource, name, space)
                        if location != origin:
                            yield Claim(by, location, Keys.all(), source=origin, create_only=seed), resource


def _generated_names(
    inventory: Inventory, resource: Resource, generate: Mapping[str, Any]
) -> Iterator[tuple[str, KubernetesSecret | None]]:
    """The names of the Secrets that a rule generates, each with the one that it is a copy of."""
    name = generate.get("name")
    if generate.get("kind") == "Secret" and isinstance(name, str) and "{{" not in name:
        source = mapping(generate.get("clone"))
        yield (
            name,
            inventory.secret_location(resource, source.get("name"), source.get("namespace")) if source else None,
        )
    listed = mapping(generate.get("cloneList"))
    if not {"v1/Secret", "Secret"} & {str(kind) for kind in items(listed.get("kinds"))}:
        return
    space, cluster = listed.get("namespace"), inventory.identities.cluster(resource)
    for secret, labels in _labelled(inventory):
        same = secret.namespace == space and secret.cluster == cluster
        if same and isinstance(secret.name, str) and matches(listed.get("selector") or {}, labels, str(space)):
            yield secret.name, secret


def _labelled(inventory: Inventory) -> Iterator[tuple[KubernetesSecret, Mapping[str, object]]]:
    """The Secrets in sight, with their labels: plain ones, and those that are made with a template."""
    for resource in inventory.index.secrets:
        yield inventory.secret_location(resource), mapping(resource.get("metadata", "labels"))
    for resource in inventory.index.of("external-secrets.io", "ExternalSecret"):
        name = resource.get("spec", "target", "name")
        labels = mapping(resource.get("spec", "target", "template", "metadata", "labels"))
        # Without a template External Secrets takes the labels of its own object.
        if not resource.get("spec", "target", "template"):
            labels = mapping(resource.get("metadata", "labels"))
        yield inventory.secret_location(resource, name), labels
    for resource in inventory.index.of("bitnami.com", "SealedSecret"):
        yield inventory.secret_location(resource), mapping(resource.get("spec", "template", "metadata", "labels"))


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


_CROSSPLANE = ("kubernetes.crossplane.io", "kubernetes.m.crossplane.io")


def _objects(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    for resource in (r for group in _CROSSPLANE for r in inventory.index.of(group, "Object")):
        manifest = mapping(resource.get("spec", "forProvider", "manifest"))
        policies = items(resource.get("spec", "managementPolicies"))
        if manifest.get("kind") != "Secret" or (policies and not {"*", "Create", "Update"} & set(map(str, policies))):
            continue
        keys = {str(key) for field in ("data", "stringData") for key in mapping(manifest.get(field))}
        for reference in items(resource.get("spec", "references")):
            field, _, key = str(dig(reference, "toFieldPath")).partition(".")
            keys |= {key} if field in ("data", "stringData") and key else set()
        if not keys:
            continue
        by = claimant(inventory, System.OPERATOR, resource, shown="Crossplane")
        metadata = mapping(manifest.get("metadata"))
        name = part(metadata.get("name"), f"the name in the manifest of {resource.label}")
        space = part(metadata.get("namespace") or "default", f"the namespace in the manifest of {resource.label}")
        location = KubernetesSecret(_cluster_of_provider(inventory, resource), space, name)
        yield Claim(by, location, Keys(frozenset(keys))), resource


def _cluster_of_provider(inventory: Inventory, resource: Resource) -> Part:
    """The cluster of a ProviderConfig: that of Crossplane itself where the credentials are those of its own pod."""
    here = inventory.identities.cluster(resource)
    name = resource.get("spec", "providerConfigRef", "name") or "default"
    for config in inventory.index.of(resource.group, "ProviderConfig", "ClusterProviderConfig"):
        if config.metadata_name == name and inventory.identities.cluster(config) == here:
            own = config.get("spec", "credentials", "source") == "InjectedIdentity"
            return here if own else f"the cluster of {config.label} of {here}"
    return Unknown(
        f"ProviderConfig {name} of {resource.label}, which is not in sight", same=f"provider {name} of {here}"
    )


_AUTOGENERATE = "secret-generator.v1.mittwald.de/autogenerate"
_SERVING = tuple(f"service.{stage}.openshift.io/serving-cert-secret-name" for stage in ("beta", "alpha"))


def _generated_in_place(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    for resource in inventory.index.secrets:
        listed = resource.mark("annotations", _AUTOGENERATE)
        if not listed:
            continue
        own = secret_keys(resource)
        keys = {key.strip() for key in listed.split(",")} - {""} - (own.names or set() if own else set())
        if keys:
            by = claimant(inventory, System.OPERATOR, resource, shown="Kubernetes Secret Generator")
            yield Claim(by, inventory.secret_location(resource), Keys(frozenset(keys))), resource


def _serving_certificates(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    for resource in inventory.index.of("", "Service"):
        if not resource.get("metadata", "annotations"):
            continue
        name = next((found for mark in _SERVING if (found := resource.mark("annotations", mark))), None)
        if name:
            by = claimant(inventory, System.OPERATOR, resource, shown="OpenShift")
            yield Claim(by, inventory.secret_location(resource, name), Keys(_TLS - {"ca.crt"})), resource


def _bundles(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    for resource in inventory.index.of("trust.cert-manager.io", "Bundle"):
        target = mapping(resource.get("spec", "target"))
        key = dig(target, "secret", "key")
        if not isinstance(key, str):
            continue
        formats = mapping(target.get("additionalFormats")).values()
        keys = frozenset({key, *(str(dig(each, "key")) for each in formats if dig(each, "key"))})
        by = claimant(inventory, System.OPERATOR, resource, shown="trust-manager")
        for spread in by_labels(inventory, resource, [target.get("namespaceSelector") or {}]):
            held = Keys(frozenset(), spread.doubt) if spread.doubt else Keys(keys)
            yield Claim(by, inventory.secret_location(resource, None, spread.namespace), held), resource


def _of_azure(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    groups = (found for (group, _), found in inventory.index.by_kind.items() if group.endswith(".azure.com"))
    for resource in (resource for found in groups for resource in found):
        exported = [
            *mapping(resource.get("spec", "operatorSpec", "secrets")).values(),
            *items(resource.get("spec", "operatorSpec", "secretExpressions")),
        ]
        names: dict[Part, set[str]] = {}
        for entry in exported:
            name = part(dig(entry, "name"), f"spec.operatorSpec.secrets of {resource.label}")
            names.setdefault(name, set()).add(str(dig(entry, "key")))
        by = claimant(inventory, System.OPERATOR, resource, shown="Azure Service Operator")
        for name, keys in names.items():
            yield Claim(by, inventory.secret_location(resource, name), Keys(frozenset(keys))), resource
