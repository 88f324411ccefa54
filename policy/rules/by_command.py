"""Writers of which manifests do not say what they write: commands that make Secrets or fill a store, expressions."""

from __future__ import annotations

import re
from collections.abc import Iterator

from policy.context import RuleContext
from policy.inventory.resource import Resource, dig, items, mapping

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
