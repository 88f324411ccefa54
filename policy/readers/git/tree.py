"""Reads a Git tree as its clusters would see it: Flux, Argo CD, kustomize, local charts, plain YAML.

A cluster starts at its entries (see entries.py); from there each object that applies more of the tree leads on. What
cannot be followed is in the coverage, never passed over in silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from policy.inventory.resource import Resource
from policy.readers.git.appliers import Appliers, instance_source
from policy.readers.git.argocd import applications as argocd
from policy.readers.git.cluster import ClusterReader
from policy.readers.git.coverage import CoverageReader
from policy.readers.git.entries import ALTERNATIVE, GUESS, ClusterEntry, by_hand, find_entries
from policy.readers.git.files.checkout import remotes
from policy.readers.git.files.manifests import Files, list_files
from policy.readers.git.flux.kustomizations import is_flux
from policy.readers.git.flux.sources import Sources
from policy.readers.git.flux.sync import overlaid, syncs
from policy.readers.git.kustomize.build import Build
from policy.readers.git.kustomize.renderer import Renderer
from policy.readers.git.own_files import bootstrap_folders, catalogues, sops_config
from policy.readers.git.reading import Reading, Tree
from policy.readers.git.resources import resource_of
from policy.readers.git.unreadable import hidden_identity, judge_broken
from policy.readers.lists import expand_lists
from policy.settings import Settings, globbed
from secret_authority.core.errors import InvalidInputError, Problem


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
    return _read(_reading(renderer), settings, excluded)


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


def _reading(renderer: Renderer) -> Reading:
    known = remotes(renderer.root)
    documents = list(renderer.survey.leading)
    sync = [source for d in documents if (source := instance_source(d))]
    sync += syncs(documents)
    patched_ones = [d for d in overlaid(renderer, documents) if is_flux(d)]
    sources = Sources([*documents, *patched_ones], known, sync, renderer.is_folder, renderer.folders)
    made = [a for d in documents if argocd.is_application_set(d) for a in argocd.expand(d, renderer, frozenset())[0]]
    applications = [s for d in (*documents, *made) if argocd.is_application(d) for s in argocd.sources_of(d)]
    own = argocd.own_repository(applications, renderer, known)
    return Reading(renderer, sources, own, Appliers(renderer, sources, own))


def _read(reading: Reading, settings: Settings, excluded: Sequence[str]) -> Tree:
    clusters, left_out = find_entries(reading.renderer, settings, reading.appliers)
    tree = reading.tree
    for cluster in clusters:
        tree.resources += expand_lists(ClusterReader(reading, cluster).read())
        tree.resources += catalogues(reading, cluster, len(clusters))
    tree.resources += sops_config(reading)
    tree.resources += bootstrap_folders(reading.renderer.root, settings)
    entries = tuple(sorted({entry for cluster in clusters for entry in cluster.entries}))
    coverage = CoverageReader(reading, excluded)
    tree.coverage = coverage.found(entries, left_out)
    if len(clusters) == 1 and not settings.entries and tree.coverage.unread:
        tree.resources += _by_hand(reading, clusters[0])
        tree.coverage = coverage.found(entries, left_out)
    judge_broken(reading, guessed=all(entry.why in (GUESS, ALTERNATIVE) for entry in entries))
    hidden_identity(reading)
    tree.problems = list(reading.problems)
    tree.unjudged = list(dict.fromkeys(tree.unjudged))
    tree.elsewhere = list(dict.fromkeys(tree.elsewhere))
    return tree


def _by_hand(reading: Reading, cluster: ClusterEntry) -> list[Resource]:
    """What nothing in the tree applies, in a tree of one cluster: read as if it were applied by hand."""
    resources: list[Resource] = []
    renderer = reading.renderer
    for folder, files in by_hand(renderer, reading.reached, reading.tree.coverage.unread):
        by = f"nothing applies it; read as if it were applied to {cluster.name} by hand"
        if renderer.is_kustomized(folder):
            build = renderer.render(folder)
            documents = list(build.documents)
        else:
            build = Build(files=frozenset(files))
            documents = [document for file in files for document in renderer.applied(file)]
        reading.note(build, by)
        reading.hand_read += sorted(build.files)
        resources += [resource_of(document, cluster.name, None) for document in documents]
    return expand_lists(resource for resource in resources if not resource.token.startswith("kubernetes:kustomize"))


__all__ = ["Tree", "read_tree"]
