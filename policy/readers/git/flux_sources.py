"""Which folder of this tree a Flux Kustomization applies: directly, through an artifact made of the tree, or none.

Flux: spec.sourceRef of a Kustomization is a GitRepository, OCIRepository, Bucket or ExternalArtifact. An
ArtifactGenerator (source.extensions.fluxcd.io) copies folders of a GitRepository into an ExternalArtifact.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable

from policy.inventory.resource import dig, items
from policy.readers.git.flux import FluxKustomization
from policy.readers.git.manifests import Document


class Sources:
    """The sources of one cluster. `own` is the GitRepository by which the tree itself is applied, if it is known."""

    def __init__(self, documents: Iterable[Document], own: str | None) -> None:
        listed = list(documents)
        named = Counter(
            str(dig(d.content, "spec", "sourceRef", "name"))
            for d in listed
            if d.content.get("kind") == "Kustomization"
            and dig(d.content, "spec", "sourceRef", "kind") == "GitRepository"
        )
        self._own = own or next((name for name, _ in named.most_common(1)), "")
        # A GitRepository that the tree defines under another name leads to another repository.
        self._foreign = {
            str(dig(d.content, "metadata", "name")) for d in listed if d.content.get("kind") == "GitRepository"
        } - {self._own}
        self._copies: dict[str, list[tuple[str, str]]] = {}
        for document in listed:
            if document.content.get("kind") == "ArtifactGenerator":
                self._read(document)

    def folder(self, flux: FluxKustomization) -> str | None:
        """The folder of the tree, None when the Kustomization applies something else."""
        kind, name = flux.source
        if kind == "GitRepository":
            return None if name in self._foreign else flux.path
        for source, target in self._copies.get(name, []) if kind == "ExternalArtifact" else ():
            inside = os.path.relpath(flux.path, target)
            if not inside.startswith(".."):
                return os.path.normpath(f"{source}/{inside}")
        return None

    def _read(self, document: Document) -> None:
        sources = items(dig(document.content, "spec", "sources"))
        own = {
            f"@{dig(source, 'alias')}/"
            for source in sources
            if dig(source, "kind") == "GitRepository" and dig(source, "name") not in self._foreign
        }
        for artifact in items(dig(document.content, "spec", "artifacts")):
            for copy in items(dig(artifact, "copy")):
                origin, target = str(dig(copy, "from")), str(dig(copy, "to"))
                alias = next((prefix for prefix in own if origin.startswith(prefix)), None)
                if alias is not None and target.startswith("@artifact/"):
                    folder = origin.removeprefix(alias).split("*")[0].rstrip("/") or "."
                    into = os.path.normpath(target.removeprefix("@artifact/") or ".")
                    self._copies.setdefault(str(dig(artifact, "name")), []).append((folder, into))
