"""What Argo CD Applications and ApplicationSets apply from this tree.

Argo CD, Application specification: spec.source or spec.sources with `path` are folders of a Git repository, built
with kustomize, rendered with helm, or read file by file (below the folder only with directory.recurse). A source with
`chart` is a chart of a Helm repository. spec.destination names another cluster by server or name, and the namespace
of what has none of its own. An ApplicationSet makes an Application for each set of parameters of its generators.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from policy.inventory.resource import dig, items, mapping
from policy.readers.git.files.checkout import repository_of as _repository_of
from policy.readers.git.files.manifests import Document
from policy.readers.git.kustomize.build import Build
from policy.readers.git.kustomize.renderer import Renderer
from policy.readers.git.kustomize.transform import CLUSTER_SCOPED, Change
from policy.settings import globbed
from secret_authority.core.claims.locations import Part, Unknown

GROUP = "argoproj.io"
_HERE = frozenset({"", "None", "in-cluster", "https://kubernetes.default.svc"})
# Plugins that fill values into the objects of a folder, and make none.
_FILLING = re.compile(r"avp|vault|kustomi[sz]e|sops|subst|secret|replac", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """One folder that an Application applies. `cluster` is None for the cluster of Argo CD itself."""

    label: str
    path: str
    url: str
    cluster: str | None
    namespace: Part | None
    change: Change
    recurse: bool
    helm: Mapping[str, Any]
    chart: str | None = None
    include: str = ""
    exclude: str = ""
    # A plugin that makes the objects of what is in the folder.
    plugin: str | None = None

    def build(self, renderer: Renderer) -> Build:
        """What the Application applies."""
        if renderer.is_kustomized(self.path):
            found = renderer.render(self.path, self.change)
        else:
            files = self.files(renderer)
            documents = [document for file in files for document in renderer.documents(file) if document.is_manifest]
            found = Build(tuple(documents), frozenset(files), frozenset({self.path}))
        return replace(found, documents=tuple(self.placed(document) for document in found.documents))

    def is_chart(self, renderer: Renderer) -> bool:
        return self.path in renderer.charts

    def files(self, renderer: Renderer) -> list[str]:
        """The files of a folder without a kustomization."""
        found = renderer.below(self.path) if self.recurse else renderer.directly_in(self.path)
        inside = [(file, os.path.relpath(file, self.path)) for file in found]
        if self.include:
            inside = [(file, name) for file, name in inside if globbed_path(name, self.include)]
        return [file for file, name in inside if not (self.exclude and globbed_path(name, self.exclude))]

    def placed(self, document: Document) -> Document:
        """A document in the namespace of the destination, where it has none."""
        metadata = mapping(document.content.get("metadata"))
        if metadata.get("namespace") or not self.namespace or document.content.get("kind") in CLUSTER_SCOPED:
            return document
        return replace(document, content={**document.content, "metadata": {**metadata, "namespace": self.namespace}})


def is_application(document: Document) -> bool:
    return _is(document, "Application")


def is_application_set(document: Document) -> bool:
    return _is(document, "ApplicationSet")


def sources_of(document: Document) -> Iterator[Source]:
    """The folders of Git repositories, and the charts, that an Application names."""
    spec = mapping(document.content.get("spec"))
    server, name = str(dig(spec, "destination", "server")), str(dig(spec, "destination", "name"))
    namespace = dig(spec, "destination", "namespace")
    for source in [spec.get("source"), *items(spec.get("sources"))]:
        path, chart = dig(source, "path"), dig(source, "chart")
        if not isinstance(source, Mapping) or not (isinstance(path, str) or isinstance(chart, str)):
            continue
        directory = mapping(source.get("directory"))
        yield Source(
            label(document),
            os.path.normpath(str(path or "").lstrip("/") or "."),
            str(source.get("repoURL") or ""),
            next((where for where in (server.rstrip("/"), name) if where not in _HERE), None),
            namespace if isinstance(namespace, str | Unknown) else None,
            _change(source.get("kustomize")),
            directory.get("recurse") is True,
            mapping(source.get("helm")),
            chart if isinstance(chart, str) and chart else None,
            text_of(directory.get("include")),
            text_of(directory.get("exclude")),
            _plugin(source),
        )


def own_repository(sources: Iterable[Source], renderer: Renderer, remotes: frozenset[str]) -> frozenset[str]:
    """The repositories by which Applications mean this tree; empty where nothing says it."""
    named: Counter[str] = Counter()
    for source in sources:
        repository = _repository_of(source.url)
        if repository and source.chart is None:
            named[repository] += int(source.path != "." and renderer.is_folder(source.path))
    if same := remotes & set(named):
        return frozenset(same)
    most = max(named.values(), default=0)
    return frozenset(sorted(name for name, count in named.items() if count == most)[:1]) if most else frozenset()


def label(document: Document) -> str:
    """Kind, namespace and name, for messages."""
    metadata = mapping(document.content.get("metadata"))
    return f"{document.content.get('kind')} {metadata.get('namespace', 'default')}/{metadata.get('name')}"


def globbed_path(path: str, pattern: str) -> bool:
    """Whether a path fits a pattern: * stays in one folder, ** does not, {a,b} is a choice."""
    choice = re.search(r"\{([^{}]*)\}", pattern)
    if choice:
        return any(
            globbed_path(path, pattern[: choice.start()] + option + pattern[choice.end() :])
            for option in choice[1].split(",")
        )
    return globbed(path, pattern)


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _plugin(source: Mapping[str, Any]) -> str | None:
    if "plugin" not in source:
        return None
    name = text_of(dig(source, "plugin", "name")) or "that Argo CD finds"
    return None if _FILLING.search(name) else name


def _change(options: Any) -> Change:
    namespace = dig(options, "namespace")
    return Change(
        namespace=namespace if isinstance(namespace, str) else None,
        prefix=text_of(dig(options, "namePrefix")),
        suffix=text_of(dig(options, "nameSuffix")),
        patches=tuple(items(dig(options, "patches"))),
        components=tuple(str(component) for component in items(dig(options, "components"))),
    )


def _is(document: Document, kind: str) -> bool:
    api = document.content.get("apiVersion")
    return isinstance(api, str) and api.startswith(f"{GROUP}/") and document.content.get("kind") == kind
