"""What applies files of a tree, and which of it nothing else applies.

What applies something is a Flux Kustomization, a FluxInstance, a ResourceSet, or an Argo CD Application or
ApplicationSet.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from policy.inventory.resource import dig, mapping
from policy.readers.git.argocd import application_sets
from policy.readers.git.argocd import applications as argocd
from policy.readers.git.argocd.applications import label
from policy.readers.git.files.checkout import repository_of
from policy.readers.git.files.manifests import Document
from policy.readers.git.files.unused import is_shown
from policy.readers.git.flux import resource_sets
from policy.readers.git.flux.kustomizations import is_flux, normal_path, read_flux
from policy.readers.git.flux.sources import Sources
from policy.readers.git.kustomize.folders import is_below
from policy.readers.git.kustomize.renderer import Renderer

_GENERATORS = ("configMapGenerator", "secretGenerator", "generators", "helmCharts")


@dataclass(frozen=True)
class Applier:
    """Something in a file that applies files of the tree."""

    document: Document
    label: str
    # The folder that it starts from, None when it has none in the tree.
    path: str | None
    files: frozenset[str]
    folders: frozenset[str]

    # Whether it names a folder of this tree that does not exist.
    is_dead: bool = False

    @property
    def applies_itself(self) -> bool:
        return self.document.file in self.files


class Appliers:
    """All appliers of a tree, and which of them are roots."""

    def __init__(self, renderer: Renderer, sources: Sources, own: frozenset[str]) -> None:
        self._renderer = renderer
        self.sources = sources
        self._own = own
        self.all: list[Applier] = []
        patches = renderer.patch_files()
        for document in renderer.survey.leading:
            if document.file not in patches:
                self.all += self._read(document)

    @cached_property
    def _whole(self) -> frozenset[str]:
        """The folders that something applies with all that is below them."""
        paths = {applier.path for applier in self.all if applier.path is not None}
        return frozenset(path for path in paths if not self._renderer.is_kustomized(path))

    def _read(self, document: Document) -> list[Applier]:
        if is_flux(document):
            if self._is_completed_elsewhere(document):
                return [Applier(document, label(document), None, frozenset(), frozenset())]
            flux = read_flux(document)
            path = self.sources.folder(flux)
            return [self._applier(document, label(document), path, flux.change.components)]
        if (path := instance_path(document)) is not None:
            return [self._applier(document, label(document), path, ())]
        if argocd.is_application(document):
            return self._application(document, document)
        if argocd.is_application_set(document):
            made, _ = application_sets.expand(document, self._renderer, self._own)
            found = [a for application in made for a in self._application(application, document)]
            files = frozenset().union(*(a.files for a in found))
            folders = frozenset().union(*(a.folders for a in found))
            return [Applier(document, label(document), None, files, folders)]
        if resource_sets.is_resource_set(document):
            inner = [
                a
                for d in resource_sets.expand(document, self._renderer.survey.leading)[0]
                if is_flux(d)
                for a in self._read(d)
            ]
            files = frozenset().union(*(a.files for a in inner))
            folders = frozenset().union(*(a.folders for a in inner))
            return [Applier(document, label(document), None, files, folders)]
        return []

    def _is_completed_elsewhere(self, document: Document) -> bool:
        """Whether a Kustomization without a path is in a base: the overlay adds it, and the whole tree is not meant."""
        folder = os.path.dirname(document.file)  # noqa: PTH120
        return bool(folder) and not dig(document.content, "spec", "path") and folder in self._renderer.taken_in()

    def _applier(self, document: Document, name: str, path: str | None, components: Iterable[str]) -> Applier:
        if path is None or not self._renderer.is_folder(path):
            return Applier(document, name, None, frozenset(), frozenset(), is_dead=path is not None)
        build = self._renderer.render(path)
        files, folders = set(build.files), set(build.folders)
        for component in components:
            inside = self._renderer.inside(path, component)
            if inside is not None and self._renderer.is_kustomized(inside):
                more = self._renderer.render(inside)
                files |= more.files
                folders |= more.folders
        return Applier(document, name, path, frozenset(files), frozenset(folders))

    def _application(self, application: Document, document: Document) -> list[Applier]:
        files: set[str] = set()
        folders: set[str] = set()
        for source in argocd.sources_of(application):
            if self.is_here(source):
                build = source.build(self._renderer)
                files |= build.files
                folders |= build.folders | {source.path}
        return [Applier(document, label(application), None, frozenset(files), frozenset(folders))]

    def is_here(self, source: argocd.Source) -> bool:
        """Whether a source of an Application is a folder of this tree."""
        if source.chart is not None or source.path == "." or not self._renderer.is_folder(source.path):
            return False
        return self.is_own(source.url)

    def is_own(self, url: str) -> bool:
        """Whether a URL is that of this tree, as far as the tree says it."""
        repository = repository_of(url)
        return repository is None or not self._own or repository in self._own

    def roots(self) -> tuple[list[Applier], dict[str, str]]:
        """The roots, and file -> what leaves it out for each applier that a kustomization does not list."""
        used = self._used()
        by_file: dict[str, list[Applier]] = defaultdict(list)
        for applier in used:
            for file in applier.files:
                by_file[file].append(applier)
        open_ones = [
            a for a in used if not any(other.document.file != a.document.file for other in by_file[a.document.file])
        ]
        built: dict[str, set[str]] = defaultdict(set)
        for applier in used:
            for folder in applier.folders:
                built[folder].add(applier.document.file)
        roots: list[Applier] = []
        left_out: dict[str, str] = {}
        for applier in open_ones:
            by = None if is_sync(applier) else self._left_out_by(applier.document.file, built)
            if (
                by is None
                or self._by_hand(by, built, by_file)
                or self._leads_to(by, applier, by_file)
                or self._leads_to(None, applier, by_file)
            ):
                roots.append(applier)
            else:
                left_out[applier.document.file] = _not_listed(by)
        # Appliers that apply each other in a ring have no root: it is the one that leads to most, so one of the ring
        # itself and not of what hangs on it; of those a sync, or one that applies itself.
        seen = self._reachable(roots, by_file)
        skipped = set(left_out)
        while rest := [a for a in used if id(a) not in seen and a.document.file not in skipped]:
            inside = [a for a in rest if not self._only_left_out(a, by_file, skipped)]
            if not inside:
                break
            first = min(
                inside,
                key=lambda a: (
                    -len(self._reachable([a], by_file)),
                    not is_sync(a),
                    not a.applies_itself,
                    a.document.file.count("/"),
                    a.document.file,
                    a.document.line,
                ),
            )
            roots.append(first)
            seen |= self._reachable([first], by_file)
        return roots, left_out

    def _used(self) -> list[Applier]:
        """Those that are not of an archive, an example or a test, or that one of these applies all the same."""
        used = [a for a in self.all if not is_shown(a.document.file)]
        rest = [a for a in self.all if is_shown(a.document.file)]
        while rest:
            applied = frozenset().union(*(a.files for a in used))
            more = [a for a in rest if a.document.file in applied]
            if not more:
                break
            used += more
            rest = [a for a in rest if a.document.file not in applied]
        kept = {id(a) for a in used}
        return [a for a in self.all if id(a) in kept]

    @staticmethod
    def _by_hand(folder: str, built: Mapping[str, set[str]], by_file: Mapping[str, list[Applier]]) -> bool:
        """Whether all that builds a folder is below it and listed by nothing: then so are its neighbours, by hand."""
        return all(is_below(file, folder) and not by_file.get(file) for file in built.get(folder, ()))

    def _leads_to(self, folder: str | None, applier: Applier, by_file: Mapping[str, list[Applier]]) -> bool:
        """Whether all that builds a folder, by default its own, comes from the applier: then a person applies it.

        An Application of Applications is often beside the kustomization of Argo CD, which does not list it; the
        instance from which a cluster starts, below a kustomization that is applied because of it.
        """
        inside = self._reachable([applier], by_file)
        folder = folder or os.path.dirname(applier.document.file) or "."  # noqa: PTH120
        builders = [a for a in self.all if a is not applier and folder in a.folders]
        return bool(builders) and all(id(a) in inside for a in builders)

    def _only_left_out(self, applier: Applier, by_file: Mapping[str, list[Applier]], skipped: set[str]) -> bool:
        """Whether all that applies an applier is itself left out, directly or through others."""
        stack, passed = [applier], {id(applier)}
        while stack:
            above = [a for a in by_file[stack.pop().document.file] if id(a) not in passed]
            for other in above:
                passed.add(id(other))
                if other.document.file in skipped:
                    return True
                stack.append(other)
        return False

    def _reachable(self, roots: Iterable[Applier], by_file: Mapping[str, list[Applier]]) -> set[int]:
        in_file: dict[str, list[Applier]] = defaultdict(list)
        for applier in self.all:
            in_file[applier.document.file].append(applier)
        seen: set[int] = set()
        stack = list(roots)
        while stack:
            applier = stack.pop()
            if id(applier) in seen:
                continue
            seen.add(id(applier))
            for file in applier.files:
                stack += in_file.get(file, ())
        return seen

    def left_out_by(self, file: str, built: Mapping[str, set[str]]) -> str | None:
        """The kustomization above a file that lists its neighbours and not the file, in words, or None."""
        folder = self._left_out_by(file, built)
        return None if folder is None else _not_listed(folder)

    def _left_out_by(self, file: str, built: Mapping[str, set[str]]) -> str | None:
        """The folder of the kustomization above a file that lists its neighbours and not the file."""
        parts = file.split("/")[:-1]
        for end in range(len(parts), -1, -1):
            folder = "/".join(parts[:end]) or "."
            if not self._renderer.is_kustomized(folder) or not built.get(folder, set()) - {file}:
                continue
            entries = [e for e in (self._renderer.inside(folder, e) for e in self._renderer.entries(folder)) if e]
            depth = 0 if folder == "." else end
            direct = len(parts) == depth
            content = self._renderer.kustomization(folder)
            says = any(content.get(f) for f in ("resources", "bases", "components", *_GENERATORS))
            governs = any(e.count("/") + 1 > depth + 1 or self._renderer.is_kustomized(e) for e in entries)
            # All that is below the folder of a Kustomization without a kustomization of its own is meant to be applied.
            meant = any(path != folder and is_below(folder, path) for path in self._whole)
            if ((direct or meant) and says) or governs:
                return folder
        return None


def _not_listed(folder: str) -> str:
    return f"the kustomization of {folder} does not list it"


def is_sync(applier: Applier) -> bool:
    """Whether this is what Flux starts from, as `flux bootstrap` and the Flux operator make it."""
    if instance_path(applier.document) is not None:
        return applier.path is not None
    if not (applier.applies_itself and is_flux(applier.document)):
        return False
    flux = read_flux(applier.document)
    return flux.name == flux.source[1] or os.path.basename(applier.document.file) == "gotk-sync.yaml"  # noqa: PTH119


def instance_path(document: Document) -> str | None:
    """The folder from which a FluxInstance, or the chart that makes one, syncs this tree; None for other objects."""
    content = document.content
    kind = content.get("kind")
    if kind == "FluxInstance":
        sync = mapping(dig(content, "spec", "sync"))
    elif kind == "HelmRelease":
        sync = mapping(dig(content, "spec", "values", "instance", "sync"))
    else:
        return None
    path = sync.get("path")
    if not isinstance(path, str) or not sync.get("kind"):
        return None
    parts = document.file.split("/")
    if normal_path(path) == "." and sync["kind"] != "GitRepository" and "clusters" in parts[:-2]:
        # An artifact is made of the folder of its cluster.
        return "/".join(parts[: parts.index("clusters") + 2])
    return normal_path(path)


def instance_source(document: Document) -> tuple[str, str] | None:
    """(kind, name) of the source that a FluxInstance makes."""
    if instance_path(document) is None:
        return None
    spec = mapping(document.content.get("spec"))
    sync = mapping(spec.get("sync") or dig(spec, "values", "instance", "sync"))
    return str(sync.get("kind")), str(sync.get("name") or "flux-system")
