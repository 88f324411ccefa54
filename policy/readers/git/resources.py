"""Documents of a tree as resources of a cluster."""

from __future__ import annotations

from functools import lru_cache

from policy.inventory.resource import AppliedBy, Origin, Position, Resource, dig
from policy.readers.git.argocd.applications import label
from policy.readers.git.files.manifests import Document
from policy.readers.git.flux.kustomizations import FLUX, FluxKustomization
from policy.readers.lists import token_of

_DECRYPT = f"{FLUX}/decrypt"


def resource_of(
    document: Document, cluster: str, flux: FluxKustomization | None, argo: Document | None = None
) -> Resource:
    """A document as a resource of a cluster."""
    content = document.content
    name = dig(content, "metadata", "name")
    decrypts = flux.decrypts if flux else None
    if str(dig(content, "metadata", "annotations", _DECRYPT) or "").lower() == "disabled":
        decrypts = False
    applier = flux.label if flux else label(argo) if argo else ""
    return Resource(
        token_of(content),
        name if isinstance(name, str) else document.file,
        Position(file=document.file, line=document.line),
        Origin.GIT,
        lambda: content,
        cluster=cluster,
        applied_by=_applied_by(applier, decrypts, flux is not None and flux.suspended),
    )


@lru_cache(maxsize=1024)
def _applied_by(applier: str, decrypts: bool | None, suspended: bool) -> AppliedBy:
    return AppliedBy(applier, decrypts, suspended)
