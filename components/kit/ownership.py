"""Who made an object of the cluster, judged by its metadata alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secret_authority.contract.names import PART_OF

_FLUX = "kustomize.toolkit.fluxcd.io/name"
_HELM = "meta.helm.sh/release-name"
# The provider's field managers are this and a random end.
_PULUMI = "pulumi-kubernetes"


def owner(metadata: Mapping[str, Any]) -> str:
    """Who made or writes the object, in words, from its labels, owners and field managers."""
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    owners = [f"{found.get('kind')} {found.get('name')}" for found in metadata.get("ownerReferences") or []]
    managers = _managers(metadata)
    if _FLUX in labels:
        return f"Flux (Kustomization {labels[_FLUX]})"
    if _HELM in annotations:
        return f"Helm (release {annotations[_HELM]})"
    if owners:
        return ", ".join(owners)
    if any("pulumi" in manager for manager in managers):
        return "Pulumi"
    return f"field manager {', '.join(managers)}" if managers else "an unknown hand"


def made_by_this_program(metadata: Mapping[str, Any], *, upstream: bool = False) -> bool:
    """Whether the object carries this project's label.

    `upstream`: it is one of upstream's manifests (CRDs, Flux's controllers), which are applied without that label; then
    Pulumi as its field manager is enough, unless a label says something else.
    """
    labels = metadata.get("labels") or {}
    if PART_OF.items() <= labels.items():
        return True
    if not upstream:
        return False
    foreign = "app.kubernetes.io/part-of" in labels or _FLUX in labels or _HELM in (metadata.get("annotations") or {})
    return not foreign and any(manager.startswith(_PULUMI) for manager in _managers(metadata))


def _managers(metadata: Mapping[str, Any]) -> list[str]:
    return sorted({entry.get("manager", "") for entry in metadata.get("managedFields") or []} - {""})
