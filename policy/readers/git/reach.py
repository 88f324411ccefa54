"""Which files of a tree one cluster gets, and what becomes of the others.

A build takes in what its kustomization lists, directly or through others, and the files that it patches with. A
manifest about secrets that no cluster gets is a problem: it could hold a claim, or be applied by something that the
tree does not show. Where a kustomization that was built leaves the manifest out, the tree itself says that it is not
applied; that is told, and is no problem.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from policy.inventory.resource import items, mapping, walk
from policy.readers.git.kustomize import NAMES, Change, Renderer
from secret_authority.core.errors import Problem

# API groups of which every kind is about secrets: where they lie, who reads them, who makes them.
_GROUPS = frozenset(
    {
        "external-secrets.io",
        "generators.external-secrets.io",
        "secrets.hashicorp.com",
        "secrets-store.csi.x-k8s.io",
        "bitnami.com",
        "isindir.github.com",
        "onepassword.com",
        "secrets.infisical.com",
    }
)


class Reach:
    """What one cluster gets: `folders` that are built as a whole, and `files`, relative to the root of the tree."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self.folders: set[str] = set()
        self.files: set[str] = set()

    def build(self, folder: str, change: Change | None = None) -> None:
        """Notes what a build of the folder takes in."""
        for component in change.components if change else ():
            self.build(os.path.normpath(f"{folder}/{component}"))
        if folder in self.folders:
            return
        self.folders.add(folder)
        if self._renderer.is_kustomized(folder):
            self._kustomization(folder)
            return
        for file in self._renderer.files:
            if not holds(folder, file):
                continue
            top = self._renderer.top(file, folder)
            if top is None:
                self.files.add(file)
            elif top not in self.folders and not self._renderer.is_component(top):
                self.build(top)

    def _kustomization(self, folder: str) -> None:
        self.files |= {os.path.normpath(f"{folder}/{name}") for name in NAMES}
        for entry in self._renderer.entries(folder):
            target = self._renderer.inside(folder, entry)
            if target is not None and (self._renderer.root / target).is_dir():
                self.build(target)
        self.files |= _named(self._renderer, folder)


def _named(renderer: Renderer, folder: str, without: frozenset[str] = frozenset()) -> set[str]:
    """Files that a kustomization names in any field but the given ones: resources, patches, generator input."""
    content = {key: value for key, value in renderer.kustomization(folder).items() if key not in without}
    # A generator writes key=file.
    texts = {text.rpartition("=")[2] for _, text in walk(content) if isinstance(text, str) and "\n" not in text}
    targets = {renderer.inside(folder, text) for text in texts}
    return {target for target in targets if target in renderer.known}


def unreached(renderer: Renderer, clusters: list[Reach]) -> tuple[list[Problem], list[str]]:
    """Problems of manifests about secrets that no cluster gets, and a line for each kustomization that omits some."""
    files = {file for reach in clusters for file in reach.files}
    built = {f for reach in clusters for f in reach.folders if renderer.is_kustomized(f) and f != "."}
    input_files: set[str] = set()
    for folder in renderer.kustomized():
        # What a patch or a generator reads is no manifest of its own.
        input_files |= _named(renderer, folder, frozenset({"resources", "bases"}))
    problems: list[Problem] = []
    omitted: dict[str, list[str]] = defaultdict(list)
    for file in renderer.files:
        if file in files or file in input_files:
            continue
        kind = next((found for d in renderer.documents(file) if (found := _about_secrets(d.content))), None)
        if kind is None:
            continue
        above = [str(parent) for parent in Path(file).parents]
        component = next((f for f in above if renderer.is_kustomized(f)), None)
        by = next((f for f in above if f in built), None)
        if by is not None:
            omitted[f"the kustomization of {by} does not list"].append(file)
        elif component is not None and renderer.is_component(component):
            omitted[f"no kustomization takes in the component {component}, which holds"].append(file)
        else:
            problem = f"holds a manifest about secrets ({kind}), but no entry of a cluster leads to it"
            fix = "name its folder under `entries` of the settings (docs/policy/running.md), or remove it"
            problems.append(Problem(file, "", problem, fix))
    return problems, [f"{reason} {_shown(found)}" for reason, found in omitted.items()]


def _shown(files: list[str]) -> str:
    return files[0] if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"


def _about_secrets(content: Mapping[str, Any]) -> str | None:
    """The kind of a manifest that can hold a claim or a value; None for others."""
    return next((kind for kind in _kinds(content)), None)


def _kinds(content: Mapping[str, Any]) -> Iterator[str]:
    api, kind = content.get("apiVersion"), content.get("kind")
    if content.get("secretGenerator"):
        yield "secretGenerator"
    if not isinstance(api, str) or not isinstance(kind, str):
        return
    if api.partition("/")[0] in _GROUPS or (api == "v1" and kind in ("Secret", "SecretList")):
        yield kind
    if api == "v1" and kind == "List":
        for entry in items(content.get("items")):
            yield from _kinds(mapping(entry))


def holds(folder: str, file: str) -> bool:
    """Whether a file lies in a folder or below it."""
    return folder == "." or file.startswith(f"{folder}/")
