"""A folder of encrypted Secrets, read as Flux will apply it: which documents, under which names and namespaces.

What Flux leaves out, refuses or applies in a way that is not read here is a problem, so that every Secret that is
found is one that Flux applies. Upstream: fluxcd/pkg/kustomize 1.35 `scanManifests`, fluxcd/pkg/sourceignore 0.18,
kustomize 5.7 `kustomization.yaml`.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from secret_authority.core.errors import InvalidInputError, Problem
from secret_authority.repository.files.lfs import LFS_FIX, LFS_POINTER, is_lfs_pointer
from secret_authority.repository.files.yaml_documents import has_link, read_documents, read_sources

KUSTOMIZATION_FILES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
APPLIED = (".yaml", ".yml")
# sourceignore.ExcludeVCS, ExcludeExt, ExcludeCI, ExcludeExtra.
_LEFT_OUT = [
    ".git/",
    ".gitignore",
    ".gitmodules",
    ".gitattributes",
    "*.jpg",
    "*.jpeg",
    "*.gif",
    "*.png",
    "*.wmv",
    "*.flv",
    "*.tar.gz",
    "*.zip",
    ".github/",
    ".circleci/",
    ".travis.yml",
    ".gitlab-ci.yml",
    "appveyor.yml",
    ".drone.yml",
    "cloudbuild.yaml",
    "codeship-services.yml",
    "codeship-steps.yml",
    "**/.goreleaser.yml",
    "**/.sops.yaml",
    "**/.flux.yaml",
]
# Left out by Flux, and of use to sops.
SOPS_CONFIG = ".sops.yaml"
_FIELDS = frozenset({"apiVersion", "kind", "metadata", "resources", "namespace", "namePrefix", "nameSuffix"}) | {
    "secretGenerator",
    "generatorOptions",
}


@dataclass(frozen=True)
class Manifest:
    """One document of a file. `namespace` and `name` are those under which Flux applies it, None when it has none."""

    path: Path
    file: str
    index: int
    value: Mapping[str, Any]
    namespace: object
    name: object


@dataclass(frozen=True)
class Source:
    """A file that a secretGenerator reads, by its name there; `key` is empty for an env file."""

    path: Path
    shown: str
    name: str
    key: str
    where: str


@dataclass(frozen=True)
class Generator:
    """One entry of a secretGenerator: its options, its files, and the name that the Secret gets without a hash."""

    file: str
    where: str
    entry: Mapping[str, Any]
    options: Mapping[str, Any]
    sources: tuple[Source, ...]
    namespace: object
    name: object


@dataclass
class FolderReading:
    """What a folder holds. Problems of one file leave the manifests of the others."""

    manifests: list[Manifest] = field(default_factory=list)
    generators: list[Generator] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class _Names:
    namespace: str | None = None
    prefix: str = ""
    suffix: str = ""

    def of(self, document: Mapping[str, Any]) -> tuple[object, object]:
        metadata = document.get("metadata")
        found = metadata if isinstance(metadata, Mapping) else {}
        name = found.get("name")
        return self.namespace or found.get("namespace"), (
            f"{self.prefix}{name}{self.suffix}" if isinstance(name, str) else name
        )


def read_folder(root: Path, folder: str, fetched: bool = False) -> FolderReading:
    """Read `folder` of the repository `root`.

    `fetched`: `root` is what Flux's source has fetched, so that nothing in it was left out by an ignore file.
    """
    reader = _Reader(root, FolderReading())
    home = root / folder
    if not home.is_dir():
        reader.add(folder, "", "is not a directory of the repository", "correct bootstrapPaths")
    elif has_link(root, home):
        reader.add(folder, "", "is reached through a symbolic link, which Flux leaves out", "use the real path")
    else:
        left_out = set() if fetched else _left_out(root, folder)
        ignored = set() if fetched else _ignored(root, folder)
        for above in home.parents:
            if above != root and above.is_relative_to(root) and (above / ".git").exists():
                reader.submodule(above / ".git")
        reader.read(home, left_out, ignored)
    return reader.found


class _Reader:
    def __init__(self, root: Path, found: FolderReading) -> None:
        self._root, self.found = root, found
        self._reached: set[Path] = set()

    def add(self, file: str, where: str, message: str, fix: str) -> None:
        self.found.problems.append(Problem(file, where, message, fix))

    def submodule(self, mark: Path) -> None:
        what = "makes its folder a repository of its own, which Flux does not fetch"
        self.add(self._shown(mark), "", what, "remove it")

    def read(self, home: Path, left_out: set[str], ignored: set[str]) -> None:
        self._directory(home, _Names(), home)
        for path in sorted(home.rglob("*")):
            shown = self._shown(path)
            if path.is_symlink():
                if path.suffix.lower() in (*APPLIED, ".json") or path.is_dir():
                    self.add(shown, "", "is a symbolic link, which Flux leaves out", "put the file itself here")
            elif path.name == ".git":
                self.submodule(path)
            elif not path.is_file() or path.name == SOPS_CONFIG or ".git" in path.relative_to(home).parts:
                continue
            elif path in self._reached:
                if shown in left_out:
                    self.add(shown, "", "is left out by Flux (.sourceignore, or a name that Flux ignores)", "rename it")
                elif shown in ignored:
                    what = "is ignored by Git (.gitignore), so it is never pushed"
                    self.add(shown, "", what, "rename it, or change .gitignore")
            elif path.suffix in APPLIED:
                fix = "add it to resources of kustomization.yaml, or move it out of the folder"
                self.add(shown, "", "is not applied by Flux: no kustomization.yaml lists it", fix)
            elif path.suffix.lower() in (*APPLIED, ".json"):
                self.add(shown, "", "is not applied by Flux, which reads .yaml and .yml here", "rename it to .yaml")

    def _directory(self, folder: Path, names: _Names, home: Path) -> None:
        files = [folder / name for name in KUSTOMIZATION_FILES if (folder / name).is_file()]
        if len(files) > 1:
            self._reached.update(files)
            self.add(self._shown(folder), "", "has more than one kustomization file", "leave one of them")
        elif files:
            self._kustomized(files[0], names, home)
        else:
            for path in sorted(folder.iterdir()):
                if path.is_symlink() or path.name == ".git":
                    continue
                if path.is_dir():
                    self._directory(path, names, home)
                elif path.suffix in APPLIED and path.name != SOPS_CONFIG:
                    self._file(path, names)

    def _kustomized(self, file: Path, names: _Names, home: Path) -> None:
        shown = self._shown(file)
        self._reached.add(file)
        try:
            documents = read_documents(file, shown)
        except InvalidInputError as error:
            self.found.problems += error.problems
            return
        document = documents[0] if len(documents) == 1 else None
        if not isinstance(document, Mapping):
            self.add(shown, "", "is not one YAML mapping", "write one kustomization")
            return
        if (document.get("kind") or "Kustomization") != "Kustomization":
            self.add(shown, "kind", "is not Kustomization", "correct it")
        for key in sorted(str(key) for key, value in document.items() if value and key not in _FIELDS):
            fix = "write Secrets as encrypted files, and list them in resources"
            self.add(shown, key, "is not read here: what Flux would make of it is not known", fix)
        resources = document.get("resources") or []
        texts = {key: document.get(key) or "" for key in ("namespace", "namePrefix", "nameSuffix")}
        if not isinstance(resources, list) or not all(isinstance(one, str) for one in [*resources, *texts.values()]):
            self.add(shown, "", "has a value that is not a text", "put it in quotes")
            return
        inner = _Names(
            names.namespace or texts["namespace"] or None,
            names.prefix + texts["namePrefix"],
            texts["nameSuffix"] + names.suffix,
        )
        for number, resource in enumerate(resources):
            where = f"resources[{number}]"
            target = file.parent / resource
            inside = "://" not in resource and ".." not in Path(resource).parts and not Path(resource).is_absolute()
            if not inside or not target.exists() or has_link(self._root, target):
                fix = "name a file or a folder below this one"
                self.add(shown, where, f"{resource} is not a file of this folder", fix)
            elif target in self._reached:
                self.add(shown, where, f"{resource} is listed twice", "list it once")
            elif target.is_file():
                self._file(target, inner)
            elif not any((target / name).is_file() for name in KUSTOMIZATION_FILES):
                self.add(shown, where, f"{resource} has no kustomization.yaml", "add one, or list its files")
            else:
                self._directory(target, inner, home)

        self._generate(file, document, inner)

    def _generate(self, file: Path, document: Mapping[str, Any], names: _Names) -> None:
        shown = self._shown(file)
        entries, shared = document.get("secretGenerator") or [], document.get("generatorOptions") or {}
        if not isinstance(entries, list) or not isinstance(shared, Mapping):
            self.add(shown, "secretGenerator", "is not a list, or its options are not a mapping", "correct it")
            return
        for number, entry in enumerate(entries):
            where = f"secretGenerator[{number}]"
            own = (entry.get("options") or {}) if isinstance(entry, Mapping) else None
            if not isinstance(entry, Mapping) or not isinstance(own, Mapping):
                self.add(shown, where, "is not a mapping", "write name, files or envs")
                continue
            sources = [self._source(file, where, part, text) for part, text in _listed(entry)]
            if None in sources:
                continue
            options = {**shared, **own}
            for group in ("labels", "annotations"):
                both = [each.get(group) or {} for each in (shared, own)]
                if all(isinstance(each, Mapping) for each in both):
                    options[group] = {**both[0], **both[1]}
            namespace, name = names.of({"metadata": entry})
            found = tuple(source for source in sources if source is not None)
            self.found.generators.append(Generator(shown, where, entry, options, found, namespace, name))

    def _source(self, file: Path, entry: str, part: str, text: object) -> Source | None:
        shown, where = self._shown(file), f"{entry}.{part}"
        if not isinstance(text, str):
            self.add(shown, where, "is not a text", "write the name of a file, or key=file")
            return None
        key, found, name = text.partition("=")
        name = name if found and part.startswith("files") else text
        target = file.parent / name
        inside = "://" not in name and ".." not in Path(name).parts and not Path(name).is_absolute()
        if not name or "=" in name or not key or not inside or not target.is_file() or has_link(self._root, target):
            self.add(shown, where, f"{name or text} is not a file of this folder", "name a file below this one")
            return None
        if target in self._reached:
            self.add(shown, where, f"{name} is listed twice", "list it once")
            return None
        self._reached.add(target)
        return Source(target, self._shown(target), name, key if part.startswith("files") else "", where)

    def _file(self, path: Path, names: _Names) -> None:
        self._reached.add(path)
        shown = self._shown(path)
        try:
            documents = read_sources(path, shown)
        except InvalidInputError as error:
            self.found.problems += error.problems
            return
        for index, document in enumerate(documents):
            if isinstance(document.value, str | Mapping) and is_lfs_pointer(document.text):
                self.add(shown, "", LFS_POINTER, LFS_FIX)
            elif not isinstance(document.value, Mapping):
                self.add(shown, "", "holds a document that is no Kubernetes object", "remove it")
            else:
                namespace, name = names.of(document.value)
                self.found.manifests.append(Manifest(path, shown, index, document.value, namespace, name))

    def _shown(self, path: Path) -> str:
        return str(path.relative_to(self._root))


def _listed(entry: Mapping[str, Any]) -> list[tuple[str, object]]:
    """(field, text) of all that a generator reads."""
    found: list[tuple[str, object]] = []
    for part in ("files", "envs"):
        listed = entry.get(part) or []
        listed = listed if isinstance(listed, list) else [None]
        found += [(f"{part}[{number}]", text) for number, text in enumerate(listed)]
    return found


def _ignored(root: Path, folder: str) -> set[str]:
    """The files below `folder` that Git does not hold and ignores; none where `root` is no checkout."""
    listing = ["ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--", folder]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(["git", *listing], cwd=root, env=environment, check=False, capture_output=True)
    except FileNotFoundError:
        return set()  # `_left_out` says it
    return {name.decode(errors="surrogateescape") for name in done.stdout.split(b"\0") if name}


def _left_out(root: Path, folder: str) -> set[str]:
    """The files below `folder` that Flux's source leaves out, by `.sourceignore` files and the names it ignores.

    Asked of git, whose patterns these are, with an empty repository beside the files: all of them are untracked then.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    with tempfile.TemporaryDirectory() as empty:
        git = ["git", f"--git-dir={empty}/git", f"--work-tree={root.resolve()}"]
        excluded = [f"--exclude={pattern}" for pattern in _LEFT_OUT]
        listing = ["ls-files", "-z", "--others", "--ignored", "--exclude-per-directory=.sourceignore", *excluded]
        try:
            subprocess.run([*git, "init", "-q"], env=environment, check=True, capture_output=True)
            done = subprocess.run(
                [*git, *listing, "--", folder], cwd=root, env=environment, check=True, capture_output=True
            )
        except FileNotFoundError:
            raise InvalidInputError([Problem("git", "", "is not installed", "install git")]) from None
    return {name.decode(errors="surrogateescape") for name in done.stdout.split(b"\0") if name}
