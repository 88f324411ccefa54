"""Flux Kustomizations: what each of them changes in what it applies.

Flux, Kustomization v1: path, targetNamespace, patches, components, commonMetadata, decryption, postBuild, kubeConfig.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from policy.inventory.resource import dig, items, mapping
from policy.readers.git.kustomize import Change
from policy.readers.git.manifests import Document
from policy.readers.git.reach import holds
from secret_authority.core.claims.locations import Unknown

FLUX = "kustomize.toolkit.fluxcd.io"
_VARIABLE = re.compile(r"\$\{(\w+)(?:(:?[-=])([^}]*))?\}")
_SUBSTITUTE = f"{FLUX}/substitute"
RECONCILE = f"{FLUX}/reconcile"


@dataclass(frozen=True)
class FluxKustomization:
    """A Flux Kustomization, as far as it changes what is applied."""

    label: str
    path: str
    decrypts: bool
    change: Change
    variables: Mapping[str, Any] | None
    source: tuple[str, str]
    # The cluster of spec.kubeConfig, None for the cluster of Flux itself.
    remote: str | None = None


def is_flux(document: Document) -> bool:
    api = document.content.get("apiVersion")
    return isinstance(api, str) and api.startswith(f"{FLUX}/") and document.content.get("kind") == "Kustomization"


def applies_itself(document: Document) -> bool:
    """As `flux bootstrap` writes it: a path of this tree in which the file itself lies."""
    spec = mapping(document.content.get("spec"))
    here = dig(spec, "sourceRef", "kind") == "GitRepository" and bool(spec.get("path"))
    return here and holds(path_of(document), document.file)


def path_of(document: Document) -> str:
    return normal_path(str(dig(document.content, "spec", "path") or "."))


def normal_path(path: str) -> str:
    return os.path.normpath(path.lstrip("/") or ".")


def read_flux(document: Document) -> FluxKustomization:
    spec = mapping(document.content.get("spec"))
    metadata = mapping(document.content.get("metadata"))
    target = spec.get("targetNamespace")
    post = spec.get("postBuild")
    variables = {str(k): v for k, v in mapping(dig(post, "substitute")).items()} if post is not None else None
    return FluxKustomization(
        f"Kustomization {metadata.get('namespace', 'flux-system')}/{metadata.get('name')}",
        path_of(document),
        dig(spec, "decryption", "provider") == "sops",
        Change(
            namespace=target if isinstance(target, str) else None,
            prefix=str(spec.get("namePrefix") or ""),
            suffix=str(spec.get("nameSuffix") or ""),
            patches=tuple(items(spec.get("patches"))),
            components=tuple(str(c) for c in items(spec.get("components"))),
            labels=mapping(dig(spec, "commonMetadata", "labels")),
            annotations=mapping(dig(spec, "commonMetadata", "annotations")),
        ),
        variables,
        (str(dig(spec, "sourceRef", "kind")), str(dig(spec, "sourceRef", "name"))),
        _remote(spec, str(metadata.get("namespace", "flux-system"))),
    )


def _remote(spec: Mapping[str, Any], namespace: str) -> str | None:
    """The cluster that spec.kubeConfig names by a Secret or a ConfigMap."""
    for reference in ("secretRef", "configMapRef"):
        name = dig(spec, "kubeConfig", reference, "name")
        if isinstance(name, str):
            return f"the cluster of {namespace}/{name}"
    return None


def substituted(document: Document, flux: FluxKustomization | None) -> Document:
    """postBuild substitution; a variable that the tree does not hold is unknown."""
    if flux is None or flux.variables is None:
        return document
    marks = {
        **mapping(dig(document.content, "metadata", "annotations")),
        **mapping(dig(document.content, "metadata", "labels")),
    }
    if str(marks.get(_SUBSTITUTE, "")).lower() == "disabled":
        return document
    variables = flux.variables

    def fill(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: fill(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [fill(inner) for inner in value]
        if not isinstance(value, str) or "${" not in value:
            return value
        missing = [m[1] for m in _VARIABLE.finditer(value) if m[1] not in variables and m[2] is None]
        if missing:
            return Unknown(f"variable {missing[0]} of {flux.label}")
        return _VARIABLE.sub(lambda m: str(variables.get(m[1], m[3] or "")), value)

    return Document(document.file, document.line, fill(document.content))


def is_disabled(document: Document) -> bool:
    """Whether Flux leaves an object as it is (kustomize-controller: a label or an annotation, in any case).

    A Secret in the clear stays in sight: Git shows its value whether it is applied or not.
    """
    metadata = mapping(document.content.get("metadata"))
    marks = {str(mapping(metadata.get(field)).get(RECONCILE)).lower() for field in ("labels", "annotations")}
    in_clear = document.content.get("kind") == "Secret" and "sops" not in document.content
    return "disabled" in marks and not in_clear
