"""ResourceSets of the Flux operator: resources for each of their inputs, with `<< inputs.name >>` filled in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from policy.inventory.resource import dig, items, mapping
from policy.readers.git.files.manifests import Document, parse
from secret_authority.core.claims.locations import Unknown

_EXPRESSION = re.compile(r"<<-?\s*(.*?)\s*-?>>")
_INPUT = re.compile(r"^inputs\.([\w.]+)(?:\s*\|\s*(?:quote|int|toString))?$")


def is_resource_set(document: Document) -> bool:
    api = document.content.get("apiVersion")
    return (
        isinstance(api, str)
        and api.startswith("fluxcd.controlplane.io/")
        and document.content.get("kind") == "ResourceSet"
    )


def expand(document: Document, leading: Iterable[Document] = ()) -> tuple[list[Document], list[str]]:
    """The objects that a ResourceSet makes, and what of it cannot be expanded.

    `leading` are the objects among which the providers of its inputs may be; only a static one says what it gives.
    """
    spec = mapping(document.content.get("spec"))
    reasons: list[str] = []
    provided: list[Mapping[str, Any]] = []
    for reference in items(spec.get("inputsFrom")):
        static = _static_inputs(document, reference, leading)
        provided += static
        if not static or dig(spec, "inputStrategy", "name") == "Permute":
            reasons.append("its inputs come from objects that are not in the tree")
    # A ResourceSet without inputs makes its resources once.
    inputs = [*map(mapping, items(spec.get("inputs"))), *provided] or ([] if reasons else [{}])
    found: dict[str, Document] = {}
    for given in inputs:
        templates = list(items(spec.get("resources")))
        text = spec.get("resourcesTemplate")
        if isinstance(text, str):
            filled = _filled(text, given)
            if isinstance(filled, Unknown) or ("<<" in text and re.search(r"<<-?\s*(range|if|with|end)", text)):
                reasons.append("its resourcesTemplate has more than inputs")
            else:
                templates += [d.content for d in parse(filled, document.file)[0]]
        for template in templates:
            content = _filled(template, given)
            if not isinstance(content, Mapping) or not isinstance(content.get("kind"), str):
                reasons.append("one of its resources is not known")
                continue
            metadata = mapping(content.get("metadata"))
            if content["kind"] not in ("Namespace",) and "namespace" not in metadata:
                space = dig(document.content, "metadata", "namespace")
                content = {**content, "metadata": {**metadata, **({"namespace": space} if space else {})}}
            # The operator makes one object of equal ones.
            found.setdefault(repr(content), Document(document.file, document.line, content))
    return list(found.values()), list(dict.fromkeys(reasons))


def _static_inputs(document: Document, reference: Any, leading: Iterable[Document]) -> list[Mapping[str, Any]]:
    """What the providers that a reference means give; nothing where one asks another system, or none is there."""
    found = []
    space = dig(document.content, "metadata", "namespace")
    selector = mapping(dig(reference, "selector", "matchLabels"))
    for provider in leading:
        metadata = mapping(provider.content.get("metadata"))
        if provider.content.get("kind") != "ResourceSetInputProvider" or metadata.get("namespace") != space:
            continue
        labels = mapping(metadata.get("labels"))
        named = metadata.get("name") == dig(reference, "name")
        selected = bool(selector) and all(labels.get(key) == value for key, value in selector.items())
        if not (named or selected):
            continue
        values = mapping(dig(provider.content, "spec", "defaultValues"))
        if dig(provider.content, "spec", "type") != "Static" or not values or "${" in repr(values):
            return []
        found.append(values)
    return [] if dig(reference, "selector", "matchExpressions") else found


def _filled(value: Any, inputs: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        return {key: _filled(inner, inputs) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, inputs) for inner in value]
    if not isinstance(value, str) or "<<" not in value:
        return value
    missing: list[str] = []

    def one(match: re.Match[str]) -> str:
        named = _INPUT.match(match[1])
        found = dig(inputs, *named[1].split(".")) if named else None
        if not isinstance(found, str | int | float):
            missing.append(match[1])
            return "*"
        return str(found)

    text = _EXPRESSION.sub(one, value)
    return Unknown(f"input {missing[0]} of a ResourceSet", shape=text) if missing else text
