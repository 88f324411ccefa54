"""Replacements and vars of a kustomization, where kustomize itself does not build it.

kustomize, replacements: the value of a field of one object is written into fields of others, after all else that a
kustomization does. What cannot be computed here is unknown: the text that it replaces is no claim.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from policy.inventory.resource import dig, items, mapping
from policy.readers.git.files.manifests import Document, parse
from policy.readers.git.kustomize.patches import has_marks
from policy.readers.git.kustomize.transform import with_content
from secret_authority.core.claims.locations import Unknown

_STEP = re.compile(r"\[([^\]]*)\]|((?:\\.|[^.\[\]])+)")
_VARIABLE = re.compile(r"\$\(([A-Za-z_][\w.-]*)\)")


def replaced(
    documents: Iterable[Document], content: Mapping[str, Any], read: Callable[[str], str | None]
) -> list[Document]:
    """Documents after the replacements and vars of a kustomization; `read` gives the text of a file of it."""
    found = list(documents)
    for replacement in _replacements(content, read):
        value = _source(found, mapping(replacement.get("source")), replacement.get("sourceValue"))
        for target in items(replacement.get("targets")):
            found = [_written(document, mapping(target), value) for document in found]
    names = {str(dig(each, "name")) for each in items(content.get("vars"))}
    return [with_content(d, _without_vars(d.content, names)) for d in found] if names else found


def _replacements(content: Mapping[str, Any], read: Callable[[str], str | None]) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for entry in items(content.get("replacements")):
        path = dig(entry, "path")
        if not isinstance(path, str):
            found.append(mapping(entry))
        elif (text := read(path)) is not None:
            indented = "\n".join(f"  {line}" for line in text.splitlines())
            lists = [d.content.get("all") for d in parse(f"all:\n{indented}", path)[0]]
            found += [mapping(inner) for each in lists for inner in items(each)]
            found += [document.content for document in parse(text, path)[0] if "targets" in document.content]
    return found


def _source(documents: Iterable[Document], source: Mapping[str, Any], given: Any) -> Any:
    """The value that is written, unknown where it is not in these objects or is a part of one."""
    if given is not None:
        return given
    path = str(source.get("fieldPath") or "metadata.name")
    unknown = Unknown(f"{path} of {source.get('kind')} {source.get('name')}, by replacements")
    found = [document for document in documents if _selected(document, source)]
    if len(found) != 1:
        return unknown
    values = _values(found[0].content, _steps(path))
    value = values[0] if len(values) == 1 else None
    options = mapping(source.get("options"))
    if options.get("delimiter") and isinstance(value, str):
        parts, index = value.split(str(options["delimiter"])), options.get("index", 0)
        value = parts[index] if isinstance(index, int) and 0 <= index < len(parts) else None
    return unknown if value is None else value


def _written(document: Document, target: Mapping[str, Any], value: Any) -> Document:
    if not _selected(document, mapping(target.get("select"))) or any(
        _selected(document, mapping(reject)) for reject in items(target.get("reject"))
    ):
        return document
    content: Any = document.content
    options = mapping(target.get("options"))
    create = bool(options.get("create"))
    for path in items(target.get("fieldPaths")) or ["metadata.name"]:
        content = _set(content, _steps(str(path)), lambda old: _placed(old, value, options), create)
    return with_content(document, mapping(content))


def _placed(old: Any, value: Any, options: Mapping[str, Any]) -> Any:
    """A value in the place of another, or of the part of it that the options name."""
    delimiter, index = options.get("delimiter"), options.get("index", 0)
    if not delimiter:
        return value
    if isinstance(value, Unknown) or not isinstance(old, str) or not isinstance(index, int):
        return value if isinstance(value, Unknown) else Unknown("a part of a field, by replacements")
    parts = old.split(str(delimiter))
    if index < 0:
        parts = [str(value), *parts]
    elif index >= len(parts):
        parts = [*parts, str(value)]
    else:
        parts[index] = str(value)
    return str(delimiter).join(parts)


def _selected(document: Document, wanted: Mapping[str, Any]) -> bool:
    api, _, version = str(document.content.get("apiVersion")).rpartition("/")
    have = {"kind": document.content.get("kind"), "group": api, "version": version}
    if any(wanted.get(key) not in (None, "", have[key]) for key in have) or not wanted:
        return False
    metadata = mapping(document.content.get("metadata"))
    names = [(metadata.get("name"), metadata.get("namespace")), *document.previous]
    name, space = wanted.get("name"), wanted.get("namespace")
    if not any(name in (None, "", own) and space in (None, "", own_space) for own, own_space in names):
        return False
    return all(
        has_marks(mapping(metadata.get(marks)), wanted[selector])
        for marks, selector in (("labels", "labelSelector"), ("annotations", "annotationSelector"))
        if wanted.get(selector)
    )


def _steps(path: str) -> list[str]:
    return [found[1] if found[2] is None else found[2].replace("\\", "") for found in _STEP.finditer(path)]


def _values(value: Any, steps: list[str]) -> list[Any]:
    if not steps:
        return [value]
    first, rest = steps[0], steps[1:]
    if isinstance(value, list):
        return [found for _, inner in _chosen(value, first) for found in _values(inner, rest)]
    return _values(value[first], rest) if isinstance(value, Mapping) and first in value else []


def _chosen(listed: list[Any], step: str) -> list[tuple[int, Any]]:
    key, equal, wanted = step.partition("=")
    return [
        (number, inner)
        for number, inner in enumerate(listed)
        if step in ("*", str(number)) or (equal and str(dig(inner, *key.split(".")) if key else inner) == wanted)
    ]


def _set(value: Any, steps: list[str], change: Callable[[Any], Any], create: bool) -> Any:
    if not steps:
        return change(value)
    first, rest = steps[0], steps[1:]
    if isinstance(value, list):
        chosen = dict(_chosen(value, first))
        return [_set(inner, rest, change, create) if n in chosen else inner for n, inner in enumerate(value)]
    if value is None and create:
        value = {}
    if not isinstance(value, Mapping) or (first not in value and not create):
        return value
    return {**value, first: _set(value.get(first), rest, change, create)}


def _without_vars(value: Any, names: set[str]) -> Any:
    """Texts with a variable that is declared are not known; where it is not one of kustomize's they stay."""
    if isinstance(value, Mapping):
        return {key: _without_vars(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_vars(inner, names) for inner in value]
    if isinstance(value, str) and "$(" in value:
        used = [name for name in _VARIABLE.findall(value) if name in names]
        if used:
            shape = _VARIABLE.sub(lambda m: "*" if m[1] in names else m[0], value)
            return Unknown(f"variable {used[0]} of a kustomization", shape=shape)
    return value
