"""Reads a Git tree as its clusters would see it: Flux, Argo CD, kustomize, local charts, plain YAML.

A cluster starts at its entries (see entries.py); from there each object that applies more of the tree leads on. What
cannot be followed is in the coverage, never passed over in silence.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from policy.inventory.coverage import GUESSES, MISSING, NOT_IN_GIT
from policy.inventory.resource import Resource
from policy.readers.git.appliers import Appliers, instance_source
from policy.readers.git.argocd import application_sets
from policy.readers.git.argocd import applications as argocd
from policy.readers.git.cluster import ClusterReader
from policy.readers.git.coverage import CoverageReader
from policy.readers.git.entries import ClusterEntry, by_hand, find_entries
from policy.readers.git.files import checkout
from policy.readers.git.files.manifests import Files, list_files
from policy.readers.git.files.ytt import TEMPLATE_OF_YTT
from policy.readers.git.flux.kustomizations import is_flux
from policy.readers.git.flux.sources import Sources
from policy.readers.git.flux.sync import overlaid, syncs
from policy.readers.git.hidden_folders import used_hidden_folders
from policy.readers.git.kustomize.build import Build
from policy.readers.git.kustomize.renderer import Renderer
from policy.readers.git.own_files import bootstrap_folders, catalogues, sops_config
from policy.readers.git.reading import Reading, Tree
from policy.readers.git.resources import resource_of
from policy.readers.git.unreadable import hidden_identity, judge_broken
from policy.readers.lists import expand_lists
from policy.settings import Profile, Settings
from secret_authority.core.errors import InvalidInputError, Problem


def read_tree(root: Path, settings: Settings | None = None) -> Tree:
    """Read a tree. Raises `InvalidInputError` when it is not a directory or an entry of the settings does not exist."""
    settings = settings or Settings()
    if not root.is_dir():
        raise InvalidInputError([Problem(str(root), "", "is not a directory", "give a checkout of the repository")])
    listed, beside = list_files(root), checkout.ignored(root)
    listed, ignored = _without(listed, lambda file: checkout.is_among(file, beside)) if beside else (listed, ())
    listed, excluded = _without(listed, settings.excludes) if settings.exclude else (listed, ())
    reading = _reading(Renderer(root, listed, beside))
    while (more := listed.showing(used_hidden_folders(reading, listed, settings))) != listed:
        listed = more
        reading = _reading(Renderer(root, listed, beside))
    return _read(reading, settings, excluded, ignored, listed.hidden)


def _without(listed: Files, left_out: Callable[[str], bool]) -> tuple[Files, tuple[str, ...]]:
    """The files without some, and those of them that are manifests."""
    rest = listed.without(left_out)
    kept = frozenset(rest.manifests)
    return rest, tuple(file for file in listed.manifests if file not in kept)


def _reading(renderer: Renderer) -> Reading:
    known = checkout.remotes(renderer.root)
    documents = list(renderer.survey.leading)
    sync = [source for d in documents if (source := instance_source(d))]
    sync += syncs(documents)
    patched_ones = [d for d in overlaid(renderer, documents) if is_flux(d)]
    sources = Sources([*documents, *patched_ones], known, sync, renderer.is_folder, renderer.folders)
    made = [
        a
        for d in documents
        if argocd.is_application_set(d)
        for a in application_sets.expand(d, renderer, frozenset())[0]
    ]
    applications = [s for d in (*documents, *made) if argocd.is_application(d) for s in argocd.sources_of(d)]
    own = argocd.own_repository(applications, renderer, known)
    return Reading(renderer, sources, own, Appliers(renderer, sources, own))


def _read(
    reading: Reading, settings: Settings, excluded: Sequence[str], ignored: Sequence[str], hidden: Files | None
) -> Tree:
    reading.all_count = settings.profile is Profile.RFC or bool(reading.renderer.survey.catalogues)
    clusters, left_out = find_entries(reading.renderer, settings, reading.appliers)
    tree = reading.tree
    for cluster in clusters:
        tree.resources += expand_lists(ClusterReader(reading, cluster).read())
        tree.resources += catalogues(reading, cluster, len(clusters))
    tree.resources += sops_config(reading)
    tree.resources += bootstrap_folders(reading.renderer.root, settings)
    entries = tuple(sorted({entry for cluster in clusters for entry in cluster.entries}))
    coverage = CoverageReader(reading, excluded, ignored, hidden.manifests if hidden else ())
    tree.coverage = coverage.found(entries, left_out)
    if len(clusters) == 1 and not settings.entries and tree.coverage.unread:
        tree.resources += _by_hand(reading, clusters[0])
        tree.coverage = coverage.found(entries, left_out)
    judge_broken(reading, guessed=all(entry.why in GUESSES for entry in entries))
    hidden_identity(reading)
    tree.problems = _with_ignored(reading.renderer.root, list(reading.problems))
    unapplied = _with_ignored(reading.renderer.root, [p for p in reading.unapplied if p not in reading.problems])
    # What Git ignores is there for whoever builds it: only the repository does not have it.
    local = {problem.file for problem in unapplied if problem.message == NOT_IN_GIT}
    tree.problems += [problem for problem in unapplied if problem.file in local]
    if unread := _not_built([problem for problem in unapplied if problem.file not in local]):
        tree.coverage = replace(tree.coverage, unexpanded=(*tree.coverage.unexpanded, *unread))
    tree.unjudged = list(dict.fromkeys(tree.unjudged))
    tree.elsewhere = list(dict.fromkeys(tree.elsewhere))
    return tree


def _not_built(unapplied: Sequence[Problem]) -> list[str]:
    """What was not read because a build fails that nothing applies: for each file, the first reason."""
    found: dict[str, list[Problem]] = {}
    for problem in unapplied:
        found.setdefault(problem.file, []).append(problem)
    return [
        f"{file}: {problems[0].field}: {problems[0].message}"
        + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "")
        + ", and nothing in the tree applies it"
        for file, problems in found.items()
    ]


def _with_ignored(root: Path, problems: list[Problem]) -> list[Problem]:
    """Of a file that is missing because Git ignores it, that is said."""

    def path(problem: Problem) -> str:
        return os.path.normpath(PurePosixPath(problem.file).parent / problem.field.rpartition(": ")[2])

    missing = [p for p in problems if p.message == MISSING and not path(p).startswith(("..", "/"))]
    ignored = checkout.ignored_among(root, sorted({path(problem) for problem in missing}))
    fix = "add it to Git, encrypted where it is a secret, or remove the entry"
    return [
        replace(p, message=NOT_IN_GIT, fix=fix) if p.message == MISSING and path(p) in ignored else p for p in problems
    ]


def _by_hand(reading: Reading, cluster: ClusterEntry) -> list[Resource]:
    """What nothing in the tree applies, in a tree of one cluster: read as if it were applied by hand."""
    resources: list[Resource] = []
    renderer = reading.renderer
    # What a kustomization takes in of what is applied already, as it is, is applied once.
    applied = {(r.where, r.label) for r in reading.tree.resources}
    unread = [file for file, why in reading.tree.coverage.unread.items() if why != TEMPLATE_OF_YTT]
    for folder, files in by_hand(renderer, reading.reached, unread):
        by = f"nothing applies it; read as if it were applied to {cluster.name} by hand"
        if renderer.is_kustomized(folder):
            build = renderer.render(folder)
            documents = list(build.documents)
        else:
            build = Build(files=frozenset(files))
            documents = [document for file in files for document in renderer.applied(file)]
        reading.note(build, by, guessed=True)
        reading.hand_read += sorted(build.files)
        made = [resource_of(document, cluster.name, None) for document in documents]
        resources += [resource for resource in made if (resource.where, resource.label) not in applied]
    return expand_lists(resource for resource in resources if not resource.token.startswith("kubernetes:kustomize"))


__all__ = ["Tree", "read_tree"]
