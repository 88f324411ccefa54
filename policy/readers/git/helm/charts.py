"""Which chart of the tree a HelmRelease installs, and the manifests that values of a chart carry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from policy.inventory.resource import dig
from policy.readers.git.files.manifests import Document, parse


def carried_manifests(values: Any, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """Manifests inside of values, such as extraObjects: mappings with apiVersion and kind; text that holds such too."""
    if depth > 12:
        return
    if isinstance(values, Mapping):
        api, kind = values.get("apiVersion"), values.get("kind")
        if isinstance(api, str) and isinstance(kind, str) and ("metadata" in values or "spec" in values):
            yield values
            return
        for inner in values.values():
            yield from carried_manifests(inner, depth + 1)
    elif isinstance(values, list | tuple):
        for inner in values:
            if isinstance(inner, str) and "apiVersion:" in inner and "kind:" in inner:
                documents, _ = parse(inner, "")
                yield from (document.content for document in documents if document.is_manifest)
            else:
                yield from carried_manifests(inner, depth + 1)


def local_chart(document: Document) -> str | None:
    """The folder of the chart that a HelmRelease takes from a Git repository."""
    chart = dig(document.content, "spec", "chart", "spec", "chart")
    in_git = dig(document.content, "spec", "chart", "spec", "sourceRef", "kind") == "GitRepository"
    return chart if in_git and isinstance(chart, str) else None
