"""Renders a folder as Flux would: with kustomize where a kustomization asks for it, else file by file.

`kubectl kustomize` does the rendering, because names and references that it rewrites must be the real ones. Its
time grows with the square of the number of objects, so folders whose kustomization only lists resources and
sets a namespace are read directly. Nothing is fetched: a remote base is reported.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from policy.inventory.resource import dig, items, mapping
from policy.readers.git.manifests import SUFFIXES, Document, parse, read_file
from secret_authority.core.errors import Problem

NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
ORIGIN = "config.kubernetes.io/origin"
_SIMPLE = frozenset({"apiVersion", "kind", "metadata", "resources", "bases", "namespace"})
CLUSTER_SCOPED = frozenset(
    {"Namespace", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "PersistentVolume", "StorageClass"}
)
_TIMEOUT = 120  # seconds


@dataclass(frozen=True)
class Change:
    """What a Flux Kustomization adds to a build."""

    namespace: str | None = None
    prefix: str = ""
    suffix: str = ""
    patches: tuple[Any, ...] = ()
    components: tuple[str, ...] = ()
    labels: Mapping[str, Any] = field(default_factory=dict)
    annotations: Mapping[str, Any] = field(default_factory=dict)

    @property
    def needs_kustomize(self) -> bool:
        return bool(self.prefix or self.suffix or self.patches or self.components)


class Renderer:
    """Renders folders of one tree. `files` are its YAML files; each is parsed once."""

    def __init__(self, root: Path, files: Iterable[str]) -> None:
        self.root = root.resolve()
        self.files = list(files)
        self.known = frozenset(self.files)
        self.problems: list[Problem] = []
        # Files that cannot be parsed; they matter to the clusters that get them.
        self.broken: dict[str, list[Problem]] = {}
        self._parsed: dict[str, list[Document]] = {}
        self._folders = {str(Path(f).parent) for f in self.files} | {"."}
        self._kustomized = {str(Path(f).parent) for f in self.files if Path(f).name in NAMES} | {
            folder for folder in self._folders if (self.root / folder / "Kustomization").is_file()
        }

    def documents(self, file: str) -> list[Document]:
        """The documents of a file; what is wrong with it is kept in `broken`."""
        if file not in self._parsed:
            documents, problems = read_file(self.root, file)
            self._parsed[file] = documents
            if problems:
                self.broken[file] = problems
        return self._parsed[file]

    def is_kustomized(self, folder: str) -> bool:
        return folder in self._kustomized

    def is_component(self, folder: str) -> bool:
        """A kustomize Component does nothing by itself; others take it in."""
        return self.kustomization(folder).get("kind") == "Component"

    def kustomized(self) -> set[str]:
        return set(self._kustomized)

    def referenced(self) -> tuple[set[str], set[str]]:
        """Folders and files that some kustomization of the tree takes in."""
        folders: set[str] = set()
        files: set[str] = set()
        for folder in self._kustomized:
            for entry in self.entries(folder):
                target = self.inside(folder, entry)
                if target is None:
                    continue
                (folders if (self.root / target).is_dir() else files).add(target)
        return folders, files

    def render(self, folder: str, change: Change | None = None) -> list[Document]:
        """What the API server would get from a folder."""
        change = change or Change()
        try:
            if change.needs_kustomize:
                raise _NotSimple
            found = self._simple(folder)
        except _NotSimple:
            found = self._with_kustomize(folder, change)
        return [_changed(document, change) for document in found]

    def _simple(self, folder: str) -> list[Document]:
        if folder not in self._kustomized:
            return self._plain(folder)
        content = self.kustomization(folder)
        if set(content) - _SIMPLE or any(_is_remote(entry) for entry in self.entries(folder)):
            raise _NotSimple
        found: list[Document] = []
        for entry in self.entries(folder):
            target = self.inside(folder, entry)
            if target is None or not (self.root / target).exists():
                self._problem(folder, f"resources: {entry}", "does not exist", "correct the path")
            elif (self.root / target).is_dir():
                if target not in self._kustomized:
                    self._problem(folder, f"resources: {entry}", "holds no kustomization.yaml", "add one")
                    continue
                found += self._simple(target)
            else:
                found += [document for document in self.documents(target) if document.is_manifest]
        namespace = content.get("namespace")
        change = Change(namespace=namespace if isinstance(namespace, str) else None)
        return [_changed(document, change) for document in found]

    def _plain(self, folder: str) -> list[Document]:
        """A folder without a kustomization: Flux takes all manifests below it; kustomized subfolders as a whole."""
        found: list[Document] = []
        prefix = "" if folder == "." else f"{folder}/"
        done: set[str] = set()
        for file in self.files:
            if not file.startswith(prefix):
                continue
            parent = self.top(file, folder)
            if parent is None:
                found += [document for document in self.documents(file) if document.is_manifest]
            elif parent not in done and not self.is_component(parent):
                done.add(parent)
                try:
                    found += self._simple(parent)
                except _NotSimple:
                    found += self._with_kustomize(parent, Change())
        return found

    def kustomization(self, folder: str) -> Mapping[str, Any]:
        """The content of a folder's kustomization, empty when it has none."""
        for name in NAMES:
            file = name if folder == "." else f"{folder}/{name}"
            if (self.root / file).is_file():
                documents = self.documents(file)
                return documents[0].content if documents else {}
        return {}

    def entries(self, folder: str) -> list[str]:
        """What a folder's kustomization takes in, as it is written there."""
        content = self.kustomization(folder)
        listed = [*items(content.get("resources")), *items(content.get("bases")), *items(content.get("components"))]
        return [entry for entry in listed if isinstance(entry, str)]

    def inside(self, folder: str, entry: str) -> str | None:
        """The entry relative to the root; None when it leads out of the tree or is remote."""
        if _is_remote(entry):
            return None
        target = os.path.normpath(os.path.join(folder, entry))  # noqa: PTH118  (lexical, as kustomize does)
        return None if target.startswith("..") else target

    def _problem(self, folder: str, where: str, message: str, fix: str) -> None:
        file = next((f"{folder}/{n}" for n in NAMES if (self.root / folder / n).is_file()), folder)
        self.problems.append(Problem(file.removeprefix("./"), where, message, fix))

    def _with_kustomize(self, folder: str, change: Change) -> list[Document]:
        parts = [folder] if self.is_kustomized(folder) else self._below(folder)
        buildable = [part for part in parts if self._can_build(part)]
        if not buildable:
            return []
        program = shutil.which("kubectl") or shutil.which("kustomize")
        if program is None:
            self._problem(folder, "", "needs kustomize to be rendered", "install kubectl")
            return []
        with tempfile.TemporaryDirectory() as scratch:
            here = Path(scratch).resolve()
            into = os.path.relpath(self.root / folder, here)
            wrapper: dict[str, Any] = {
                "buildMetadata": ["originAnnotations"],
                "resources": [os.path.relpath(self.root / part, here) for part in buildable],
                "namePrefix": change.prefix,
                "nameSuffix": change.suffix,
                "patches": list(change.patches),
                "components": [f"{into}/{component}" for component in change.components],
            }
            (here / "kustomization.yaml").write_text(yaml.safe_dump({k: v for k, v in wrapper.items() if v}))
            verb = ["kustomize"] if program.endswith("kubectl") else ["build"]
            command = [program, *verb, str(here), "--load-restrictor", "LoadRestrictionsNone"]
            try:
                done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._problem(folder, "", f"takes kustomize more than {_TIMEOUT} seconds", "split the folder")
                return []
            if done.returncode:
                # kustomize may quote the manifest, which may be a secret: its words are not repeated.
                self._problem(folder, "", "cannot be built", f"run `kubectl kustomize {folder}` to see why")
                return []
            documents, _ = parse(done.stdout, folder)
            return [self._with_origin(document, here) for document in documents if document.is_manifest]

    def _below(self, folder: str) -> list[str]:
        """What Flux would list for a folder without a kustomization: kustomized subfolders, and other manifests."""
        prefix = "" if folder == "." else f"{folder}/"
        found: dict[str, None] = {}
        for file in self.files:
            if not file.startswith(prefix):
                continue
            top = self.top(file, folder)
            if top is not None:
                if not self.is_component(top):
                    found[top] = None
            elif any(document.is_manifest for document in self.documents(file)):
                found[file] = None
        return list(found)

    def top(self, file: str, folder: str) -> str | None:
        """The uppermost kustomized folder between a folder and a file below it."""
        for parent in reversed(Path(file).parents):
            if str(parent) in self._kustomized and _below(str(parent), folder):
                return str(parent)
        return None

    def _can_build(self, folder: str, seen: frozenset[str] = frozenset()) -> bool:
        """Whether a build needs nothing from outside of the tree."""
        if folder in seen or folder not in self._kustomized:
            return True
        content = self.kustomization(folder)
        if content.get("helmCharts") or content.get("helmChartInflationGenerator"):
            self._problem(folder, "helmCharts", "is rendered by helm, which is not run here", "vendor the manifests")
            return False
        for entry in self.entries(folder):
            if _is_remote(entry):
                self._problem(folder, f"resources: {entry}", "is remote and is not fetched", "vendor it into the tree")
                return False
            target = self.inside(folder, entry)
            if target and (self.root / target).is_dir() and not self._can_build(target, seen | {folder}):
                return False
        return True

    def _with_origin(self, document: Document, here: Path) -> Document:
        """The document with the file that it came from, and without kustomize's mark."""
        content = dict(document.content)
        metadata = dict(mapping(content.get("metadata")))
        annotations = dict(mapping(metadata.get("annotations")))
        origin = yaml.safe_load(annotations.pop(ORIGIN, "") or "{}")
        metadata["annotations"] = annotations
        content["metadata"] = metadata
        path = dig(origin, "path") or dig(origin, "configuredIn")
        if not isinstance(path, str):
            return Document(document.file, 1, content)
        file = os.path.relpath(os.path.normpath(here / path), self.root)
        return Document(file, self._line(file, content), content)

    def _line(self, file: str, content: Mapping[str, Any]) -> int:
        name = str(dig(content, "metadata", "name") or "")
        for candidate in self.documents(file) if file.endswith(SUFFIXES) and (self.root / file).is_file() else ():
            own = str(dig(candidate.content, "metadata", "name") or "")
            if candidate.content.get("kind") == content.get("kind") and own and own in name:
                return candidate.line
        return 1


class _NotSimple(Exception):
    """The folder needs kustomize."""


def _below(folder: str, parent: str) -> bool:
    return parent == "." or folder == parent or folder.startswith(f"{parent}/")


def _is_remote(entry: str) -> bool:
    return "://" in entry or entry.startswith(("git@", "github.com/", "gitlab.com/")) or "?ref=" in entry


def _changed(document: Document, change: Change) -> Document:
    if not (change.namespace or change.labels or change.annotations):
        return document
    content = dict(document.content)
    metadata = dict(mapping(content.get("metadata")))
    if change.namespace and content.get("kind") not in CLUSTER_SCOPED:
        metadata["namespace"] = change.namespace
    for name, more in (("labels", change.labels), ("annotations", change.annotations)):
        if more:
            metadata[name] = {**mapping(metadata.get(name)), **more}
    content["metadata"] = metadata
    return Document(document.file, document.line, content)
