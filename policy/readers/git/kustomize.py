"""Renders a folder as Flux would: with what its kustomization says, else file by file.

What kustomizations of GitOps trees use is done here, in linear time and with the line of each object: resources,
components, patches, generators, namespace, labels, name prefixes. `kubectl kustomize` is asked only for the rest
(replacements, vars, plugins). Nothing is fetched: what is remote is noted, and the rest of the build stays.
"""

from __future__ import annotations

import bisect
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from policy.inventory.resource import dig, items, mapping
from policy.readers.git.generators import generated
from policy.readers.git.manifests import SUFFIXES, Document, Files, list_files, parse, read_text
from policy.readers.git.patches import Patch, apply_all
from policy.readers.git.transform import Change, change_of, rewritten, transformed, with_content
from secret_authority.core.errors import Problem

NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
ORIGIN = "config.kubernetes.io/origin"
# Fields that ask for kustomize itself: they compute names and values from others.
_NEEDS_KUSTOMIZE = frozenset({"replacements", "vars", "transformers", "generators"})
# Kinds that apply more of the tree, carry objects, or say where a source is.
LEADING = frozenset(
    {"Kustomization", "FluxInstance", "HelmRelease", "ResourceSet", "Application", "ApplicationSet"}
    | {"GitRepository", "OCIRepository", "Bucket", "ArtifactGenerator"}
)
_TIMEOUT = 60  # seconds
# What a manifest has: an apiVersion, or at least a kind of its own.
_KIND = re.compile(r"^kind:", re.MULTILINE)


@dataclass(frozen=True)
class Build:
    """What a folder gives, and what was read for it. `remote` is what it takes in and the tree does not hold."""

    documents: tuple[Document, ...] = ()
    files: frozenset[str] = frozenset()
    folders: frozenset[str] = frozenset()
    remote: frozenset[str] = frozenset()
    problems: tuple[Problem, ...] = ()
    # Plugins that would make more, and are not run.
    plugins: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Survey:
    """The documents of a tree that say how to read it, in the order of the files."""

    # Of the kinds of `LEADING`.
    leading: tuple[Document, ...]
    catalogues: tuple[Document, ...]
    # With a field `sops`.
    encrypted: tuple[Document, ...]


class _Accumulator:
    """A build in the making."""

    def __init__(self) -> None:
        self.documents: list[Document] = []
        self.files: set[str] = set()
        self.folders: set[str] = set()
        self.remote: set[str] = set()
        self.problems: dict[Problem, None] = {}
        self.plugins: set[str] = set()

    def take(self, build: Build) -> None:
        self.documents += build.documents
        self.files |= build.files
        self.folders |= build.folders
        self.remote |= build.remote
        self.problems.update(dict.fromkeys(build.problems))
        self.plugins |= build.plugins

    def done(self) -> Build:
        return Build(
            tuple(self.documents),
            frozenset(self.files),
            frozenset(self.folders),
            frozenset(self.remote),
            tuple(self.problems),
            frozenset(self.plugins),
        )


class Renderer:
    """Renders folders of one tree. Each file is parsed once, each folder is built once."""

    def __init__(self, root: Path, files: Files | None = None) -> None:
        self.root = root.resolve()
        listed = files or list_files(self.root)
        self.files = list(listed.manifests)
        self.charts = listed.charts
        self.known = frozenset(self.files)
        # Files that cannot be parsed; they matter to the clusters that get them.
        self.broken: dict[str, list[Problem]] = {}
        self._parsed: dict[str, list[Document]] = {}
        # Files that were not parsed, as they do not look like manifests.
        self._skipped: set[str] = set()
        self._builds: dict[str, Build] = {}
        self._kustomizations = {
            (os.path.dirname(f) or "."): f  # noqa: PTH120
            for f in self.files
            if os.path.basename(f) in NAMES  # noqa: PTH119
        } | {folder: f"{folder}/Kustomization".removeprefix("./") for folder in listed.bare_kustomizations}
        self._kustomization_files = frozenset(self._kustomizations.values())
        self._by_folder: dict[str, list[str]] = {}
        for file in self.files:
            self._by_folder.setdefault(os.path.dirname(file) or ".", []).append(file)  # noqa: PTH120
        self.folders = frozenset(parent for folder in self._by_folder for parent in _parents(folder))

    def documents(self, file: str) -> list[Document]:
        """The documents of a file; what is wrong with it is in `broken`.

        A file without the text of a manifest is not parsed before something applies it.
        """
        found = self._parsed.get(file)
        if found is None:
            text, problems = read_text(self.root, file)
            if problems:
                self.broken[file] = problems
            if problems or not ("apiVersion" in text or _KIND.search(text) or file in self._kustomization_files):
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
        return folder in self._kustomizations

    def is_component(self, folder: str) -> bool:
        """A kustomize Component does nothing by itself; others take it in."""
        return self.kustomization(folder).get("kind") == "Component"

    def is_folder(self, path: str) -> bool:
        """Whether a path of the tree is a folder with anything in it that is read here."""
        return path == "." or path in self.folders or os.path.isdir(self.root / path)  # noqa: PTH112  (takes any text)

    def _exists(self, path: str) -> bool:
        return os.path.exists(self.root / path)  # noqa: PTH110  (takes any text)

    def kustomized(self) -> list[str]:
        """Folders with a kustomization, sorted."""
        return sorted(self._kustomizations)

    def below(self, folder: str) -> list[str]:
        """Files in a folder and below it."""
        if folder == ".":
            return self.files
        # "0" is the character after "/".
        return self.files[bisect.bisect_left(self.files, f"{folder}/") : bisect.bisect_left(self.files, f"{folder}0")]

    def directly_in(self, folder: str) -> list[str]:
        return self._by_folder.get(folder, [])

    def taken_in(self) -> set[str]:
        """Folders and files that some kustomization of the tree takes in as resources or components."""
        found: set[str] = set()
        for folder in self._kustomizations:
            for entry in self.entries(folder):
                target = self.inside(folder, entry)
                if target is not None and target != folder:
                    found.add(target)
        return found

    def kustomization(self, folder: str) -> Mapping[str, Any]:
        """The content of a folder's kustomization, empty when it has none."""
        file = self._kustomizations.get(folder)
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

    def render(self, folder: str, change: Change | None = None) -> Build:
        """What the API server would get from a folder."""
        base = self._build(folder, frozenset())
        if change is None or change == Change():
            return base
        found = _Accumulator()
        found.take(base)
        for component in change.components:
            target = self.inside(folder, component)
            if target is None or not self.is_folder(target):
                if is_remote(component):
                    found.remote.add(component)
                else:
                    self._problem(found, folder, f"components: {component}", "does not exist", "correct the path")
            else:
                self._component(target, found, frozenset({folder}))
                if self._computes(target, frozenset()):
                    found.plugins.add(f"what the component {target} computes is not applied to {folder}")
        found.documents = apply_all(found.documents, _patches(change.patches, lambda _: None), with_content)
        found.documents = transformed(found.documents, change)
        return found.done()

    # -- one folder ---------------------------------------------------------------------------------------

    def _build(self, folder: str, above: frozenset[str]) -> Build:
        if folder in self._builds:
            return self._builds[folder]
        found = _Accumulator()
        if folder in above:
            self._problem(found, folder, "resources", "takes itself in", "remove the entry")
            return found.done()
        if folder not in self._kustomizations:
            self._plain(folder, found, above)
        elif self._needs_kustomize(folder) and (built := self._with_kustomize(folder, found)) is not None:
            found.take(built)
        else:
            self._kustomization(folder, found, above)
        self._builds[folder] = found.done()
        return self._builds[folder]

    def _needs_kustomize(self, folder: str) -> bool:
        """Whether a kustomization computes names or values. A plugin of another program is not run here."""
        return self._computes(folder, frozenset()) and not self._plugins(folder)

    def _computes(self, folder: str, above: frozenset[str]) -> bool:
        """Whether a kustomization, or a component that works on the same objects, computes names or values."""
        content = self.kustomization(folder)
        if any(content.get(field) for field in _NEEDS_KUSTOMIZE):
            return True
        components = (self.inside(folder, e) for e in items(content.get("components")) if isinstance(e, str))
        return any(c is not None and c not in above and self._computes(c, above | {folder}) for c in components)

    def _plugins(self, folder: str) -> list[tuple[str, Mapping[str, Any]]]:
        """(file, content) of the plugins of a kustomization that kustomize itself does not have."""
        content = self.kustomization(folder)
        found: list[tuple[str, Mapping[str, Any]]] = []
        for entry in [*items(content.get("generators")), *items(content.get("transformers"))]:
            target = self.inside(folder, entry) if isinstance(entry, str) and "\n" not in entry else None
            if target is None or target not in self.known:
                continue
            for document in self.documents(target):
                helm = document.content.get("kind") == "HelmChartInflationGenerator"
                if helm or str(document.content.get("apiVersion")) != "builtin":
                    found.append((target, document.content))
        return found

    def _plug(self, folder: str, found: _Accumulator) -> None:
        """Files that ksops would decrypt are resources; of other plugins only that they are there is known."""
        for file, content in self._plugins(folder):
            found.files.add(file)
            if content.get("kind") == "HelmChartInflationGenerator":
                found.remote.add(f"chart {content.get('name') or content.get('chartName')}")
                continue
            if content.get("kind") != "ksops":
                found.plugins.add(f"the kustomize plugin {content.get('kind')} of {file} is not run")
                continue
            for entry in items(content.get("files")):
                if isinstance(entry, str):
                    self._resource(os.path.dirname(file) or ".", entry, found, frozenset())  # noqa: PTH120

    def _plain(self, folder: str, found: _Accumulator, above: frozenset[str]) -> None:
        """A folder without a kustomization: Flux takes all manifests below it; kustomized subfolders as a whole."""
        found.folders.add(folder)
        done: set[str] = set()
        for file in self.below(folder):
            parent = self.top(file, folder)
            if parent is None:
                found.files.add(file)
                found.documents += self.applied(file)
            elif parent not in done and not self.is_component(parent):
                done.add(parent)
                found.take(self._build(parent, above | {folder}))

    def _kustomization(self, folder: str, found: _Accumulator, above: frozenset[str]) -> None:
        """Adds what the kustomization of a folder takes in and makes, and changes all that is there by then."""
        content = self.kustomization(folder)
        found.folders.add(folder)
        found.files.add(self._kustomizations[folder])
        if content.get("helmCharts") or content.get("helmChartInflationGenerator"):
            charts = [*items(content.get("helmCharts")), *items(content.get("helmChartInflationGenerator"))]
            found.remote |= {f"chart {dig(chart, 'name') or dig(chart, 'chartName')}" for chart in charts}
        for entry in [*items(content.get("resources")), *items(content.get("bases"))]:
            if isinstance(entry, str):
                self._resource(folder, entry, found, above)
        self._plug(folder, found)
        self._generate(folder, content, found)
        for entry in items(content.get("components")):
            target = self.inside(folder, entry) if isinstance(entry, str) else None
            if target is not None and target in self._kustomizations:
                self._component(target, found, above | {folder})
            elif isinstance(entry, str) and is_remote(entry):
                found.remote.add(entry)
            else:
                self._problem(found, folder, f"components: {entry}", "does not exist", "correct the path")
        patches = _patches(
            [
                *({"patch": p} for p in items(content.get("patchesStrategicMerge"))),
                *items(content.get("patchesJson6902")),
                *items(content.get("patches")),
            ],
            lambda path: self._patch_file(folder, path, found),
        )
        found.documents = apply_all(found.documents, patches, with_content)
        found.documents = transformed(found.documents, change_of(content))

    def _resource(self, folder: str, entry: str, found: _Accumulator, above: frozenset[str]) -> None:
        if is_remote(entry):
            found.remote.add(entry)
            return
        target = self.inside(folder, entry)
        if target is not None and target in self._kustomizations:
            found.take(self._build(target, above | {folder}))
        elif target is None or not self._exists(target):
            self._problem(found, folder, f"resources: {entry}", "does not exist", "correct the path")
        elif target not in self.known and self.is_folder(target):
            self._problem(found, folder, f"resources: {entry}", "holds no kustomization.yaml", "add one")
        else:
            found.files.add(target)
            found.documents += self.applied(target)

    def _component(self, folder: str, found: _Accumulator, above: frozenset[str]) -> None:
        if folder in above:
            self._problem(found, folder, "components", "takes itself in", "remove the entry")
        elif folder in self._kustomizations:
            self._kustomization(folder, found, above)
        else:
            self._plain(folder, found, above)

    def _generate(self, folder: str, content: Mapping[str, Any], found: _Accumulator) -> None:
        names: dict[str, str] = {}
        for behavior, base, made in generated(content, lambda path: self._bytes(folder, path, found)):
            name = str(dig(made, "metadata", "name"))
            if made["kind"] == "Secret" and name != base:
                names[base] = name
            file = self._kustomizations[folder]
            document = Document(file, self._line_of(file, base), made)
            if behavior not in ("merge", "replace"):
                found.documents.append(document)
                continue
            for index, other in enumerate(found.documents):
                if _same_object(other.content, made):
                    before = mapping(other.content.get("data")) if behavior == "merge" else {}
                    merged = {**other.content, "data": {**before, **mapping(made.get("data"))}}
                    found.documents[index] = replace(other, content=merged)
        if names:
            found.documents = [
                with_content(d, rewritten(d.content, names)) if "spec" in d.content else d for d in found.documents
            ]

    def _bytes(self, folder: str, path: str, found: _Accumulator) -> bytes | None:
        if is_remote(path):
            found.remote.add(path)
            return b""
        target = self.inside(folder, path)
        try:
            content = (self.root / target).read_bytes() if target is not None else None
        except (OSError, ValueError):
            content = None
        if content is None:
            self._problem(found, folder, path, "does not exist", "correct the path")
        return content

    def _line_of(self, file: str, name: str) -> int:
        text, _ = read_text(self.root, file)
        for number, line in enumerate(text.splitlines(), 1):
            if "name:" in line and name in re.split(r"[\s'\",{}]+", line.partition("name:")[2]):
                return number
        return 1

    def _patch_file(self, folder: str, path: str, found: _Accumulator) -> str | None:
        target = self.inside(folder, path)
        if target is None:
            return None
        text, problems = read_text(self.root, target)
        if problems:
            self._problem(found, folder, f"patches: {path}", "does not exist", "correct the path")
            return None
        found.files.add(target)
        return text

    def _problem(self, found: _Accumulator, folder: str, where: str, message: str, fix: str) -> None:
        found.problems[Problem(self._kustomizations.get(folder, folder), where, message, fix)] = None

    def top(self, file: str, folder: str) -> str | None:
        """The uppermost kustomized folder between a folder and a file below it."""
        return next(
            (parent for parent in _parents(file) if parent in self._kustomizations and _below(parent, folder)), None
        )

    # -- kustomize itself ---------------------------------------------------------------------------------

    def _with_kustomize(self, folder: str, found: _Accumulator) -> Build | None:
        """What `kubectl kustomize` makes of a folder; None when it fails, then it is read as far as it can be."""
        closure = _Accumulator()
        self._closure(folder, closure)
        program = shutil.which("kubectl") or shutil.which("kustomize")
        if program is None:
            self._problem(found, folder, "", "needs kustomize to be rendered", "install kubectl")
            return None
        with tempfile.TemporaryDirectory() as scratch:
            here = Path(scratch).resolve()
            base = self._without_remote(here / "tree", closure) if closure.remote else self.root
            into = os.path.relpath(base / folder, here)
            wrapper: dict[str, Any] = {"buildMetadata": ["originAnnotations"], "resources": [into]}
            (here / "kustomization.yaml").write_text(yaml.safe_dump(wrapper))
            verb = ["kustomize"] if program.endswith("kubectl") else ["build"]
            command = [program, *verb, str(here), "--load-restrictor", "LoadRestrictionsNone"]
            try:
                done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._problem(found, folder, "", f"takes kustomize more than {_TIMEOUT} seconds", "split the folder")
                return None
            if done.returncode:
                # kustomize may quote the manifest, which may be a secret: its words are not repeated.
                self._problem(found, folder, "", "cannot be built", f"run `kubectl kustomize {folder}` to see why")
                return None
            documents, _ = parse(done.stdout, folder)
            closure.documents = [self._with_origin(d, here, base) for d in documents if d.is_manifest]
            return closure.done()

    def _closure(self, folder: str, found: _Accumulator) -> None:
        """The folders, files and remote entries that a build takes in."""
        if folder in found.folders or folder not in self._kustomizations:
            return
        found.folders.add(folder)
        found.files.add(self._kustomizations[folder])
        content = self.kustomization(folder)
        if content.get("helmCharts") or content.get("helmChartInflationGenerator"):
            found.remote.add(f"charts of {folder}")
        for entry in self.entries(folder):
            target = self.inside(folder, entry)
            if is_remote(entry):
                found.remote.add(entry)
            elif target in self._kustomizations:
                self._closure(str(target), found)
            elif target in self.known:
                found.files.add(str(target))

    def _without_remote(self, into: Path, closure: _Accumulator) -> Path:
        """A copy of the folders of a build, by links, whose kustomizations leave out what is remote."""
        parents = {parent for folder in closure.folders for parent in _parents(folder)}
        for folder in sorted(parents):
            (into / folder).mkdir(parents=True, exist_ok=True)
            for entry in (self.root / folder).iterdir():
                path = f"{folder}/{entry.name}".removeprefix("./")
                own = folder in closure.folders and entry.name in NAMES
                if path not in parents and not own:
                    (into / path).symlink_to(entry)
        for folder in sorted(closure.folders):
            content = {**self.kustomization(folder)}
            for name in ("resources", "bases", "components"):
                if items(content.get(name)):
                    content[name] = [e for e in items(content[name]) if not (isinstance(e, str) and is_remote(e))]
            for name in ("helmCharts", "helmChartInflationGenerator", "helmGlobals"):
                content.pop(name, None)
            (into / folder / "kustomization.yaml").write_text(yaml.safe_dump(content))
        return into

    def _with_origin(self, document: Document, here: Path, base: Path) -> Document:
        """The document with the file that it came from, and without kustomize's mark."""
        content = dict(document.content)
        metadata = dict(mapping(content.get("metadata")))
        annotations = dict(mapping(metadata.get("annotations")))
        origin = dig(parse(str(annotations.pop(ORIGIN, "")), "origin")[0], 0)
        metadata["annotations"] = annotations
        content["metadata"] = metadata
        found = mapping(getattr(origin, "content", None))
        path = found.get("path") or found.get("configuredIn")
        if not isinstance(path, str):
            return Document(document.file, 1, content)
        file = os.path.relpath(os.path.normpath(here / path), base)
        return Document(file, self._line(file, content), content)

    def _line(self, file: str, content: Mapping[str, Any]) -> int:
        """The line of the object of a file that a rendered one was: of its name, else of the longest name in it."""
        name = str(dig(content, "metadata", "name") or "")
        known = self.documents(file) if file.endswith(SUFFIXES) and file in self.known else []
        same = [d for d in known if d.content.get("kind") == content.get("kind")]
        names = {str(dig(d.content, "metadata", "name") or ""): d.line for d in reversed(same)}
        if name in names:
            return names[name]
        inside = max((own for own in names if own and own in name), key=len, default=None)
        return names[inside] if inside else 1


def patched(document: Document, patches: Iterable[Any]) -> Document:
    """A document after patches as Flux and kustomize write them inline."""
    found = apply_all([document], _patches(patches, lambda _: None), with_content)
    return found[0] if found else document


def _patches(given: Iterable[Any], read: Any) -> list[Patch]:
    """Patches with their content; `read` gives the text of a patch file."""
    found: list[Patch] = []
    for entry in given:
        target = dig(entry, "target")
        inline, path = dig(entry, "patch"), dig(entry, "path")
        text = inline if isinstance(inline, str) else None
        if text is not None and "\n" not in text and text.endswith(SUFFIXES):
            # patchesStrategicMerge lists files, or patches as they are.
            text, path = None, text
        if text is None and isinstance(path, str):
            text = read(path)
        if text is None:
            continue
        try:
            contents = list(yaml.load_all(text, Loader=_CLOADER))
        except (yaml.YAMLError, RecursionError):
            continue
        found += [Patch(c, target if isinstance(target, Mapping) else None) for c in contents if c]
    return [patch for patch in found if patch.target is not None or isinstance(patch.content, Mapping)]


_CLOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _same_object(one: Mapping[str, Any], made: Mapping[str, Any]) -> bool:
    own, other = str(dig(one, "metadata", "name")), str(dig(made, "metadata", "name"))
    return one.get("kind") == made.get("kind") and (own == other or own == other.rpartition("-")[0])


def _parents(path: str) -> list[str]:
    """The folders above a path, and the path itself, uppermost first, without the root where it is below one."""
    parts = path.split("/")
    return [".", *("/".join(parts[: end + 1]) for end in range(len(parts)))]


def _below(folder: str, parent: str) -> bool:
    return parent == "." or folder == parent or folder.startswith(f"{parent}/")


def is_remote(entry: str) -> bool:
    """Whether kustomize would fetch an entry."""
    return "://" in entry or entry.startswith(("git@", "github.com/", "gitlab.com/")) or "?ref=" in entry
