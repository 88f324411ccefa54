"""Folders of the repository that Flux applies, as far as the repository itself says so.

Upstream: fluxcd/kustomize-controller, "Generate kustomization.yaml": without one, every YAML file below `spec.path`
has to be a Kubernetes object, and one that is not stops the whole Kustomization.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from secret_authority.core.errors import InvalidInputError, Problem
from secret_authority.repository.files.yaml_documents import read_documents, yaml_files
from secret_authority.repository.layout import HOME, Layout

_GROUP = b"kustomize.toolkit.fluxcd.io"
_KUSTOMIZATION_FILES = ("kustomization.yaml", "kustomization.yml", "Kustomization")


@dataclass(frozen=True)
class _Applied:
    folder: PurePosixPath
    # The file of the Flux Kustomization, and the source that it names.
    file: PurePosixPath
    source: str


def check_place_of_catalogue(root: Path, layout: Layout) -> Iterator[Problem]:
    """The catalogue must not be in a folder that Flux applies: Flux would stop there."""
    home = PurePosixPath(layout.home)
    fix = f"move catalogue.yaml, tombstones.yaml and config/ to {HOME}/{layout.cluster}/"
    for folder in (*layout.bootstrap, f"clusters/{layout.cluster}/namespaces"):
        if home.is_relative_to(folder):
            yield Problem(layout.catalogue, "", f"is in {folder}, which Flux applies; it is no Kubernetes object", fix)
            return
    for applied in _applied_folders(root):
        if home.is_relative_to(applied.folder) and not _left_out(root, applied.folder, layout.catalogue):
            where = f"is in {applied.folder}, which Flux applies ({applied.file}); it is no Kubernetes object"
            yield Problem(layout.catalogue, "", f"{where}, so Flux would stop there", fix)
            return


def _applied_folders(root: Path) -> Iterator[_Applied]:
    """What a Kustomization that applies its own folder leads to, as `flux bootstrap` makes one.

    Others of the same source count too; those of another source apply the folders of another repository.
    """
    found = list(_kustomizations(root))
    sources = {each.source for each in found if each.file.is_relative_to(each.folder)}
    return (each for each in found if each.source in sources)


def _kustomizations(root: Path) -> Iterator[_Applied]:
    for path in yaml_files(root):
        shown = path.relative_to(root)
        try:
            if _GROUP not in path.read_bytes():
                continue
            documents = read_documents(path, str(shown))
        except (OSError, InvalidInputError):
            continue  # a file that is damaged is reported where it is needed
        for document in documents:
            if isinstance(document, Mapping) and document.get("kind") == "Kustomization":
                spec = document.get("spec")
                if str(document.get("apiVersion", "")).startswith(_GROUP.decode()) and isinstance(spec, Mapping):
                    yield _Applied(_folder(spec), PurePosixPath(shown), _source(spec))


def _folder(spec: Mapping[str, Any]) -> PurePosixPath:
    return PurePosixPath(str(spec.get("path") or ".").lstrip("/"))


def _source(spec: Mapping[str, Any]) -> str:
    source = spec.get("sourceRef")
    return f"{source.get('kind')}/{source.get('name')}" if isinstance(source, Mapping) else ""


def _left_out(root: Path, folder: PurePosixPath, file: str) -> bool:
    """Whether a kustomization.yaml between `folder` and `file` lists what is applied, and not this file."""
    inside = PurePosixPath(file).relative_to(folder)
    for parent in reversed(inside.parents):
        here = root / folder / parent
        for name in _KUSTOMIZATION_FILES:
            if (here / name).is_file():
                return not _lists(here / name, PurePosixPath(inside).relative_to(parent))
    return False


def _lists(kustomization: Path, file: PurePosixPath) -> bool:
    try:
        documents = read_documents(kustomization, kustomization.name)
    except InvalidInputError:
        return False
    resources = documents[0].get("resources") if documents and isinstance(documents[0], Mapping) else None
    listed = {PurePosixPath(str(entry)) for entry in resources} if isinstance(resources, list) else set()
    return bool(listed & {file, *file.parents})
