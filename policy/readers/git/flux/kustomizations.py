"""Flux Kustomizations: what each of them changes in what it applies.

Flux, Kustomization v1: path, targetNamespace, patches, components, commonMetadata, decryption, postBuild, kubeConfig.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from policy.inventory.resource import ENCRYPTED, dig, items, mapping, part
from policy.readers.git.files.manifests import Document
from policy.readers.git.flux.envsubst import BadSubstitutionError, substitute
from policy.readers.git.kustomize.transform import Change
from secret_authority.core.claims.locations import Part, Unknown

FLUX = "kustomize.toolkit.fluxcd.io"
_SUBSTITUTE = f"{FLUX}/substitute"
RECONCILE = f"{FLUX}/reconcile"


@dataclass(frozen=True)
class FluxKustomization:
    """A Flux Kustomization, as far as it changes what is applied. `path` is unknown where a variable is."""

    namespace: Part
    name: Part
    path: Part
    decrypts: bool
    change: Change
    # spec.postBuild: values of its own, and (kind, name) of ConfigMaps and Secrets; None without it.
    substitute: Mapping[str, Any] | None
    substitute_from: tuple[tuple[str, Part], ...]
    source: tuple[str, Part, Part]
    # The cluster of spec.kubeConfig, None for the cluster of Flux itself.
    remote: str | None = None
    # spec.suspend, of itself or of what applies it.
    suspended: bool = False

    @property
    def label(self) -> str:
        return f"Kustomization {self.namespace}/{self.name}"


def is_flux(document: Document) -> bool:
    api = document.content.get("apiVersion")
    return isinstance(api, str) and api.startswith(f"{FLUX}/") and document.content.get("kind") == "Kustomization"


def normal_path(path: str) -> str:
    """A path of the tree without a leading ./ or /."""
    return os.path.normpath(path.lstrip("/") or ".")


def _joined(path: str) -> str:
    """A path as Flux joins it to the root of the tree: what leads above the root ends there (filepath-securejoin)."""
    return normal_path(os.path.normpath(f"/{path}"))


def read_flux(document: Document) -> FluxKustomization:
    """What a Kustomization says."""
    spec = mapping(document.content.get("spec"))
    metadata = mapping(document.content.get("metadata"))
    target = spec.get("targetNamespace")
    post = spec.get("postBuild")
    namespace = part(metadata.get("namespace") or "flux-system", "metadata.namespace of a Kustomization")
    given = spec.get("path")
    path = given if isinstance(given, Unknown) else _joined(given if isinstance(given, str) else ".")
    reference = mapping(spec.get("sourceRef"))
    return FluxKustomization(
        namespace,
        part(metadata.get("name"), f"metadata.name of a Kustomization in {document.file}"),
        path,
        dig(spec, "decryption", "provider") == "sops",
        Change(
            namespace=target if isinstance(target, str) else None,
            prefix=_text(spec.get("namePrefix")),
            suffix=_text(spec.get("nameSuffix")),
            patches=tuple(items(spec.get("patches"))),
            components=tuple(c for c in items(spec.get("components")) if isinstance(c, str)),
            labels=mapping(dig(spec, "commonMetadata", "labels")),
            annotations=mapping(dig(spec, "commonMetadata", "annotations")),
        ),
        {str(k): v for k, v in mapping(dig(post, "substitute")).items()} if isinstance(post, Mapping) else None,
        tuple(
            (str(dig(e, "kind")), part(dig(e, "name"), "postBuild.substituteFrom[].name"))
            for e in items(dig(post, "substituteFrom"))
        ),
        (
            str(reference.get("kind") or "GitRepository"),
            part(reference.get("name"), "spec.sourceRef.name"),
            part(reference.get("namespace") or namespace, "spec.sourceRef.namespace"),
        ),
        remote_of(spec, namespace),
        spec.get("suspend") is True,
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def remote_of(spec: Mapping[str, Any], namespace: Part) -> str | None:
    """The cluster that spec.kubeConfig names by a Secret or a ConfigMap."""
    for reference in ("secretRef", "configMapRef"):
        name = dig(spec, "kubeConfig", reference, "name")
        if isinstance(name, str):
            return f"the cluster of {namespace}/{name}"
    return None


# (kind, namespace, name) -> what it gives as variables: a text, or None where the value cannot be read.
Values = Mapping[tuple[str, str, str], Mapping[str, str | None]]


def values_of(document: Document) -> Mapping[str, str | None]:
    """The variables that a ConfigMap or a Secret gives; None for a value that cannot be read."""
    found: dict[str, str | None] = {}
    for field in ("data", "stringData"):
        for key, value in mapping(document.content.get(field)).items():
            text = value if isinstance(value, str) and not value.startswith("ENC[") else None
            if text is not None and field == "data" and document.content.get("kind") == "Secret":
                text = _decoded(text)
            found[str(key)] = text
    return found


def _decoded(text: str) -> str | None:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        return None


class Variables:
    """The variables of one Kustomization in one cluster: later sources win over earlier ones, its own over both."""

    def __init__(self, flux: FluxKustomization, cluster: str, values: Values) -> None:
        self._flux = flux
        self._cluster = cluster
        self._own = flux.substitute or {}
        self._sources: list[tuple[str, Mapping[str, str | None] | None]] = []
        for kind, name in flux.substitute_from:
            found = values.get((kind, str(flux.namespace), name)) if isinstance(name, str) else None
            self._sources.append((f"{kind} {flux.namespace}/{name}", found))
        # Flux leaves objects as they are where it has no variable at all.
        self.used = bool(self._own) or bool(self._sources)

    @property
    def missing(self) -> bool:
        """Whether a source is not in sight (yet)."""
        return any(found is None for _, found in self._sources)

    def lookup(self, name: str, has_default: bool = False) -> Part:
        """The value of a variable; empty where nothing defines it, unknown where that cannot be seen.

        A text with a default says what it means where nothing in sight defines the variable.
        """
        if name in self._own:
            value = self._own[name]
            if isinstance(value, Unknown):
                return value
            return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        for source, found in reversed(self._sources):
            if found is None:
                if has_default:
                    continue
                return self._unknown(name, f"{source}, which is not in sight", source)
            if name in found:
                text = found[name]
                return text if text is not None else self._unknown(name, f"{source}, {ENCRYPTED}", source)
        return ""

    def _unknown(self, name: str, where: str, source: str) -> Unknown:
        return Unknown(f"variable {name} of {where}", shape="*", same=f"{self._cluster}: {source}: {name}")


def substituted(document: Document, flux: FluxKustomization | None, variables: Variables | None) -> Document:
    """postBuild substitution; a variable that the tree does not hold is unknown."""
    if flux is None or variables is None or not variables.used:
        return document
    metadata = mapping(document.content.get("metadata"))
    marks = {**mapping(metadata.get("annotations")), **mapping(metadata.get("labels"))}
    if str(marks.get(_SUBSTITUTE, "")).lower() == "disabled":
        return document
    return replace(document, content=_filled(document.content, flux, variables))


def _filled(value: Any, flux: FluxKustomization, variables: Variables) -> Any:
    if isinstance(value, str):
        if "${" not in value:
            return value
        try:
            return substitute(value, variables.lookup)
        except BadSubstitutionError:
            return Unknown(f"a substitution that Flux cannot parse, in what {flux.label} applies")
    if isinstance(value, Mapping):
        return {_key(key, flux, variables): _filled(inner, flux, variables) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, flux, variables) for inner in value]
    return value


def _key(key: Any, flux: FluxKustomization, variables: Variables) -> Any:
    found = _filled(key, flux, variables) if isinstance(key, str) else key
    return key if isinstance(found, Unknown) else found


def is_disabled(document: Document) -> bool:
    """Whether Flux leaves an object as it is (kustomize-controller: a label or an annotation, in any case).

    A Secret in the clear stays in sight: Git shows its value whether it is applied or not.
    """
    metadata = mapping(document.content.get("metadata"))
    marks = {str(mapping(metadata.get(field)).get(RECONCILE)).lower() for field in ("labels", "annotations")}
    in_clear = document.content.get("kind") == "Secret" and "sops" not in document.content
    return "disabled" in marks and not in_clear
