"""Reads a Git tree as its clusters would see it: Flux, Argo CD, kustomize, local charts, plain YAML.

A cluster starts at its entries (see entries.py); from there each object that applies more of the tree leads on. What
cannot be followed is in the coverage, never passed over in silence.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from policy.inventory.coverage import Coverage, Entry
from policy.inventory.resource import AppliedBy, Origin, Position, Resource, dig, items, mapping, walk
from policy.readers.git import argocd, charts, releases, resource_sets
from policy.readers.git.appliers import Appliers, instance_path, instance_source
from policy.readers.git.argocd import label
from policy.readers.git.bootstrap_folders import read_bootstrap_folders
from policy.readers.git.checkout import remotes
from policy.readers.git.entries import (
    ALTERNATIVE,
    GUESS,
    ONE_CLUSTER,
    ClusterEntry,
    by_hand,
    find_entries,
    is_archived,
    is_not_applied,
)
from policy.readers.git.flux import (
    FLUX,
    RECONCILE,
    FluxKustomization,
    Variables,
    is_disabled,
    is_flux,
    normal_path,
    read_flux,
    substituted,
    values_of,
)
from policy.readers.git.flux_sources import Sources
from policy.readers.git.helm import Release, Rendered, render_chart
from policy.readers.git.kustomize import LEADING, NAMES, Build, Renderer, patched
from policy.readers.git.manifests import Document, Files, list_files, parse, read_text
from policy.readers.git.secret_kinds import about_secrets, in_template
from policy.readers.lists import expand_lists, token_of
from policy.settings import Settings, globbed
from secret_authority.core.claims.locations import Unknown
from secret_authority.core.errors import InvalidInputError, Problem
from secret_authority.repository.layout import HOME
from secret_authority.repository.trust import FILE as TRUST_FILE

_TEMPLATE = re.compile(r"\{\{|\{%|<[A-Z][A-Z0-9_]+>|<%|\[\[")
_DECRYPT = f"{FLUX}/decrypt"
# Longer chains of Kustomizations than this are a ring.
_MAX_STEPS = 20_000


@dataclass
class Tree:
    """What a tree holds: the resources of every cluster, and what could not be read."""

    resources: list[Resource] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    # Kustomizations and Applications whose source is another one than this tree.
    elsewhere: list[str] = field(default_factory=list)
    # What is in the tree and was not judged: templates, and files that no cluster gets.
    unjudged: list[str] = field(default_factory=list)
    coverage: Coverage = field(default_factory=Coverage)

    @property
    def clusters(self) -> tuple[str, ...]:
        return self.coverage.clusters


def read_tree(root: Path, settings: Settings | None = None) -> Tree:
    """Read a tree. Raises `InvalidInputError` when it is not a directory or an entry of the settings does not exist."""
    settings = settings or Settings()
    if not root.is_dir():
        raise InvalidInputError([Problem(str(root), "", "is not a directory", "give a checkout of the repository")])
    listed = list_files(root)
    excluded = [
        file for file in listed.manifests if any(globbed(file, p) or _inside(file, p) for p in settings.exclude)
    ]
    renderer = Renderer(root, _without(listed, settings))
    return _Reader(root, renderer, settings, excluded).read()


def _without(listed: Files, settings: Settings) -> Files:
    if not settings.exclude:
        return listed

    def kept(path: str) -> bool:
        return not any(globbed(path, pattern) or _inside(path, pattern) for pattern in settings.exclude)

    return Files(
        tuple(file for file in listed.manifests if kept(file)),
        {folder: files for folder, files in listed.charts.items() if kept(f"{folder}/Chart.yaml")},
        frozenset(folder for folder in listed.bare_kustomizations if kept(f"{folder}/Kustomization")),
    )


def _inside(file: str, pattern: str) -> bool:
    """Whether a file is below a folder that a pattern names."""
    parts = file.split("/")
    return any(globbed("/".join(parts[:end]), pattern) for end in range(1, len(parts)))


class _Reader:
    """Reads one tree."""

    def __init__(self, root: Path, renderer: Renderer, settings: Settings, excluded: list[str]) -> None:
        self._root = root
        self.renderer = renderer
        self._settings = settings
        self._excluded = excluded
        known = remotes(root)
        documents = list(renderer.survey.leading)
        sync = [source for d in documents if (source := instance_source(d))]
        sync += _syncs(documents)
        patched_ones = [d for d in _overlaid(renderer, documents) if is_flux(d)]
        self.sources = Sources([*documents, *patched_ones], known, sync, renderer.is_folder, renderer.folders)
        made = [
            a for d in documents if argocd.is_application_set(d) for a in argocd.expand(d, renderer, frozenset())[0]
        ]
        applications = [s for d in (*documents, *made) if argocd.is_application(d) for s in argocd.sources_of(d)]
        self.own = argocd.own_repository(applications, renderer, known)
        self.appliers = Appliers(renderer, self.sources, self.own)
        self.tree = Tree()
        self._guessed = False
        self.hand_read: list[str] = []
        self._kinds: dict[str, str | None] = {}
        self.problems: dict[Problem, None] = {}
        self.reached: dict[str, list[str]] = {}
        self.remote: dict[str, None] = {}
        self.unexpanded: dict[str, None] = {}
        # Folders that were built, and who applies them.
        self.built: dict[str, set[str]] = {}

    def read(self) -> Tree:
        clusters, left_out = find_entries(self.renderer, self._settings, self.appliers)
        tree = self.tree
        for cluster in clusters:
            tree.resources += expand_lists(_Cluster(self, cluster).read())
            tree.resources += self._catalogues(cluster, len(clusters))
        tree.resources += self._sops_config()
        tree.resources += self._bootstrap_folders()
        entries = tuple(sorted({entry for cluster in clusters for entry in cluster.entries}))
        tree.coverage = self._coverage(entries, left_out)
        if len(clusters) == 1 and not self._settings.entries and tree.coverage.unread:
            tree.resources += self._by_hand(clusters[0], tree.coverage)
            tree.coverage = self._coverage(entries, left_out)
        self._guessed = all(entry.why == GUESS or entry.why == ALTERNATIVE for entry in entries)
        self._judge_broken()
        self._hidden_identity()
        tree.problems = list(self.problems)
        tree.unjudged = list(dict.fromkeys(tree.unjudged))
        tree.elsewhere = list(dict.fromkeys(tree.elsewhere))
        return tree

    def _by_hand(self, cluster: ClusterEntry, found: Coverage) -> list[Resource]:
        """What nothing in the tree applies, in a tree of one cluster: read as if it were applied by hand."""
        resources: list[Resource] = []
        for folder, files in by_hand(self.renderer, self.reached, found.unread):
            by = f"nothing applies it; read as if it were applied to {cluster.name} by hand"
            if self.renderer.is_kustomized(folder):
                build = self.renderer.render(folder)
                documents = list(build.documents)
            else:
                build = Build(files=frozenset(files))
                documents = [document for file in files for document in self.renderer.applied(file)]
            self.note(build, by)
            self.hand_read += sorted(build.files)
            resources += [resource_of(document, cluster.name, None) for document in documents]
        return expand_lists(resource for resource in resources if not resource.token.startswith("kubernetes:kustomize"))

    def note(self, build: Build, by: str) -> None:
        """Notes who gets the files of a build, and what it does not hold."""
        for file in build.files:
            who = self.reached.setdefault(file, [])
            if by not in who:
                who.append(by)
        for folder in build.folders:
            self.built.setdefault(folder, set()).add(by)
        for entry in sorted(build.remote):
            folder = min(build.folders, default=".")
            self.remote[f"{_shortened(entry)} (taken in below {folder})"] = None
        for plugin in sorted(build.plugins):
            self.unexpanded[plugin] = None
        self.problems.update(dict.fromkeys(build.problems))

    def _coverage(self, entries: tuple[Entry, ...], left_out_appliers: Mapping[str, str]) -> Coverage:
        renderer = self.renderer
        inputs = self._inputs()
        read: list[str] = []
        unread: dict[str, str] = {}
        left_out: dict[str, str] = {}
        skipped = list(self._excluded)
        behind = self._behind_left_out(left_out_appliers)
        for file in renderer.files:
            if file in inputs and file not in self.reached:
                continue
            kind = self._kind_of(file)
            if kind is None:
                continue
            if file in self.reached:
                read.append(file)
            elif (by := behind.get(file) or self._left_out(file)) is not None:
                left_out[file] = by
            elif is_not_applied(file) or is_archived(file):
                skipped.append(file)
            else:
                unread[file] = f"holds {kind}, and no entry of a cluster leads to it"
        for chart, files in renderer.charts.items():
            for file in files:
                found = in_template(read_text(self._root, file)[0])
                if found is None:
                    continue
                if file in self.reached:
                    read.append(file)
                elif is_not_applied(file) or is_archived(file):
                    skipped.append(file)
                else:
                    unread[file] = f"is a template for {found} of the chart {chart}, which was not rendered"
        return Coverage(
            entries,
            tuple(read),
            unread,
            left_out,
            tuple(skipped),
            tuple(self.remote),
            tuple(self.unexpanded),
            {file: tuple(who) for file, who in sorted(self.reached.items())},
            tuple(file for file in self.hand_read if file in read),
        )

    def _kind_of(self, file: str) -> str | None:
        """The kind about secrets that a file holds."""
        if file not in self._kinds:
            documents = self.renderer.documents(file)
            self._kinds[file] = next((found for d in documents if (found := about_secrets(d.content))), None)
        return self._kinds[file]

    def _inputs(self) -> set[str]:
        """What a patch or a generator reads is not a manifest of its own."""
        found: set[str] = set()
        for folder in self.renderer.kustomized():
            content = self.renderer.kustomization(folder)
            rest = {key: value for key, value in content.items() if key not in ("resources", "bases", "components")}
            # A generator writes key=file.
            texts = {t.rpartition("=")[2] for _, t in walk(rest) if isinstance(t, str) and "\n" not in t}
            targets = {self.renderer.inside(folder, text) for text in texts}
            found |= {target for target in targets if target in self.renderer.known}
        return found

    def _behind_left_out(self, left_out: Mapping[str, str]) -> dict[str, str]:
        """Files that only appliers would bring which are left out themselves."""
        found = dict(left_out)
        for applier in self.appliers.all:
            if (by := left_out.get(applier.document.file)) is not None and applier.document.file not in self.reached:
                for file in applier.files:
                    if file not in self.reached:
                        found.setdefault(
                            file, f"{applier.label} applies it, and {by.replace(' it', f' {applier.document.file}')}"
                        )
        return found

    def _left_out(self, file: str) -> str | None:
        parents = ["/".join(file.split("/")[:end]) for end in range(file.count("/"), 0, -1)]
        component = next((f for f in parents if self.renderer.is_kustomized(f)), None)
        if component is not None and self.renderer.is_component(component) and component not in self.built:
            return f"no kustomization takes in the component {component}"
        return self.appliers.left_out_by(file, self.built)

    def _judge_broken(self) -> None:
        """A file that is not valid YAML is a problem where a cluster gets it or it is a catalogue, else it is named."""
        for file, problems in sorted(self.renderer.broken.items()):
            unclear = self._guessed and _is_template(self._root / file)
            if (file in self.reached and not unclear) or _says_catalogue(self._root / file):
                self.problems.update(dict.fromkeys(problems))
            else:
                self.tree.unjudged += [f"{file} {each.message}; no entry of a cluster leads to it" for each in problems]

    def _catalogues(self, cluster: ClusterEntry, clusters: int) -> Iterator[Resource]:
        """The catalogue of a cluster is in its folder or below secret-authority/CLUSTER; with one cluster, anywhere."""
        for document in self.renderer.survey.catalogues:
            file = document.file
            starts = [*cluster.folders, *(r.path for r in cluster.roots if r.path is not None)]
            near = any(_holds(folder, file) for folder in starts) or file.startswith(f"{HOME}/{cluster.name}/")
            shared = not file.startswith(("clusters/", f"{HOME}/"))
            if near or clusters == 1 or shared:
                self.reached.setdefault(file, [])
                yield resource_of(document, cluster.name, None)

    def _sops_config(self) -> Iterator[Resource]:
        if not (self._root / ".sops.yaml").is_file():
            return
        text, problems = read_text(self._root, ".sops.yaml")
        documents, more = parse(text, ".sops.yaml")
        self.problems.update(dict.fromkeys([*problems, *more]))
        for document in documents:
            content = {**document.content, "apiVersion": "secret-authority.dev/v1", "kind": "SopsConfig"}
            yield resource_of(Document(document.file, document.line, content), ONE_CLUSTER, None)

    def _bootstrap_folders(self) -> Iterator[Resource]:
        for folders in read_bootstrap_folders(self._root, self._settings):
            kind = {"apiVersion": "secret-authority.dev/v1", "kind": "BootstrapFolders", "found": folders}
            file = next(iter(folders.folders), TRUST_FILE)
            yield resource_of(Document(file, 1, kind), folders.cluster or ONE_CLUSTER, None)

    def _hidden_identity(self) -> None:
        """A manifest whose kind or name is ciphertext cannot be judged."""
        for document in self.renderer.survey.encrypted:
            for path in (("kind",), ("apiVersion",), ("metadata", "name"), ("metadata", "namespace")):
                value = dig(document.content, *path)
                if isinstance(value, str) and value.startswith("ENC["):
                    problem = "is encrypted, so nobody can see which secret this is"
                    fix = "encrypt with encrypted_regex ^(data|stringData)$"
                    self.problems[Problem(document.file, ".".join(path), problem, fix)] = None
                    break


class _Cluster:
    """Follows all that one cluster gets, each applier once."""

    def __init__(self, reader: _Reader, entry: ClusterEntry) -> None:
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
            if os.path.basename(file) in NAMES:  # noqa: PTH119
                continue
            self._note(Build(files=frozenset({file})), f"beside what {self._name} starts with")
            yield from self._take(documents, None, self._name)
        for folder in self._entry.folders:
            yield from self._take(self._loose(folder), None, self._name)
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
        documents = [substituted(document, flux, variables) for document in build.documents]
        yield from self._take(documents, flux, target)

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

    def _note(self, build: Build, by: str) -> None:
        self._files |= build.files
        self._folders |= build.folders
        self._reader.note(build, by)

    def _take(
        self,
        documents: Iterable[Document],
        flux: FluxKustomization | None,
        target: str,
        argo: Document | None = None,
    ) -> Iterator[Resource]:
        """The resources of documents; what applies more is put to work."""
        for document in documents:
            if _is_own_format(document):
                continue
            kind = document.content.get("kind")
            if kind == "ConfigMap" or kind == "Secret":
                self._remember(document)
            leads = isinstance(kind, str) and kind in LEADING
            if leads:
                self._lead_on(document, flux, target)
            if flux and is_disabled(document):
                skipped = f"{RECONCILE} is disabled, {flux.label} skips it"
                self._tree.unjudged.append(f"{label(document)} of {target}: {skipped}")
                continue
            yield resource_of(document, target, flux, argo)
            if leads or self._made:
                yield from self._carried(document, target, flux)

    def _remember(self, document: Document) -> None:
        kind = document.content.get("kind")
        if kind in ("ConfigMap", "Secret") and document.content.get("apiVersion") == "v1":
            metadata = mapping(document.content.get("metadata"))
            name, space = metadata.get("name"), metadata.get("namespace") or "flux-system"
            if isinstance(name, str) and isinstance(space, str):
                self._values.setdefault((str(kind), space, name), values_of(document))

    def _lead_on(self, document: Document, flux: FluxKustomization | None, target: str) -> None:
        if is_flux(document):
            self._follow(read_flux(document), document, flux, target)
        elif (path := instance_path(document)) is not None:
            self._instance(document, path, target)
        elif argocd.is_application(document):
            self._application(document)
        elif argocd.is_application_set(document):
            made, reasons = argocd.expand(document, self._renderer, self._reader.own)
            self._unexpanded(document, reasons)
            for application in made:
                self._application(application)

    def _follow(
        self, inner: FluxKustomization, document: Document, flux: FluxKustomization | None, target: str
    ) -> None:
        if flux and flux.remote and inner.remote is None:
            # Flux of the remote cluster applies it there.
            inner = replace(inner, remote=flux.remote)
        key = (inner.label, str(inner.path), target)
        if key in self._done:
            return
        self._done.add(key)
        if isinstance(inner.path, Unknown):
            self._unexpanded(document, [f"its path is not known ({inner.path.field})"])
            return
        path = self._reader.sources.folder(inner)
        if path is None:
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
        if key in self._done:
            return
        self._done.add(key)
        for source in argocd.sources_of(document):
            target = self._target(source)
            if source.chart is not None:
                continue
            if source.path in self._renderer.charts and self._reader.appliers.is_here(source):
                self._applications_chart(document, source)
            elif self._reader.appliers.is_here(source):
                self._applications.append((document, source, target))
            elif source.path != ".":
                self._tree.elsewhere.append(f"{source.label} of {self._name}: {source.path} of another repository")

    def _target(self, source: argocd.Source) -> str:
        """The cluster of a destination. A name for clusters that are not known is one of this Argo CD only."""
        if source.cluster is None:
            return self._name
        return source.cluster if "://" in source.cluster else f"{source.cluster} of {self._name}"

    def _applications_chart(self, document: Document, source: argocd.Source) -> None:
        release = releases.of_application(
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
            found, reasons = resource_sets.expand(document)
            self._unexpanded(document, reasons)
        elif content.get("kind") == "HelmRelease":
            namespace = dig(content, "spec", "targetNamespace") or dig(content, "metadata", "namespace") or "default"
            chart = charts.local_chart(document)
            if chart is not None and normal_path(chart) in self._renderer.charts:
                release, reasons = releases.of_helm_release(document, self._values)
                self._unexpanded(document, reasons)
                self._chart(document, normal_path(chart), release)
            found = self._of_values(document, dig(content, "spec", "values"), namespace)
        elif argocd.is_application(document):
            namespace = dig(content, "spec", "destination", "namespace") or "default"
            for source in argocd.sources_of(document):
                if source.chart is not None:
                    values = source.helm.get("valuesObject")
                    if isinstance(source.helm.get("values"), str):
                        values = [values, *(d.content for d in parse(source.helm["values"], document.file)[0])]
                    found += self._of_values(document, values, namespace)
        while self._made:
            made, namespace = self._made.pop(0)
            found.append(_placed(made, namespace))
        yield from self._take(found, flux, target)

    def _of_values(self, document: Document, values: Any, namespace: Any) -> list[Document]:
        """Manifests about secrets, or that apply more, in the values of a chart."""
        found: list[Document] = []
        for manifest in charts.carried_manifests(values):
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
            self._note(build, f"{folder}, where {self._name} starts")
            return list(build.documents)
        elsewhere = {
            applier.path
            for applier in self._reader.appliers.all
            if applier.path is not None and applier.path != folder and _holds(folder, applier.document.file)
            if _holds(folder, f"{applier.path}/x")
        }
        elsewhere |= {
            f
            for a in self._reader.appliers.all
            if a.path is None and _holds(folder, a.document.file)
            for f in a.folders
        } - {folder}
        taken = renderer.taken_in()
        whole = folder == "." and not self._entry.roots and not self._settings_name(folder)
        documents: list[Document] = []
        files: set[str] = set()
        tops: set[str] = {"."} if folder == "." and renderer.is_kustomized(".") else set()
        for file in renderer.below(folder):
            if any(_holds(path, file) for path in elsewhere) or (whole and is_not_applied(file)):
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
            self._note(inner, f"{top}, in {folder}, where {self._name} starts")
        self._note(Build((), frozenset(files), frozenset({folder})), f"{folder}, where {self._name} starts")
        return documents

    def _settings_name(self, folder: str) -> bool:
        return any(entry.start == folder and entry.why.startswith("the settings") for entry in self._entry.entries)


def _kustomized_above(renderer: Renderer, file: str, folder: str) -> list[str]:
    """Every kustomized folder between a folder and a file."""
    parts = file.split("/")[:-1]
    parents = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
    return [p for p in parents if renderer.is_kustomized(p) and _holds(folder, f"{p}/x") and p != folder]


def _placed(document: Document, namespace: Any) -> Document:
    metadata = mapping(document.content.get("metadata"))
    if metadata.get("namespace") or not isinstance(namespace, str | Unknown):
        return document
    return replace(document, content={**document.content, "metadata": {**metadata, "namespace": namespace}})


def _overlaid(renderer: Renderer, documents: list[Document]) -> list[Document]:
    """Flux Kustomizations as the uppermost kustomizations make them of those of a base."""
    files = {document.file for document in documents if is_flux(document)}
    taken = renderer.taken_in()
    found: list[Document] = []
    for folder in renderer.kustomized():
        if folder not in taken and not renderer.is_component(folder) and files & renderer.render(folder).files:
            found += renderer.render(folder).documents
    return found


def _syncs(documents: list[Document]) -> list[tuple[str, str]]:
    """(kind, name) of the sources of Kustomizations that apply their own folder, as `flux bootstrap` makes them."""
    found: set[tuple[str, str]] = set()
    for document in documents:
        if not is_flux(document):
            continue
        flux = read_flux(document)
        kind, name, _ = flux.source
        own = isinstance(flux.path, str) and _holds(flux.path, document.file) and isinstance(name, str)
        if own and flux.name == name and (name == "flux-system" or flux.path != "."):
            found.add((kind, str(name)))
    # Flux's own name counts before others.
    named = {source for source in found if source[1] == "flux-system"}
    return sorted(named or found)


def resource_of(
    document: Document, cluster: str, flux: FluxKustomization | None, argo: Document | None = None
) -> Resource:
    """A document as a resource of a cluster."""
    content = document.content
    name = dig(content, "metadata", "name")
    decrypts = flux.decrypts if flux else None
    if str(dig(content, "metadata", "annotations", _DECRYPT) or "").lower() == "disabled":
        decrypts = False
    applier = flux.label if flux else label(argo) if argo else ""
    return Resource(
        token_of(content),
        name if isinstance(name, str) else document.file,
        Position(file=document.file, line=document.line),
        Origin.GIT,
        lambda: content,
        cluster=cluster,
        applied_by=_applied_by(applier, decrypts),
    )


@lru_cache(maxsize=1024)
def _applied_by(applier: str, decrypts: bool | None) -> AppliedBy:
    return AppliedBy(applier, decrypts)


def _is_own_format(document: Document) -> bool:
    """Files for tools: kustomize's own, and the catalogue, which is read apart."""
    api = str(document.content.get("apiVersion"))
    return api.startswith("kustomize.config.k8s.io/") or document.content.get("kind") == "SecretCatalogue"


def _says_catalogue(file: Path) -> bool:
    try:
        return b"SecretCatalogue" in file.read_bytes()
    except OSError:
        return False


def _is_template(file: Path) -> bool:
    """Whether a file has marks of a template language."""
    try:
        return _TEMPLATE.search(file.read_text(errors="replace")) is not None
    except OSError:
        return False


def _shortened(entry: str) -> str:
    """A remote entry without what could be a credential in its URL."""
    scheme, found, rest = entry.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2] if '@' in rest.partition('/')[0] else rest}" if found else entry


def _holds(folder: str, file: str) -> bool:
    """Whether a file is in a folder or below it."""
    return folder == "." or file.startswith(f"{folder}/")
