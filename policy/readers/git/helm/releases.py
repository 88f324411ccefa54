"""How Applications and HelmReleases install charts of the tree: names, namespaces, values."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from policy.inventory.resource import dig, items, mapping
from policy.readers.git.argocd.applications import Source
from policy.readers.git.files.manifests import Document, parse
from policy.readers.git.helm.template import Release, merged, nested
from secret_authority.core.claims.locations import Unknown


def of_application(
    document: Document, source: Source, is_own: Callable[[str], bool], exists: Callable[[str], bool]
) -> Release | str:
    """The release of a chart that an Application applies, or why it is not known.

    Argo CD: valueFiles, then values, then valuesObject, then parameters. A file $REF/path is of the source with that
    ref; `is_own` says whether a URL is that of this tree, `exists` whether a file is there.
    """
    options = source.helm
    refs = {str(dig(s, "ref")): str(dig(s, "repoURL")) for s in items(dig(document.content, "spec", "sources"))}
    files: list[str] = []
    for entry in items(options.get("valueFiles")):
        if not isinstance(entry, str) or "://" in entry:
            return "a values file is not in the tree"
        if entry.startswith("$"):
            ref, _, path = entry[1:].partition("/")
            if ref not in refs or not is_own(refs[ref]):
                return "a values file is of another repository"
            file = os.path.normpath(path)
        elif entry.startswith("/"):
            file = os.path.normpath(entry.lstrip("/"))
        else:
            file = os.path.normpath(f"{source.path}/{entry}")
        if file.startswith(".."):
            return "a values file is not in the tree"
        if exists(file) or options.get("ignoreMissingValueFiles") is not True:
            files.append(file)
    if options.get("fileParameters"):
        return "its fileParameters are not read"
    values: Any = _parsed(options.get("values"), document.file)
    if isinstance(options.get("valuesObject"), Mapping):
        values = merged(values, options["valuesObject"])
    for parameter in items(options.get("parameters")):
        try:
            values = merged(values, nested(str(dig(parameter, "name")), dig(parameter, "value")))
        except ValueError:
            return "a parameter of it is not read"
    name = str(options.get("releaseName") or dig(document.content, "metadata", "name"))
    if isinstance(source.namespace, Unknown):
        return "its namespace is not known"
    return Release(name, source.namespace or "default", values, tuple(files))


def values_of_application(
    document: Document, source: Source, is_own: Callable[[str], bool], read: Callable[[str], Any]
) -> tuple[Any, bool]:
    """The values that an Application gives a chart of another place, and whether all of them are in the tree.

    `read` gives what a file of the tree holds, None where there is none. A values file without a $REF is of the chart.
    """
    options = source.helm
    refs = {str(dig(s, "ref")): str(dig(s, "repoURL")) for s in items(dig(document.content, "spec", "sources"))}
    values: Any = {}
    whole = not options.get("fileParameters")
    for entry in items(options.get("valueFiles")):
        ref, _, path = entry[1:].partition("/") if isinstance(entry, str) and entry.startswith("$") else ("", "", "")
        file = os.path.normpath(path) if path else ".."
        found = read(file) if ref in refs and is_own(refs[ref]) and not file.startswith("..") else None
        if isinstance(found, Mapping):
            values = merged(values, found)
        elif not (ref and options.get("ignoreMissingValueFiles") is True):
            whole = False
    values = merged(values, _parsed(options.get("values"), document.file))
    if isinstance(options.get("valuesObject"), Mapping):
        values = merged(values, options["valuesObject"])
    for parameter in items(options.get("parameters")):
        try:
            values = merged(values, nested(str(dig(parameter, "name")), dig(parameter, "value")))
        except ValueError:
            whole = False
    return values, whole


def of_helm_release(
    document: Document, known: Mapping[tuple[str, str, str], Mapping[str, str | None]]
) -> tuple[Release, list[str]]:
    """The release of a HelmRelease, and what of its values is not in sight.

    Flux names it targetNamespace-name where it has a target namespace and no releaseName. `known` are the values of
    ConfigMaps and Secrets of the tree, by kind, namespace and name.
    """
    spec = mapping(document.content.get("spec"))
    own = str(dig(document.content, "metadata", "namespace") or "default")
    target = spec.get("targetNamespace")
    name = str(dig(document.content, "metadata", "name"))
    if isinstance(target, str) and target:
        name = f"{target}-{name}"
    values: Any = {}
    reasons: list[str] = []
    for reference in items(spec.get("valuesFrom")):
        kind, source = str(dig(reference, "kind")), str(dig(reference, "name"))
        text = known.get((kind, own, source), {}).get(str(dig(reference, "valuesKey") or "values.yaml"))
        if text is None or dig(reference, "targetPath"):
            reasons.append(f"values of {kind} {own}/{source} are not in sight")
            continue
        values = merged(values, _parsed(text, document.file))
    if spec.get("values"):
        values = merged(values, spec["values"])
    namespace = target if isinstance(target, str) and target else own
    return Release(str(spec.get("releaseName") or name), namespace, values, tuple(_values_files(document))), reasons


def _values_files(document: Document) -> list[str]:
    """Files of values that a HelmRelease names beside its chart."""
    found = items(dig(document.content, "spec", "chart", "spec", "valuesFiles"))
    return [os.path.normpath(file.lstrip("/")) for file in found if isinstance(file, str)]


def _parsed(text: Any, file: str) -> Any:
    documents = parse(text, file)[0] if isinstance(text, str) else []
    return dict(documents[0].content) if documents else {}
