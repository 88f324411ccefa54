"""How HelmReleases install charts of the tree: which, names, namespaces, values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from policy.inventory.resource import dig, items, mapping
from policy.readers.git.files.chart_values import merged, values_in
from policy.readers.git.files.manifests import Document
from policy.readers.git.helm.template import Release


def of_helm_release(
    document: Document, known: Mapping[tuple[str, str, str], Mapping[str, str | None]]
) -> tuple[Release, list[str]]:
    """The release of a HelmRelease, and what of its values is not in sight.

    Flux names it targetNamespace-name where it has a target namespace and no releaseName. `known` are the values of
    ConfigMaps and Secrets of the tree, by kind, namespace and name.
    """
    spec = mapping(document.content.get("spec"))
    own = str(dig(document.content, "metadata", "namespace") or "default")
    target = spec.get("targetNamespace")
    name = str(dig(document.content, "metadata", "name"))
    if isinstance(target, str) and target:
        name = f"{target}-{name}"
    values: Any = {}
    reasons: list[str] = []
    for reference in items(spec.get("valuesFrom")):
        kind, source = str(dig(reference, "kind")), str(dig(reference, "name"))
        text = known.get((kind, own, source), {}).get(str(dig(reference, "valuesKey") or "values.yaml"))
        if text is None or dig(reference, "targetPath"):
            reasons.append(f"values of {kind} {own}/{source} are not in sight")
            continue
        values = merged(values, values_in(text, document.file))
    if spec.get("values"):
        values = merged(values, spec["values"])
    namespace = target if isinstance(target, str) and target else own
    return Release(str(spec.get("releaseName") or name), namespace, values, tuple(_values_files(document))), reasons


def _values_files(document: Document) -> list[str]:
    """Files of values that a HelmRelease names beside its chart."""
    found = items(dig(document.content, "spec", "chart", "spec", "valuesFiles"))
    return [os.path.normpath(file.lstrip("/")) for file in found if isinstance(file, str)]


def local_chart(document: Document) -> str | None:
    """The folder of the chart that a HelmRelease takes from a Git repository."""
    chart = dig(document.content, "spec", "chart", "spec", "chart")
    in_git = dig(document.content, "spec", "chart", "spec", "sourceRef", "kind") == "GitRepository"
    return chart if in_git and isinstance(chart, str) else None
