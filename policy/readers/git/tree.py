"""Reads a Git tree as its clusters would see it: Flux, Argo CD, kustomize, local charts, plain YAML.

A cluster starts at its entries (see entries.py); from there each object that applies more of the tree leads on. What
cannot be followed is in the coverage, never passed over in silence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from policy.inventory.coverage import Coverage, Entry
from policy.inventory.resource import Resource, dig, walk
from policy.readers.git import argocd
from policy.readers.git.appliers import Appliers, instance_source
from policy.readers.git.bootstrap_folders import read_bootstrap_folders
from policy.readers.git.checkout import remotes
from policy.readers.git.cluster import ClusterReader, Tree, holds, resource_of
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
    is_flux,
    read_flux,
)
from policy.readers.git.flux_sources import Sources
from policy.readers.git.kustomize import Build, Renderer
from policy.readers.git.manifests import Document, Files, list_files, parse, read_text
from policy.readers.git.secret_kinds import about_secrets, in_template
from policy.readers.lists import expand_lists
from policy.settings import Settings, globbed
from secret_authority.core.errors import InvalidInputError, Problem
from secret_authority.repository.layout import HOME
from secret_authority.repository.trust import FILE as TRUST_FILE

_TEMPLATE = re.compile(r"\{\{|\{%|<[A-Z][A-Z0-9_]+>|<%|\[\[")


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
            tree.resources += expand_lists(ClusterReader(self, cluster).read())
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
            near = any(holds(folder, file) for folder in starts) or file.startswith(f"{HOME}/{cluster.name}/")
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
        own = isinstance(flux.path, str) and holds(flux.path, document.file) and isinstance(name, str)
        if own and flux.name == name and (name == "flux-system" or flux.path != "."):
            found.add((kind, str(name)))
    # Flux's own name counts before others.
    named = {source for source in found if source[1] == "flux-system"}
    return sorted(named or found)


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


__all__ = ["Tree", "read_tree"]
