"""How Applications install charts: names, namespaces, values."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from policy.inventory.resource import dig, items
from policy.readers.git.argocd.applications import Source
from policy.readers.git.files.chart_values import merged, nested, values_in
from policy.readers.git.files.manifests import Document
from policy.readers.git.helm.template import Release
from secret_authority.core.claims.locations import Unknown


def of_application(
    document: Document, source: Source, is_own: Callable[[str], bool], exists: Callable[[str], bool]
) -> Release | str:
    """The release of a chart that an Application applies, or why it is not known.

    Argo CD: valueFiles, then values, then valuesObject, then parameters. A file $REF/path is of the source with that
    ref; `is_own` says whether a URL is that of this tree, `exists` whether a file is there.
    """
    options = source.helm
    refs = _refs(document)
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
    values, whole = _inline(options, {}, document.file)
    if not whole:
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
    refs = _refs(document)
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
    values, read_all = _inline(options, values, document.file)
    return values, whole and read_all


def _refs(document: Document) -> dict[str, str]:
    """What $REF stands for: the URL of each source that has a ref."""
    return {str(dig(s, "ref")): str(dig(s, "repoURL")) for s in items(dig(document.content, "spec", "sources"))}


def _inline(options: Mapping[str, Any], values: Any, file: str) -> tuple[Any, bool]:
    """`values` with those that an Application has itself over them, and whether every parameter was read."""
    whole = True
    values = merged(values, values_in(options.get("values"), file))
    if isinstance(options.get("valuesObject"), Mapping):
        values = merged(values, options["valuesObject"])
    for parameter in items(options.get("parameters")):
        try:
            values = merged(values, nested(str(dig(parameter, "name")), dig(parameter, "value")))
        except ValueError:
            whole = False
    return values, whole
