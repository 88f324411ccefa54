"""Kinds that name Secrets and of which is not known whether their controller writes them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final

from policy.context import RuleContext
from policy.inventory.resource import Resource
from policy.inventory.writers import WRITERS
from secret_authority.core.claims.locations import KubernetesSecret

# API groups whose controllers write no Secret that an object names, or whose claims are read by themselves.
_READERS: Final = frozenset(
    {
        "argoproj.io",
        "barmancloud.cnpg.io",
        "bitnami.com",
        "cilium.io",
        "external-secrets.io",
        "fluxcd.controlplane.io",
        "gateway.envoyproxy.io",
        "gateway.kgateway.dev",
        "generators.external-secrets.io",
        "helm.toolkit.fluxcd.io",
        "image.toolkit.fluxcd.io",
        "k8up.io",
        "keda.sh",
        "kustomize.toolkit.fluxcd.io",
        "kyverno.io",
        "longhorn.io",
        "monitoring.coreos.com",
        "networking.istio.io",
        "notification.toolkit.fluxcd.io",
        "operator.victoriametrics.com",
        "policies.kyverno.io",
        "projectcontour.io",
        "secret-authority.dev",
        "secrets.hashicorp.com",
        "security.istio.io",
        "source.toolkit.fluxcd.io",
        "tekton.dev",
        "traefik.containo.us",
        "traefik.io",
        "velero.io",
        "volsync.backube",
    }
)
_KNOWN: Final = _READERS | {writer.group for writer in WRITERS}
# Credentials of a provider of Crossplane, whatever its group.
_READER_KINDS: Final = frozenset({"ProviderConfig", "ClusterProviderConfig"})
_SECRET = re.compile(r"secret", re.IGNORECASE)
# No object nests its references deeper.
_DEEPEST = 14


def of_unknown_effect(context: RuleContext) -> list[str]:
    """One line for each kind of which an object names a Secret that something else makes, for what was not judged."""
    unknown = {
        kind: resources
        for kind, resources in context.index.by_kind.items()
        # Groups without a dot, and those of Kubernetes, are built in or of projects that write none.
        if "." in kind[0] and not kind[0].endswith("k8s.io") and kind[0] not in _KNOWN and kind[1] not in _READER_KINDS
    }
    if not unknown:
        return []
    makers: dict[KubernetesSecret, list[Resource]] = defaultdict(list)
    for claim, resource in context.observed:
        if isinstance(claim.location, KubernetesSecret):
            makers[claim.location].append(resource)
    found = []
    for (group, kind), resources in sorted(unknown.items()):
        named = [(resource, name) for resource in resources if (name := _made_by_others(resource, makers, context))]
        if named:
            first, name = named[0]
            others = len(named) - 1
            more = f" ({others} more object{'s do' if others > 1 else ' does'} so)" if others else ""
            found.append(
                f"{first.label} names Secret {name}, which something else makes{more}: "
                f"whether {kind} of {group} writes it is not known"
            )
    return found


def _made_by_others(
    resource: Resource, makers: Mapping[KubernetesSecret, list[Resource]], context: RuleContext
) -> str | None:
    """The first Secret that the object names and that another object makes."""
    for name in _names(resource.get("spec")):
        location = context.inventory.secret_location(resource, name)
        if any(maker is not resource for maker in makers.get(location, ())):
            return f"{location.namespace}/{location.name}"
    return None


def _names(value: Any, depth: int = 0) -> Iterator[str]:
    """Names of Secrets by the keys that they are under: secretName: NAME, or secretRef: {name: NAME}."""
    if depth > _DEEPEST:
        return
    if isinstance(value, list | tuple):
        for inner in value:
            yield from _names(inner, depth + 1)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if isinstance(key, str) and _SECRET.search(key):
                for one in inner if isinstance(inner, list | tuple) else (inner,):
                    name = one.get("name") if isinstance(one, Mapping) else one
                    if isinstance(name, str):
                        yield name
            yield from _names(inner, depth + 1)
