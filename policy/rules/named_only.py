"""Writers that are named and not judged: commands that make Secrets, expressions, manifests that others carry along."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from policy.context import RuleContext
from policy.inventory.resource import Resource, dig, items, mapping

# No manifest carries another one further inside.
_DEEPEST = 14
# Words with which the commands begin; what has none of them is not searched.
_PROGRAMS = ("kubectl", "oc ", "vault", "bao ", "secretsmanager", "gcloud", "keyvault", "put-parameter")
_WRITES = re.compile(
    r"\b(?:kubectl|oc)\b[^|;&\n]*?\b(?:create|patch|replace|set\s+data)\s+secrets?\b"
    r"|\b(?:vault|bao)\s+(?:kv\s+(?:put|patch)|write)\b"
    r"|\baws\s+secretsmanager\s+(?:create-secret|put-secret-value|update-secret)\b"
    r"|\baws\s+ssm\s+put-parameter\b"
    r"|\bgcloud\s+secrets\s+(?:create|versions\s+add)\b"
    r"|\baz\s+keyvault\s+secret\s+set\b"
)


def written_by_commands(context: RuleContext) -> list[str]:
    """Objects with such a command, for what was not judged."""
    found: dict[str, None] = {}
    for resource, text in _texts(context):
        if any(word in text for word in _PROGRAMS) and (command := _WRITES.search(text)):
            said = " ".join(command[0].split())
            found[f"{resource.label} runs `{_short(said)}`: which Secret or path it writes is not known"] = None
    return list(found)


def unread_policies(context: RuleContext) -> list[str]:
    """Policies of Kyverno that generate Secrets in a way that is not followed, for what was not judged."""
    index = context.index
    found = []
    for resource in index.of("policies.kyverno.io", "GeneratingPolicy", "NamespacedGeneratingPolicy"):
        if "ecret" in repr(resource.get("spec")):
            found.append(f"{resource.label} seems to generate Secrets: its expressions are not evaluated")
    for resource in index.of("kyverno.io", "ClusterPolicy", "Policy"):
        for rule in items(resource.get("spec", "rules")):
            name = dig(rule, "generate", "name")
            if dig(rule, "generate", "kind") == "Secret" and isinstance(name, str) and "{{" in name:
                found.append(f"{resource.label} generates Secrets whose names are expressions: they are not evaluated")
    return found


def _short(command: str) -> str:
    """The program and what it does, without arguments between them, which could hold a value."""
    words = command.split()
    return command if len(words) < 5 else f"{words[0]} … {' '.join(words[-2:])}"


def _texts(context: RuleContext) -> Iterator[tuple[Resource, str]]:
    for pods in context.index.workloads:
        for container in pods.containers:
            words = [*items(dig(container, "command")), *items(dig(container, "args"))]
            yield pods.resource, " ".join(word for word in words if isinstance(word, str))
    for resource in context.index.of("", "ConfigMap"):
        for text in mapping(resource.get("data")).values():
            if isinstance(text, str):
                yield resource, text


# Kinds whose manifests are followed, or that are about secrets themselves.
_FOLLOWED = frozenset(
    {"HelmRelease", "Application", "ApplicationSet", "ResourceSet", "Object", "CustomResourceDefinition"}
)
_FOLLOWED_GROUPS = frozenset(
    {"", "apps", "batch", "external-secrets.io", "kyverno.io", "bitnami.com", "networking.k8s.io", "isindir.github.com"}
    | {
        "rbac.authorization.k8s.io",
        "kustomize.toolkit.fluxcd.io",
        "gateway.networking.k8s.io",
        "source.toolkit.fluxcd.io",
    }
)
_CARRIED = frozenset(
    {"Secret", "ExternalSecret", "SealedSecret", "PushSecret", "ClusterExternalSecret", "VaultStaticSecret"}
)


def carried_elsewhere(context: RuleContext) -> list[str]:
    """Objects that carry manifests about secrets to where their controller decides, for what was not judged."""
    found: dict[str, None] = {}
    for (group, kind), resources in context.index.by_kind.items():
        if group in _FOLLOWED_GROUPS or kind in _FOLLOWED:
            continue
        for resource in resources:
            for carried, name in _carried(resource.get("spec")):
                found[
                    f"{resource.label} carries {carried} {name}: in which namespaces and clusters is not followed"
                ] = None
    return list(found)


def _carried(value: Any, depth: int = 0) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        kind = value.get("kind")
        if isinstance(kind, str) and kind in _CARRIED and isinstance(value.get("apiVersion"), str):
            if mapping(value.get("metadata")).get("name"):
                yield kind, str(dig(value, "metadata", "name"))
            return
        for inner in value.values():
            yield from _carried(inner, depth + 1) if depth < _DEEPEST else ()
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _carried(inner, depth + 1) if depth < _DEEPEST else ()
