"""Follows all that one cluster gets, from its entries on: each object that applies more of the tree leads to more."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from policy.inventory.installed import CHART_VALUES, Installed
from policy.inventory.resource import Resource, dig, items, mapping, part
from policy.readers.git.appliers import instance_path, instance_source
from policy.readers.git.argocd import application_sets
from policy.readers.git.argocd import applications as argocd
from policy.readers.git.argocd import charts as application_charts
from policy.readers.git.argocd.applications import label
from policy.readers.git.entries import ClusterEntry
from policy.readers.git.files.chart_values import carried_manifests
from policy.readers.git.files.manifests import Document
from policy.readers.git.files.secret_kinds import about_secrets
from policy.readers.git.files.unused import is_shown
from policy.readers.git.files.ytt import is_ytt
from policy.readers.git.flux import resource_sets
from policy.readers.git.flux.kustomizations import (
    FLUX,
    RECONCILE,
    FluxKustomization,
    Variables,
    is_disabled,
    is_flux,
    normal_path,
    read_flux,
    remote_of,
    substituted,
    values_of,
)
from policy.readers.git.flux.source_ignore import read_source_ignore
from policy.readers.git.helm import releases
from policy.readers.git.helm.template import Release, Rendered, render_chart
from policy.readers.git.kustomize.build import Build
from policy.readers.git.kustomize.folders import LEADING, NAMES, holds
from policy.readers.git.kustomize.patches import patched
from policy.readers.git.kustomize.renderer import Renderer
from policy.readers.git.reading import Reading
from policy.readers.git.resources import resource_of
from secret_authority.core.claims.locations import Part, Unknown
from secret_authority.core.errors import Problem

# Longer chains of Kustomizations than this are a ring.
_MAX_STEPS = 20_000


class ClusterReader:
    """Follows all that one cluster gets, each applier once."""

    def __init__(self, reader: Reading, entry: ClusterEntry) -> None:
        self._reader = reader
        self._renderer = reader.renderer
        self._tree = reader.tree
        self._entry = entry
        self._name = entry.name
        # (label, path, cluster that it is for) of what was followed.
        self._done: set[tuple[str, str, str]] = set()
        self._work: list[tuple[FluxKustomization, str, str]] = []
        # Kustomizations that wait for a ConfigMap or Secret with their variables.
        self._waiting: list[tuple[FluxKustomization, str, str]] = []
        # Applications come last: what Flux applies already is not applied once more.
        self._applications: list[tuple[Document, argocd.Source, str]] = []
        # The namespace in which an Application was met first, by where it is written.
        self._namespaces: dict[tuple[str, str, str], Any] = {}
        self._ignore = read_source_ignore(self._renderer.root)
        self._values: dict[tuple[str, str, str], Mapping[str, str | None]] = {}
        self._files: set[str] = set()
        self._folders: set[str] = set()
        # Documents of charts, with the namespace of their release.
        self._made: list[tuple[Document, str]] = []

    def read(self) -> Iterator[Resource]:
        started: set[tuple[str, int]] = set()
        for root in self._entry.roots:
            started.add((root.document.file, root.document.line))
            yield from self._take([root.document], None, self._name)
            self._note(Build(files=frozenset({root.document.file})), f"{root.label}, where {self._name} starts")
        for file in self._entry.files:
            documents = [d for d in self._renderer.documents(file) if d.is_manifest and (file, d.line) not in started]
            if os.path.basename(file) in NAMES or self._is_ytt(file):  # noqa: PTH119
                continue
            self._note(Build(files=frozenset({file})), f"beside what {self._name} starts with")
            yield from self._take(documents, None, self._name)
        for folder in self._entry.folders:
            documents = list(self._loose(folder))
            # What applies its own folder, with variables of its own, is all that a person applies of it.
            own = [d for d in documents if is_flux(d) and self._reader.sources.folder(read_flux(d)) == folder]
            yield from self._take(own or documents, None, self._name)
        steps = 0
        while self._work or self._waiting or self._applications:
            steps += 1
            if steps > _MAX_STEPS:
                self._reader.unexpanded[f"the rest of {self._name}: its Kustomizations lead to ever more"] = None
                return
            if self._work or self._waiting:
                yield from self._flux(*self._next())
            else:
                yield from self._argocd(*self._applications.pop(0))

    def _next(self) -> tuple[FluxKustomization, str, str]:
        """A Kustomization whose variables are known; else, when nothing else is left, one that waits for them."""
        while self._work:
            flux, folder, target = self._work.pop(0)
            if Variables(flux, target, self._values).missing:
                self._waiting.append((flux, folder, target))
                continue
            return flux, folder, target
        ready = next((w for w in self._waiting if not Variables(w[0], w[2], self._values).missing), self._waiting[0])
        self._waiting.remove(ready)
        return ready

    def _flux(self, flux: FluxKustomization, folder: str, target: str) -> Iterator[Resource]:
        build = self._renderer.render(folder, flux.change)
        for document in build.documents:
            # A Kustomization that applies itself may be patched by what it applies; then that is what counts.
            if is_flux(document) and (patched := read_flux(document)).label == flux.label and patched.path == flux.path:
                if patched != flux:
                    flux = patched
                    build = self._renderer.render(folder, flux.change)
                break
        self._note(build, f"{flux.label} of {target}")
        variables = Variables(flux, target, self._values)
        if variables.missing:
            # It may apply them itself: somebody applied them first, or Flux could not have begun.
            variables = Variables(flux, target, {**_given_by(build), **self._values})
        documents = [substituted(document, flux, variables) for document in build.documents]
        listed = self._renderer.is_kustomized(folder)
        # Flux does not get what .sourceignore leaves out. Git has it, so what it holds is judged as it is.
        without = [] if listed else [d for d in documents if self._ignore.leaves_out(d.file)]
        yield from (resource_of(d, target, None) for d in without if str(d.content.get("kind")) not in LEADING)
        yield from self._take([d for d in documents if d not in without] if without else documents, flux, target)

    def _argocd(self, document: Document, source: argocd.Source, target: str) -> Iterator[Resource]:
        if source.path in self._folders:
            return
        build = source.build(self._renderer)
        self._reader.note(build, f"{source.label} of {target}")
        documents: Iterable[Document] = build.documents
        if not self._renderer.is_kustomized(source.path):
            # What is applied already, such as the Application from which all starts, is not applied once more.
            documents = [made for made in documents if made.file not in self._files]
        yield from self._take(documents, None, target, argo=document)

    def _note(self, build: Build, by: str, guessed: bool = False) -> None:
        self._files |= build.files
        self._folders |= build.folders
        self._reader.note(build, by, guessed)

    def _take(
        self,
        documents: Iterable[Document],
        flux: FluxKustomization | None,
        target: str,
        argo: Document | None = None,
    ) -> Iterator[Resource]:
        """The resources of documents; what applies more is put to work."""
        documents = list(documents)
        for document in documents:
            # What is applied together may have its values behind it.
            kind = document.content.get("kind")
            if kind == "ConfigMap" or kind == "Secret":
                self._remember(document)
        for document in documents:
            if _is_own_format(document):
                continue
            kind = document.content.get("kind")
            leads = isinstance(kind, str) and kind in LEADING
            if leads:
                self._lead_on(document, flux, target)
            if flux and is_disabled(document):
                skipped = f"{RECONCILE} is disabled, {flux.label} skips it"
                self._tree.unjudged.append(f"{label(document)} of {target}: {skipped}")
                continue
            resource = resource_of(document, target, flux, argo)
            if leads and (installed := self._installed(document)):
                resource.derived[CHART_VALUES] = installed
            yield resource
            if leads or self._made:
                yield from self._carried(document, target, flux)

    def _remember(self, document: Document) -> None:
        if (key := _source_of_values(document)) is not None:
            self._values.setdefault(key, values_of(document))

    def _lead_on(self, document: Document, flux: FluxKustomization | None, target: str) -> None:
        if is_flux(document):
            self._follow(read_flux(document), document, flux, target)
        elif (path := instance_path(document)) is not None:
            self._instance(document, path, target)
        elif argocd.is_application(document):
            self._application(document)
        elif argocd.is_application_set(document):
            made, reasons = application_sets.expand(document, self._renderer, self._reader.own)
            self._unexpanded(document, reasons)
            for application in made:
                self._application(application)

    def _follow(
        self, inner: FluxKustomization, document: Document, flux: FluxKustomization | None, target: str
    ) -> None:
        if flux and flux.remote and inner.remote is None:
            # Flux of the remote cluster applies it there.
            inner = replace(inner, remote=flux.remote)
        if flux and flux.suspended:
            inner = replace(inner, suspended=True)
        key = (inner.label, str(inner.path), target)
        origin = (f"{document.file}:{document.line}", str(inner.path), target)
        # One without a known name that applies itself would be another one each time.
        hidden = isinstance(inner.namespace, Unknown) or isinstance(inner.name, Unknown)
        if key in self._done or (hidden and origin in self._done):
            return
        self._done |= {key, origin}
        if isinstance(inner.path, Unknown):
            self._unexpanded(document, [f"its path is not known ({inner.path.field})"])
            return
        if "${" in inner.path:
            self._unexpanded(document, [f"nothing in sight defines the variable of its path {inner.path}"])
            return
        path = self._reader.sources.folder(inner)
        if path is None or (self._reader.sources.is_strange(inner) and not self._renderer.is_folder(path)):
            kind, name, _ = inner.source
            self._tree.elsewhere.append(f"{inner.label} of {self._name}: {inner.path} of {kind} {name}")
        elif self._renderer.is_folder(path):
            self._work.append((inner, path, inner.remote or target))
        else:
            problem = f"{path} is not a directory of the tree"
            self._reader.problems[Problem(document.file, "spec.path", problem, "correct the path")] = None

    def _instance(self, document: Document, path: str, target: str) -> None:
        """The Kustomization that a FluxInstance makes for its sync."""
        source = instance_source(document)
        if not self._renderer.is_folder(path) or source is None:
            self._tree.elsewhere.append(f"{label(document)} of {self._name}: {path} of {' '.join(source or ())}")
            return
        spec = mapping(document.content.get("spec"))
        patches = items(dig(spec, "kustomize", "patches") or dig(spec, "values", "instance", "kustomize", "patches"))
        made = {
            "apiVersion": f"{FLUX}/v1",
            "kind": "Kustomization",
            "metadata": {"name": source[1], "namespace": "flux-system"},
            "spec": {"path": path, "sourceRef": {"kind": source[0], "name": source[1]}},
        }
        for patch in patches:
            # Patches of a FluxInstance are for all that it makes, its own Kustomization among them.
            made = dict(patched(Document(document.file, document.line, made), [patch]).content)
        inner = read_flux(Document(document.file, document.line, made))
        if (inner.label, path, target) not in self._done:
            self._done.add((inner.label, path, target))
            self._work.append((inner, path, target))

    def _application(self, document: Document) -> None:
        key = (label(document), "", self._name)
        metadata = mapping(document.content.get("metadata"))
        # One that starts a cluster may have its namespace only where it applies itself.
        origin = (document.file, str(document.line), str(metadata.get("name")))
        before = self._namespaces.setdefault(origin, metadata.get("namespace"))
        if key in self._done or (before != metadata.get("namespace") and None in (before, metadata.get("namespace"))):
            return
        self._done.add(key)
        for source in argocd.sources_of(document):
            target = self._target(source)
            if source.chart is not None:
                continue
            if source.path in self._renderer.charts and self._reader.appliers.is_here(source):
                self._applications_chart(document, source)
            elif self._reader.appliers.is_here(source):
                if source.plugin is not None:
                    self._unexpanded(document, [f"the plugin {source.plugin} makes objects of {source.path}"])
                self._applications.append((document, source, target))
            elif source.path != ".":
                self._tree.elsewhere.append(f"{source.label} of {self._name}: {source.path} of another repository")

    def _target(self, source: argocd.Source) -> str:
        """The cluster of a destination. A name for clusters that are not known is one of this Argo CD only."""
        if source.cluster is None:
            return self._name
        return source.cluster if "://" in source.cluster else f"{source.cluster} of {self._name}"

    def _applications_chart(self, document: Document, source: argocd.Source) -> None:
        release = application_charts.of_application(
            document, source, self._reader.appliers.is_own, lambda file: (self._renderer.root / file).is_file()
        )
        self._chart(document, source.path, release)

    def _chart(self, document: Document, chart: str, release: Release | str) -> None:
        """What a chart of the tree gives; templates about secrets that were not rendered are in the coverage."""
        made = Rendered(reason=release) if isinstance(release, str) else render_chart(self._renderer, chart, release)
        if made.reason is not None:
            said = f"the chart {chart} is not rendered: {made.reason}"
            self._tree.unjudged.append(f"{label(document)} of {self._name}: {said}")
        for missing in made.missing:
            self._reader.remote[f"{missing} (taken in by {chart})"] = None
        self._reader.note(Build(files=frozenset(made.files)), f"{label(document)} of {self._name}")
        if not isinstance(release, str):
            self._made.extend((d, release.namespace) for d in made.documents)

    def _carried(self, document: Document, target: str, flux: FluxKustomization | None) -> Iterator[Resource]:
        """The objects that an object of the tree makes: of a local chart, of values, of a ResourceSet."""
        found: list[Document] = []
        content = document.content
        if resource_sets.is_resource_set(document):
            found, reasons = resource_sets.expand(document, self._renderer.survey.leading)
            self._unexpanded(document, reasons)
        elif content.get("kind") == "HelmRelease":
            namespace = dig(content, "spec", "targetNamespace") or dig(content, "metadata", "namespace") or "default"
            chart = releases.local_chart(document)
            if chart is not None and normal_path(chart) in self._renderer.charts:
                release, reasons = releases.of_helm_release(document, self._values)
                self._unexpanded(document, reasons)
                self._chart(document, normal_path(chart), release)
            target = remote_of(mapping(content.get("spec")), _namespace_of(document)) or target
            release, _ = releases.of_helm_release(document, self._values)
            found = self._of_values(document, release.values, namespace, release.name)
        elif argocd.is_application(document):
            namespace = dig(content, "spec", "destination", "namespace") or "default"
            for source in argocd.sources_of(document):
                if source.chart is not None:
                    values, _ = self._values_of(document, source)
                    name = source.helm.get("releaseName") or dig(content, "metadata", "name")
                    found += self._of_values(document, values, namespace, name)
        while self._made:
            made, namespace = self._made.pop(0)
            found.append(_placed(made, namespace))
        for renderer in items(dig(content, "spec", "postRenderers")) if found else ():
            patches = items(dig(renderer, "kustomize", "patches"))
            found = [patched(made, patches) for made in found]
        yield from self._take(found, flux, target)

    def _installed(self, document: Document) -> list[Installed]:
        """The charts of other places that an object installs, with all of their values, where they are in sight."""
        found: list[Installed] = []
        if document.content.get("kind") == "HelmRelease":
            release, reasons = releases.of_helm_release(document, self._values)
            if not reasons and not release.files:
                chart = dig(document.content, "spec", "chart", "spec", "chart")
                remote = remote_of(mapping(document.content.get("spec")), _namespace_of(document))
                found.append(Installed(chart, release.name, release.namespace, release.values, remote))
        elif argocd.is_application(document):
            for source in argocd.sources_of(document):
                values, whole = self._values_of(document, source) if source.chart is not None else ({}, False)
                if whole and source.cluster is None:
                    name = source.helm.get("releaseName") or dig(document.content, "metadata", "name")
                    found.append(Installed(source.chart, name, source.namespace, values))
        return found

    def _values_of(self, document: Document, source: argocd.Source) -> tuple[Any, bool]:
        """The values of a chart of another place, as far as they are in this tree, and whether that is all."""

        def read(file: str) -> Any:
            documents = self._renderer.documents(file) if (self._renderer.root / file).is_file() else []
            return dict(documents[0].content) if documents else None

        return application_charts.values_of_application(document, source, self._reader.appliers.is_own, read)

    def _of_values(self, document: Document, values: Any, namespace: Any, release: Any) -> list[Document]:
        """Manifests about secrets, or that apply more, in the values of a chart."""
        found: list[Document] = []
        given = {"Name": release, "Namespace": namespace}
        for manifest in carried_manifests(values, {k: v for k, v in given.items() if isinstance(v, str)}):
            if isinstance(manifest, str):
                self._unexpanded(document, [f"a {manifest} of its values is a template"])
                continue
            made = Document(document.file, document.line, manifest)
            if about_secrets(manifest) is None:
                continue
            if not isinstance(dig(manifest, "metadata", "name"), str | Unknown):
                self._unexpanded(document, [f"the chart names a {manifest.get('kind')} of its values"])
                continue
            if "{{" in repr(dig(manifest, "metadata")):
                self._unexpanded(document, [f"a {manifest.get('kind')} of its values is a template"])
                continue
            found.append(_placed(made, namespace))
        return found

    def _unexpanded(self, document: Document, reasons: Iterable[str]) -> None:
        for reason in reasons:
            said = f"{label(document)} of {self._name}: {reason}"
            self._reader.unexpanded[said] = None
            self._tree.unjudged.append(said)

    def _loose(self, folder: str) -> list[Document]:
        """A folder that is an entry, without what others apply or take in."""
        renderer = self._renderer
        if renderer.is_kustomized(folder) and folder != ".":
            build = renderer.render(folder)
            self._note(build, f"{folder}, where {self._name} starts", self._entry.is_guessed)
            return list(build.documents)
        elsewhere = {
            applier.path
            for applier in self._reader.appliers.all
            if applier.path is not None and applier.path != folder and holds(folder, applier.document.file)
            if holds(folder, f"{applier.path}/x")
        }
        elsewhere |= {
            f for a in self._reader.appliers.all if a.path is None and holds(folder, a.document.file) for f in a.folders
        } - {folder}
        taken = renderer.taken_in()
        whole = folder == "." and not self._entry.roots and not self._settings_name(folder)
        documents: list[Document] = []
        files: set[str] = set()
        tops: set[str] = {"."} if folder == "." and renderer.is_kustomized(".") else set()
        for file in renderer.below(folder):
            if any(holds(path, file) for path in elsewhere) or (whole and is_shown(file)):
                continue
            if self._is_ytt(file) or (whole and self._renderer.is_beside_a_chart(file)):
                continue
            top = renderer.top(file, folder) if not (folder == "." and renderer.is_kustomized(".")) else None
            if top is not None and top != ".":
                tops |= {t for t in _kustomized_above(renderer, file, folder) if t not in taken}
                continue
            if file in taken or os.path.basename(file) in NAMES:  # noqa: PTH119
                continue
            files.add(file)
            documents += [d for d in renderer.documents(file) if d.is_manifest]
        for top in sorted(tops):
            if renderer.is_component(top):
                continue
            inner = renderer.render(top)
            documents += inner.documents
            # The kustomization at the top is the whole tree: whoever applies the tree builds it.
            guessed = self._entry.is_guessed and top != "."
            self._note(inner, f"{top}, in {folder}, where {self._name} starts", guessed)
        self._note(Build((), frozenset(files), frozenset({folder})), f"{folder}, where {self._name} starts")
        return documents

    def _is_ytt(self, file: str) -> bool:
        """Whether a file about secrets, which nothing in the tree applies, is a template of ytt."""
        if not self._entry.is_guessed or not any(about_secrets(d.content) for d in self._renderer.documents(file)):
            return False
        return is_ytt(self._renderer.root, file)

    def _settings_name(self, folder: str) -> bool:
        return any(entry.start == folder and entry.why.startswith("the settings") for entry in self._entry.entries)


def _kustomized_above(renderer: Renderer, file: str, folder: str) -> list[str]:
    """Every kustomized folder between a folder and a file."""
    parts = file.split("/")[:-1]
    parents = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
    return [p for p in parents if renderer.is_kustomized(p) and holds(folder, f"{p}/x") and p != folder]


def _namespace_of(document: Document) -> Part:
    return part(dig(document.content, "metadata", "namespace") or "default", f"metadata.namespace of {label(document)}")


def _placed(document: Document, namespace: Any) -> Document:
    metadata = mapping(document.content.get("metadata"))
    if metadata.get("namespace") or not isinstance(namespace, str | Unknown):
        return document
    return replace(document, content={**document.content, "metadata": {**metadata, "namespace": namespace}})


def _is_own_format(document: Document) -> bool:
    """Files for tools: kustomize's own, and the catalogue, which is read apart."""
    api = str(document.content.get("apiVersion"))
    return api.startswith("kustomize.config.k8s.io/") or document.content.get("kind") == "SecretCatalogue"


def _source_of_values(document: Document) -> tuple[str, str, str] | None:
    """(kind, namespace, name) of a ConfigMap or a Secret, which may hold variables."""
    kind = document.content.get("kind")
    if kind not in ("ConfigMap", "Secret") or document.content.get("apiVersion") != "v1":
        return None
    metadata = mapping(document.content.get("metadata"))
    name, space = metadata.get("name"), metadata.get("namespace") or "flux-system"
    return (str(kind), space, name) if isinstance(name, str) and isinstance(space, str) else None


def _given_by(build: Build) -> dict[tuple[str, str, str], Mapping[str, str | None]]:
    """The variables that a build holds; what is made of other variables is not known."""
    found: dict[tuple[str, str, str], Mapping[str, str | None]] = {}
    for document in build.documents:
        if (key := _source_of_values(document)) is not None:
            values = values_of(document)
            found[key] = {name: None if text and "${" in text else text for name, text in values.items()}
    return found
