"""What a cluster syncs itself from, as `flux bootstrap` sets it up, and Kustomizations that overlays change."""

from __future__ import annotations

from policy.readers.git.files.manifests import Document
from policy.readers.git.flux.kustomizations import is_flux, read_flux
from policy.readers.git.kustomize.folders import holds
from policy.readers.git.kustomize.renderer import Renderer


def overlaid(renderer: Renderer, documents: list[Document]) -> list[Document]:
    """Flux Kustomizations as the uppermost kustomizations make them of those of a base."""
    files = {document.file for document in documents if is_flux(document)}
    taken = renderer.taken_in()
    found: list[Document] = []
    for folder in renderer.kustomized():
        if folder not in taken and not renderer.is_component(folder) and files & renderer.render(folder).files:
            found += renderer.render(folder).documents
    return found


def syncs(documents: list[Document]) -> list[tuple[str, str]]:
    """(kind, name) of the sources of Kustomizations that apply their own folder, as `flux bootstrap` makes them."""
    found: set[tuple[str, str]] = set()
    for document in documents:
        if not is_flux(document):
            continue
        flux = read_flux(document)
        kind, name, _ = flux.source
        own = isinstance(flux.path, str) and holds(flux.path, document.file) and isinstance(name, str)
        if own and flux.name == name and (name == "flux-system" or flux.path != "."):
            found.add((kind, str(name)))
    # Flux's own name counts before others.
    named = {source for source in found if source[1] == "flux-system"}
    return sorted(named or found)
