"""What kustomize and Flux change in all objects of a build: namespace, name prefixes, labels, annotations.

References of pods to Secrets follow the new names. A document remembers what it was called: patches may still say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from policy.inventory.resource import dig, items, mapping
from policy.readers.git.files.manifests import Document

CLUSTER_SCOPED = frozenset(
    {
        "Namespace",
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "PersistentVolume",
        "StorageClass",
        "IngressClass",
        "PriorityClass",
        "ValidatingWebhookConfiguration",
        "MutatingWebhookConfiguration",
        "APIService",
    }
)
# Kinds whose names kustomize leaves as they are.
_UNPREFIXED = frozenset({"Namespace", "CustomResourceDefinition", "APIService"})


@dataclass(frozen=True)
class Change:
    """What a Flux Kustomization adds to a build."""

    namespace: str | None = None
    prefix: str = ""
    suffix: str = ""
    patches: tuple[Any, ...] = ()
    components: tuple[str, ...] = ()
    labels: Mapping[str, Any] = field(default_factory=dict)
    annotations: Mapping[str, Any] = field(default_factory=dict)


def change_of(content: Mapping[str, Any]) -> Change:
    """What a kustomization does to all of its objects."""
    labels = {**mapping(content.get("commonLabels"))}
    for entry in items(content.get("labels")):
        labels.update(mapping(dig(entry, "pairs")))
    namespace = content.get("namespace")
    return Change(
        namespace=namespace if isinstance(namespace, str) else None,
        prefix=_string(content.get("namePrefix")),
        suffix=_string(content.get("nameSuffix")),
        labels=labels,
        annotations=mapping(content.get("commonAnnotations")),
    )


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def transformed(documents: Iterable[Document], change: Change) -> list[Document]:
    found = list(documents)
    if change.prefix or change.suffix:
        found = _renamed(found, change.prefix, change.suffix)
    if not (change.namespace or change.labels or change.annotations):
        return found
    return [_changed(document, change) for document in found]


def _renamed(documents: list[Document], prefix: str, suffix: str) -> list[Document]:
    """Objects with their new names, and references to Secrets with them."""
    names: dict[str, str] = {}
    found: list[Document] = []
    for document in documents:
        name = dig(document.content, "metadata", "name")
        kind = document.content.get("kind")
        if not isinstance(name, str) or kind in _UNPREFIXED:
            found.append(document)
            continue
        if kind == "Secret":
            names[name] = f"{prefix}{name}{suffix}"
        metadata = {**mapping(document.content.get("metadata")), "name": f"{prefix}{name}{suffix}"}
        found.append(_moved(document, {**document.content, "metadata": metadata}))
    if not names:
        return found
    return [
        replace(document, content=rewritten(document.content, names)) if "spec" in document.content else document
        for document in found
    ]


def _moved(document: Document, content: Mapping[str, Any]) -> Document:
    """A document with another content, which remembers what it was called."""
    before = (dig(document.content, "metadata", "name"), dig(document.content, "metadata", "namespace"))
    after = (dig(content, "metadata", "name"), dig(content, "metadata", "namespace"))
    previous = document.previous if before == after else (*document.previous, before)
    return replace(document, content=content, previous=previous)


def rewritten(value: Any, names: Mapping[str, str]) -> Any:
    """Fields of pods that name a Secret, with the new name."""
    if isinstance(value, list):
        return [rewritten(inner, names) for inner in value]
    if not isinstance(value, Mapping):
        return value
    found: dict[str, Any] = {}
    for key, inner in value.items():
        if key in ("secretKeyRef", "secretRef") and isinstance(inner, Mapping):
            found[key] = {**inner, "name": names.get(str(inner.get("name")), inner.get("name"))}
        elif key == "secretName" and isinstance(inner, str):
            found[key] = names.get(inner, inner)
        elif key == "imagePullSecrets":
            found[key] = [{**mapping(e), "name": names.get(str(dig(e, "name")), dig(e, "name"))} for e in items(inner)]
        else:
            found[key] = rewritten(inner, names)
    return found


def _changed(document: Document, change: Change) -> Document:
    content = dict(document.content)
    metadata = dict(mapping(content.get("metadata")))
    if change.namespace and content.get("kind") not in CLUSTER_SCOPED:
        metadata["namespace"] = change.namespace
    for name, more in (("labels", change.labels), ("annotations", change.annotations)):
        if more:
            metadata[name] = {**mapping(metadata.get(name)), **more}
    content["metadata"] = metadata
    return _moved(document, content)


def with_content(document: Document, content: Mapping[str, Any]) -> Document:
    return replace(document, content=content)
