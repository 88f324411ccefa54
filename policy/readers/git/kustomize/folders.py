"""The folders and files of a tree, with their kustomizations: what is there, before anything is rendered."""

from __future__ import annotations

import bisect
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from policy.inventory.resource import dig, items
from policy.readers.git.files.checkout import is_among
from policy.readers.git.files.manifests import SUFFIXES, Document, Files, list_files, parse, read_text
from policy.readers.git.kustomize.build import Building
from secret_authority.core.errors import Problem

NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
# Kinds that apply more of the tree, carry objects, or say where a source is.
LEADING = frozenset(
    {"Kustomization", "FluxInstance", "HelmRelease", "ResourceSet", "Application", "ApplicationSet"}
    | {"ResourceSetInputProvider"}
    | {"GitRepository", "OCIRepository", "Bucket", "ArtifactGenerator"}
)
# What a manifest has: an apiVersion, or at least a kind of its own.
_KIND = re.compile(r"^kind:", re.MULTILINE)


@dataclass(frozen=True)
class Survey:
    """The documents of a tree that say how to read it, in the order of the files."""

    # Of the kinds of `LEADING`.
    leading: tuple[Document, ...]
    catalogues: tuple[Document, ...]
    # With a field `sops`.
    encrypted: tuple[Document, ...]


class Folders:
    """The folders of one tree. Each file is parsed once."""

    def __init__(self, root: Path, files: Files | None = None, ignored: frozenset[str] = frozenset()) -> None:
        self.root = root.resolve()
        # What Git ignores: it may be on the disk, and is not of the tree.
        self._ignored = ignored
        listed = files or list_files(self.root)
        self.files = list(listed.manifests)
        self.charts = listed.charts
        self.known = frozenset(self.files)
        # Files that cannot be parsed; they matter to the clusters that get them.
        self.broken: dict[str, list[Problem]] = {}
        self._parsed: dict[str, list[Document]] = {}
        # Files that were not parsed, as they do not look like manifests.
        self._skipped: set[str] = set()
        # By folder.
        self.kustomization_files = {
            (os.path.dirname(f) or "."): f  # noqa: PTH120
            for f in self.files
            if os.path.basename(f) in NAMES  # noqa: PTH119
        } | {folder: f"{folder}/Kustomization".removeprefix("./") for folder in listed.bare_kustomizations}
        self._are_kustomizations = frozenset(self.kustomization_files.values())
        self._by_folder: dict[str, list[str]] = {}
        for file in self.files:
            self._by_folder.setdefault(os.path.dirname(file) or ".", []).append(file)  # noqa: PTH120
        self.folders = frozenset(parent for folder in self._by_folder for parent in parents_of(folder))

    def documents(self, file: str) -> list[Document]:
        """The documents of a file; what is wrong with it is in `broken`.

        A file without the text of a manifest is not parsed before something applies it.
        """
        found = self._parsed.get(file)
        if found is None:
            text, problems = read_text(self.root, file)
            if problems:
                self.broken[file] = problems
            if problems or not ("apiVersion" in text or _KIND.search(text) or file in self._are_kustomizations):
                self._skipped.add(file)
                found = []
            else:
                found = self._parse(file, text)
            self._parsed[file] = found
        return found

    def _parse(self, file: str, text: str) -> list[Document]:
        found, problems = parse(text, file)
        if problems:
            self.broken[file] = problems
        return found

    def applied(self, file: str) -> list[Document]:
        """The manifests of a file that something applies; then it is an error when it cannot be parsed."""
        found = self.documents(file)
        if file in self._skipped:
            self._skipped.discard(file)
            if file not in self.broken:
                self._parse(file, read_text(self.root, file)[0])
        return [document for document in found if document.is_manifest]

    @cached_property
    def survey(self) -> Survey:
        """What leads through the tree, found in one pass over all files."""
        leading: list[Document] = []
        catalogues: list[Document] = []
        encrypted: list[Document] = []
        for file in self.files:
            for document in self.documents(file):
                content = document.content
                kind = content.get("kind")
                if isinstance(kind, str):
                    if kind in LEADING:
                        leading.append(document)
                    elif kind == "SecretCatalogue":
                        catalogues.append(document)
                if "sops" in content:
                    encrypted.append(document)
        return Survey(tuple(leading), tuple(catalogues), tuple(encrypted))

    def is_kustomized(self, folder: str) -> bool:
        return folder in self.kustomization_files

    def is_component(self, folder: str) -> bool:
        """A kustomize Component does nothing by itself; others take it in."""
        return self.kustomization(folder).get("kind") == "Component"

    def is_folder(self, path: str) -> bool:
        """Whether a path of the tree is a folder with anything in it that is read here."""
        if path == "." or path in self.folders:
            return True
        return os.path.isdir(self.root / path) and not is_among(path, self._ignored)  # noqa: PTH112  (takes any text)

    def exists(self, path: str) -> bool:
        return os.path.exists(self.root / path) and not is_among(path, self._ignored)  # noqa: PTH110  (takes any text)

    def kustomized(self) -> list[str]:
        """Folders with a kustomization, sorted."""
        return sorted(self.kustomization_files)

    def below(self, folder: str) -> list[str]:
        """Files in a folder and below it."""
        if folder == ".":
            return self.files
        # "0" is the character after "/".
        return self.files[bisect.bisect_left(self.files, f"{folder}/") : bisect.bisect_left(self.files, f"{folder}0")]

    def directly_in(self, folder: str) -> list[str]:
        return self._by_folder.get(folder, [])

    def is_beside_a_chart(self, file: str) -> bool:
        """Whether a file is in the folder of a chart, and no template of it. A chart at the top is the whole tree."""
        folder = file.rpartition("/")[0]
        while folder:
            if folder in self.charts:
                return True
            folder = folder.rpartition("/")[0]
        return False

    def taken_in(self) -> set[str]:
        """Folders and files that some kustomization of the tree takes in as resources or components."""
        found: set[str] = set()
        for folder in self.kustomization_files:
            for entry in self.entries(folder):
                target = self.inside(folder, entry)
                if target is not None and target != folder:
                    found.add(target)
        return found

    def patch_files(self) -> set[str]:
        """Files that kustomizations read as patches, and none as a resource: what is in them is no object."""
        patches: set[str] = set()
        resources: set[str] = set()
        for folder in self.kustomized():
            content = self.kustomization(folder)
            named = [
                dig(entry, "path") for field in ("patches", "patchesJson6902") for entry in items(content.get(field))
            ]
            named += items(content.get("patchesStrategicMerge"))
            patches |= {f for n in named if isinstance(n, str) and "\n" not in n and (f := self.inside(folder, n))}
            resources |= {f for entry in self.entries(folder) if (f := self.inside(folder, entry))}
        return patches - resources

    def kustomization(self, folder: str) -> Mapping[str, Any]:
        """The content of a folder's kustomization, empty when it has none."""
        file = self.kustomization_files.get(folder)
        documents = self.documents(file) if file else []
        return documents[0].content if documents else {}

    def entries(self, folder: str) -> list[str]:
        """What a folder's kustomization takes in, as it is written there."""
        content = self.kustomization(folder)
        listed = [*items(content.get("resources")), *items(content.get("bases")), *items(content.get("components"))]
        return [entry for entry in listed if isinstance(entry, str)]

    def inside(self, folder: str, entry: str) -> str | None:
        """The entry relative to the root; None when it leads out of the tree or is remote."""
        if is_remote(entry):
            return None
        target = os.path.normpath(os.path.join(folder, entry))  # noqa: PTH118  (lexical, as kustomize does)
        return None if target.startswith("..") else target

    def top(self, file: str, folder: str) -> str | None:
        """The uppermost kustomized folder between a folder and a file below it."""
        return next(
            (parent for parent in parents_of(file) if parent in self.kustomization_files and is_below(parent, folder)),
            None,
        )

    def problem(self, found: Building, folder: str, where: str, message: str, fix: str) -> None:
        found.problems[Problem(self.kustomization_files.get(folder, folder), where, message, fix)] = None

    def line(self, file: str, content: Mapping[str, Any]) -> int:
        """The line of the object of a file that a rendered one was: of its name, else of the longest name in it."""
        name = str(dig(content, "metadata", "name") or "")
        known = self.documents(file) if file.endswith(SUFFIXES) and file in self.known else []
        same = [d for d in known if d.content.get("kind") == content.get("kind")]
        names = {str(dig(d.content, "metadata", "name") or ""): d.line for d in reversed(same)}
        if name in names:
            return names[name]
        inside = max((own for own in names if own and own in name), key=len, default=None)
        return names[inside] if inside else 1


def parents_of(path: str) -> list[str]:
    """The folders above a path, and the path itself, uppermost first, without the root where it is below one."""
    parts = path.split("/")
    return [".", *("/".join(parts[: end + 1]) for end in range(len(parts)))]


def is_below(folder: str, parent: str) -> bool:
    return parent == "." or folder == parent or folder.startswith(f"{parent}/")


def holds(folder: str, file: str) -> bool:
    """Whether a file is in a folder or below it."""
    return folder == "." or file.startswith(f"{folder}/")


def is_remote(entry: str) -> bool:
    """Whether kustomize would fetch an entry."""
    return "://" in entry or entry.startswith(("git@", "github.com/", "gitlab.com/")) or "?ref=" in entry
