"""What an Argo CD Application applies from this tree.

Argo CD, Application specification: spec.source or spec.sources with `path` are folders of a Git repository, built
with kustomize, rendered with helm, or read file by file (below the folder only with directory.recurse). A source with
`chart` is a chart of a Helm repository. spec.destination names another cluster by server or name, and the namespace
of what has none of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from policy.inventory.resource import dig, items, mapping
from policy.readers.git.kustomize import CLUSTER_SCOPED, Change, Renderer
from policy.readers.git.manifests import Document
from policy.readers.git.reach import Reach, holds

GROUP = "argoproj.io"
_HERE = frozenset({"", "None", "in-cluster", "https://kubernetes.default.svc"})


@dataclass(frozen=True)
class Source:
    """One folder that an Application applies. `cluster` is None for the cluster of Argo CD itself."""

    label: str
    path: str
    cluster: str | None
    namespace: str | None
    change: Change
    recurse: bool

    def reached(self, renderer: Renderer, reach: Reach) -> bool:
        """Whether the cluster gets the folder anyway."""
        return self.path in reach.folders or any(file in reach.files for file in self._files(renderer))

    def documents(self, renderer: Renderer, reach: Reach) -> list[Document]:
        """What the Application applies; noted in `reach`."""
        if renderer.is_kustomized(self.path):
            reach.build(self.path, self.change)
            found = renderer.render(self.path, self.change)
        else:
            files = self._files(renderer)
            reach.files |= set(files)
            found = [document for file in files for document in renderer.documents(file) if document.is_manifest]
        return [self._placed(document) for document in found]

    def is_chart(self, root: Path) -> bool:
        return (root / self.path / "Chart.yaml").is_file()

    def _files(self, renderer: Renderer) -> list[str]:
        below = [file for file in renderer.files if holds(self.path, file)]
        return below if self.recurse else [file for file in below if str(Path(file).parent) == self.path]

    def _placed(self, document: Document) -> Document:
        metadata = mapping(document.content.get("metadata"))
        if metadata.get("namespace") or not self.namespace or document.content.get("kind") in CLUSTER_SCOPED:
            return document
        return replace(document, content={**document.content, "metadata": {**metadata, "namespace": self.namespace}})


def is_application(document: Document) -> bool:
    return _is(document, "Application")


def is_application_set(document: Document) -> bool:
    return _is(document, "ApplicationSet")


def sources_of(document: Document) -> Iterator[Source]:
    """The folders of Git repositories that an Application names."""
    spec = mapping(document.content.get("spec"))
    server, name = str(dig(spec, "destination", "server")), str(dig(spec, "destination", "name"))
    namespace = dig(spec, "destination", "namespace")
    for source in [spec.get("source"), *items(spec.get("sources"))]:
        path = dig(source, "path")
        if not isinstance(path, str) or not path or dig(source, "chart"):
            continue
        yield Source(
            label(document),
            os.path.normpath(path.lstrip("/") or "."),
            next((where for where in (server.rstrip("/"), name) if where not in _HERE), None),
            namespace if isinstance(namespace, str) else None,
            _change(dig(source, "kustomize")),
            dig(source, "directory", "recurse") is True,
        )


def label(document: Document) -> str:
    """Kind, namespace and name, for messages."""
    metadata = mapping(document.content.get("metadata"))
    return f"{document.content.get('kind')} {metadata.get('namespace', 'default')}/{metadata.get('name')}"


def _change(options: Any) -> Change:
    namespace = dig(options, "namespace")
    return Change(
        namespace=namespace if isinstance(namespace, str) else None,
        prefix=str(dig(options, "namePrefix") or ""),
        suffix=str(dig(options, "nameSuffix") or ""),
        patches=tuple(items(dig(options, "patches"))),
        components=tuple(str(component) for component in items(dig(options, "components"))),
    )


def _is(document: Document, kind: str) -> bool:
    api = document.content.get("apiVersion")
    return isinstance(api, str) and api.startswith(f"{GROUP}/") and document.content.get("kind") == kind
