"""The namespaces that Git declares: none of the platform's, and no weaker pod security than `baseline`.

Admission refuses the same in the cluster (components/gitops/guard.py); here it is said before anything is applied.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from secret_authority.core.errors import Problem
from secret_authority.core.platform_namespaces import is_reserved
from secret_authority.repository.files.yaml_documents import read_documents, yaml_files

ENFORCE = "pod-security.kubernetes.io/enforce"


def namespaces_folder(cluster: str) -> str:
    """The folder of a cluster's namespaces, where nothing else is said."""
    return f"clusters/{cluster}/namespaces"


def check_namespaces(root: Path, folder: str) -> list[Problem]:
    """Every Namespace below `folder` of the repository that Git may not declare. A missing folder has none.

    Raises `InvalidInputError` for a file that is not YAML.
    """
    found: list[Problem] = []
    for path in yaml_files(root / folder):
        shown = str(path.relative_to(root))
        for document in _objects(read_documents(path, shown)):
            if document.get("kind") == "Namespace" and isinstance(document.get("metadata"), Mapping):
                found += namespace_problems(document["metadata"], shown)
    return found


def _objects(documents: list[Any]) -> Iterator[Mapping[str, Any]]:
    for document in documents:
        if isinstance(document, Mapping):
            yield document
            items = document.get("items")
            yield from _objects(items if isinstance(items, list) else [])


def namespace_problems(metadata: Mapping[str, Any], shown: str) -> Iterator[Problem]:
    """What Git may not say of a namespace, by its metadata."""
    name, labels = str(metadata.get("name", "")), metadata.get("labels")
    if is_reserved(name):
        message = f"namespace {name} belongs to the platform or to Kubernetes"
        yield Problem(
            shown, "metadata.name", message, "remove it: Git cannot change it, and Flux is refused to apply it"
        )
    enforce = labels.get(ENFORCE) if isinstance(labels, Mapping) else None
    if enforce not in (None, "baseline", "restricted"):
        message = f"namespace {name} sets {ENFORCE} to {enforce}"
        fix = "write restricted or baseline, or leave the label away and have an administrator set it"
        yield Problem(shown, "metadata.labels", message, fix)
