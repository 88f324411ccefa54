"""Which folder of this tree a Flux Kustomization applies: directly, through an artifact made of the tree, or none.

Flux: spec.sourceRef of a Kustomization is a GitRepository, OCIRepository, Bucket or ExternalArtifact. An
ArtifactGenerator (source.extensions.fluxcd.io) copies folders of a GitRepository into an ExternalArtifact. A
FluxInstance of the Flux operator makes the source that its `sync` names.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable

from policy.inventory.resource import dig, items
from policy.readers.git.files.checkout import repository_of
from policy.readers.git.files.manifests import Document
from policy.readers.git.flux.kustomizations import FluxKustomization, is_flux, read_flux
from secret_authority.core.claims.locations import Unknown

# How deep the folder may be that an artifact is made of.
_DEPTH = 2
_SOURCES = ("GitRepository", "OCIRepository", "Bucket")


class Sources:
    """The sources of a tree. `remotes` are the repositories of the checkout; without them names decide.

    `sync` are the (kind, name) of sources by which the tree is known to be applied.
    """

    def __init__(
        self,
        documents: Iterable[Document],
        remotes: frozenset[str],
        sync: Iterable[tuple[str, str]],
        has_folder: Callable[[str], bool],
        folders: Iterable[str] = (),
    ) -> None:
        listed = list(documents)
        defined: dict[tuple[str, str], set[str]] = {}
        for document in listed:
            kind, name = str(document.content.get("kind")), dig(document.content, "metadata", "name")
            if kind in _SOURCES and isinstance(name, str):
                defined.setdefault((kind, name), set()).add(str(dig(document.content, "spec", "url")))
        same = {key for key, urls in defined.items() if key[0] == "GitRepository" and _repositories(urls) & remotes}
        paths: dict[tuple[str, str], list[str]] = {}
        for document in listed:
            if is_flux(document):
                flux = read_flux(document)
                kind, name, _ = flux.source
                if isinstance(flux.path, str) and flux.path != "." and isinstance(name, str) and "${" not in name:
                    paths.setdefault((kind, name), []).append(flux.path)
        tops = sorted({folder for folder in folders if folder != "." and folder.count("/") < _DEPTH})
        # An artifact may be made of a folder of the tree: then its paths start there.
        self._base = {
            key: _base(found, has_folder, tops) for key, found in paths.items() if key[0] != "ExternalArtifact"
        }
        used: Counter[tuple[str, str]] = Counter()
        for document in listed:
            if is_flux(document):
                flux = read_flux(document)
                kind, name, _ = flux.source
                if isinstance(flux.path, str) and flux.path != "." and isinstance(name, str) and "${" not in name:
                    base = self._base.get((kind, name), ".")
                    used[kind, name] += int(has_folder(os.path.normpath(f"{base}/{flux.path}")))
        known = set(sync)
        if same:
            known = same | {key for key in known if key not in defined or key[0] != "GitRepository"}
        elif not known and any(used.values()):
            most = max(used.values())
            known = {min(key for key, count in used.items() if count == most)}
        # An artifact from which several paths lead to folders of the tree is made of the tree.
        known |= {
            key
            for key, count in used.items()
            if key[0] in ("OCIRepository", "Bucket") and count > 1 and 2 * count >= len(paths[key])
        }
        # What another repository or artifact is known to be behind: defined here, and not by what the tree is applied.
        self._foreign = set(defined) - known
        self._known = known
        # Sources that the tree does not define, and from which no path leads to a folder of it.
        self._strange = {key for key, count in used.items() if not count} - set(defined) - known
        self._copies: dict[str, list[tuple[str, str]]] = {}
        for document in listed:
            if document.content.get("kind") == "ArtifactGenerator":
                self._read(document)

    def folder(self, flux: FluxKustomization) -> str | None:
        """The folder of the tree, None when the Kustomization applies something else."""
        kind, name, _ = flux.source
        path = flux.path
        if isinstance(path, Unknown) or isinstance(name, Unknown):
            return None
        if kind == "ExternalArtifact":
            for source, target in self._copies.get(name, []):
                inside = os.path.relpath(path, target)
                if not inside.startswith(".."):
                    return os.path.normpath(f"{source}/{inside}")
            return None
        if (kind, name) in self._foreign:
            return None
        # A GitRepository that the tree does not define is the one that brought it; an artifact has to be known.
        if kind != "GitRepository" and (kind, name) not in self._known:
            return None
        return os.path.normpath(f"{self._base.get((kind, name), '.')}/{path}")

    def is_strange(self, flux: FluxKustomization) -> bool:
        """Whether nothing says that the source of a Kustomization is this tree: not its name, and no path of it."""
        return flux.source[:2] in self._strange

    def _read(self, document: Document) -> None:
        sources = items(dig(document.content, "spec", "sources"))
        own = {
            f"@{dig(source, 'alias')}/"
            for source in sources
            if dig(source, "kind") == "GitRepository"
            and ("GitRepository", str(dig(source, "name"))) not in self._foreign
        }
        for artifact in items(dig(document.content, "spec", "artifacts")):
            for copy in items(dig(artifact, "copy")):
                origin, target = str(dig(copy, "from")), str(dig(copy, "to"))
                alias = next((prefix for prefix in own if origin.startswith(prefix)), None)
                if alias is not None and target.startswith("@artifact/"):
                    folder = origin.removeprefix(alias).split("*")[0].rstrip("/") or "."
                    into = os.path.normpath(target.removeprefix("@artifact/") or ".")
                    self._copies.setdefault(str(dig(artifact, "name")), []).append((folder, into))


def _base(paths: list[str], has_folder: Callable[[str], bool], tops: list[str]) -> str:
    """The folder from which most paths lead to folders of the tree; the root unless another one is clearly right."""

    def count(base: str) -> int:
        return sum(has_folder(os.path.normpath(f"{base}/{path}")) for path in paths)

    at_root = count(".")
    if 2 * at_root >= len(paths):
        return "."
    found = {base: count(base) for base in tops}
    best = max(found.values(), default=0)
    if best <= at_root or 2 * best < len(paths):
        return "."
    return next(base for base in tops if found[base] == best)


def _repositories(urls: Iterable[str]) -> frozenset[str]:
    return frozenset(found for url in urls if (found := repository_of(url)))
