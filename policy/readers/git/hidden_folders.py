"""Which hidden folders of a tree are read: those that something of the tree names, or applies with all around them."""

from __future__ import annotations

import os
from collections.abc import Iterator

from policy.inventory.resource import dig, walk
from policy.readers.git.argocd import application_sets
from policy.readers.git.argocd import applications as argocd
from policy.readers.git.files import checkout
from policy.readers.git.files.hidden import hidden_folder, is_of_a_tool
from policy.readers.git.files.manifests import Document, Files
from policy.readers.git.files.unused import is_archived, is_not_applied, is_template
from policy.readers.git.flux.kustomizations import normal_path
from policy.readers.git.kustomize.folders import holds
from policy.readers.git.reading import Reading
from policy.settings import Settings

# At the top of a repository, where an application has its code beside what deploys it.
_STARTS = frozenset({".argocd", ".argo-cd", ".argo", ".flux", ".fluxcd", ".flux-system", ".gitops"})
_PATHS = frozenset({"path", "chart", "valuesFiles", "valueFiles", "components"})


def used_hidden_folders(reading: Reading, listed: Files, settings: Settings) -> frozenset[str]:
    """Hidden folders, and files in hidden folders, that a cluster gets because of what is read already."""
    hidden = listed.hidden
    if hidden is None:
        return frozenset()
    files = [*hidden.manifests, *(f for inside in hidden.charts.values() for f in inside)]
    files += [f"{folder}/Kustomization" for folder in hidden.bare_kustomizations]
    named = {*_entries(settings), *_taken_in(reading), *_applied(reading)}
    found = {path for path in named if hidden_folder(path) and any(f == path or holds(path, f) for f in files)}
    whole = _applied_as_a_whole(reading)
    for file in files:
        folder = hidden_folder(file)
        if folder is None or is_of_a_tool(file):
            continue
        if any(holds(path, file) and reading.renderer.top(file, path) is None for path in whole):
            found.add(folder)
    if not found and not _holds_manifests(reading):
        found = {f for f in files if not (is_of_a_tool(f) or is_archived(f) or is_template(f) or is_not_applied(f))}
    starts = {folder for f in files if (folder := f.partition("/")[0]) in _STARTS}
    return frozenset(found | {folder for folder in starts if _leads_into_the_tree(reading, hidden, folder)})


def _entries(settings: Settings) -> Iterator[str]:
    for patterns in settings.entries.values():
        yield from map(normal_path, patterns)


def _taken_in(reading: Reading) -> Iterator[str]:
    """What kustomizations name: resources, components, patches, inputs of generators."""
    renderer = reading.renderer
    for folder in renderer.kustomized():
        for _, text in walk(renderer.kustomization(folder)):
            if isinstance(text, str) and "\n" not in text and "." in text:
                target = renderer.inside(folder, text.rpartition("=")[2])
                if target is not None:
                    yield target


def _applied(reading: Reading) -> Iterator[str]:
    """What objects name that apply more of the tree."""
    for document in reading.renderer.survey.leading:
        for path, text in walk(document.content):
            if isinstance(text, str) and "\n" not in text and not _PATHS.isdisjoint(map(str, path)):
                yield normal_path(text)


def _applied_as_a_whole(reading: Reading) -> set[str]:
    """Folders without a kustomization that are applied with all that is below them."""
    renderer = reading.renderer
    found = {applier.path for applier in reading.appliers.all if applier.path is not None}
    for document in renderer.survey.leading:
        for application in _applications(document, reading):
            for source in argocd.sources_of(application):
                if source.recurse and reading.appliers.is_here(source) and not source.is_chart(renderer):
                    found.add(source.path)
    # Below the root of a repository hidden folders are those of tools, or out of use.
    return {path for path in found if path != "." and not renderer.is_kustomized(path)}


def _applications(document: Document, reading: Reading) -> list[Document]:
    if argocd.is_application_set(document):
        return application_sets.expand(document, reading.renderer, reading.own)[0]
    return [document] if argocd.is_application(document) else []


def _holds_manifests(reading: Reading) -> bool:
    renderer = reading.renderer
    return bool(renderer.kustomization_files) or any(
        document.is_manifest for file in renderer.files for document in renderer.documents(file)
    )


def _leads_into_the_tree(reading: Reading, hidden: Files, folder: str) -> bool:
    """Whether an object of a hidden folder applies a folder of the tree."""
    renderer = reading.renderer
    known = checkout.remotes(renderer.root)
    for file in hidden.manifests:
        for document in renderer.documents(file) if holds(folder, file) else ():
            if dig(document.content, "kind") not in ("Kustomization", "Application"):
                continue
            repository = checkout.repository_of(str(dig(document.content, "spec", "source", "repoURL")))
            if repository and known and repository not in known:
                continue
            for path, text in walk(document.content):
                if path and path[-1] == "path" and isinstance(text, str):
                    target = os.path.normpath(text.lstrip("/") or ".")
                    if target != "." and not target.startswith("..") and renderer.is_folder(target):
                        return True
    return False
