"""Patches of kustomize and Flux: strategic merge patches and JSON patches (RFC 6902), with their targets.

Custom resources have no merge keys, so a strategic merge replaces their lists. Lists of built-in kinds are merged by
name, or by mountPath for volume mounts.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from policy.go_regex import fullmatch
from policy.inventory.resource import dig, items, mapping
from policy.readers.git.files.manifests import SUFFIXES, Document
from policy.readers.git.kustomize.transform import with_content

_CLOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_DIRECTIVE = "$patch"
_MERGE_KEYS = ("name", "mountPath")
_BUILT_IN = re.compile(r"^(v1|(apps|batch|autoscaling|policy|extensions)/|[a-z.]+\.k8s\.io/)")


@dataclass(frozen=True)
class Patch:
    """One patch; `target` is None where the patch names its own object."""

    content: Any
    target: Mapping[str, Any] | None
    # allowNameChange, allowKindChange.
    options: Mapping[str, Any] = field(default_factory=dict)

    def applies_to(self, document: Mapping[str, Any], previous: Iterable[tuple[Any, Any]] = ()) -> bool:
        """Whether the patch is meant for a document, by what it is called now or was called before."""
        names = [(dig(document, "metadata", "name"), dig(document, "metadata", "namespace")), *previous]
        if self.target is not None:
            return any(_selected(document, self.target, *name) for name in names)
        own = mapping(self.content)
        same = all(own.get(step) == document.get(step) for step in ("apiVersion", "kind"))
        name, space = dig(own, "metadata", "name"), dig(own, "metadata", "namespace")
        return same and any(name == own_name and space in (None, own_space) for own_name, own_space in names)

    def apply(self, document: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The patched document; None when the patch deletes it."""
        if isinstance(self.content, list):
            return _json_patch(document, self.content)
        content = mapping(self.content)
        if content.get(_DIRECTIVE) == "delete":
            return None
        lists = bool(_BUILT_IN.match(str(document.get("apiVersion"))))
        merged = _merge(document, content, lists)
        # A patch with a target carries a name of no meaning; without one the names are the same.
        kept = {name: document.get(name) for name in ("apiVersion", "kind")}
        if self.options.get("allowKindChange") is True:
            kept = {}
        metadata = {**mapping(merged.get("metadata"))}
        fixed = ("namespace",) if self.options.get("allowNameChange") is True else ("name", "namespace")
        for step in fixed:
            if step in mapping(document.get("metadata")):
                metadata[step] = mapping(document.get("metadata"))[step]
            else:
                metadata.pop(step, None)
        return {**merged, **kept, "metadata": metadata}


def apply_all(documents: Iterable[Any], patches: Iterable[Patch], changed: Any) -> list[Any]:
    """Documents after all patches. `changed(document, content)` makes the document with another content."""
    found = list(documents)
    for patch in patches:
        result = []
        for document in found:
            if not patch.applies_to(document.content, document.previous):
                result.append(document)
                continue
            content = patch.apply(document.content)
            if content is not None:
                result.append(changed(document, content))
        found = result
    return found


def _selected(document: Mapping[str, Any], target: Mapping[str, Any], name: Any, namespace: Any) -> bool:
    group, _, version = str(document.get("apiVersion")).rpartition("/")
    values = {
        "group": group,
        "version": version,
        "kind": document.get("kind"),
        "name": name,
        "namespace": namespace,
    }
    for step, value in values.items():
        wanted = target.get(step)
        if wanted and not _matches(str(wanted), "" if value is None else str(value)):
            return False
    marks = (("labelSelector", "labels"), ("annotationSelector", "annotations"))
    return all(has_marks(mapping(dig(document, "metadata", kind)), target.get(step)) for step, kind in marks)


def _matches(pattern: str, text: str) -> bool:
    """kustomize anchors these expressions."""
    found = fullmatch(pattern, text)
    return pattern == text if found is None else found


def _text(value: Any) -> str:
    """A label as the API server gets it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def has_marks(marks: Mapping[str, Any], selector: Any) -> bool:
    """Whether labels fit a selector, as in `a=b,c!=d,e,!f,g in (x,y),h notin (z)`."""
    if not isinstance(selector, str) or not selector.strip():
        return True
    for term in re.split(r",(?![^(]*\))", selector):
        one = term.strip()
        inside = re.fullmatch(r"(\S+)\s+(in|notin)\s+\(([^)]*)\)", one)
        if inside:
            among = _text(marks.get(inside[1])) in [value.strip() for value in inside[3].split(",")]
            fits = (inside[1] in marks and among) if inside[2] == "in" else not (inside[1] in marks and among)
        elif "!=" in one:
            key, _, value = one.partition("!=")
            fits = _text(marks.get(key.strip(), "")) != value.strip()
        elif "=" in one:
            key, _, value = one.replace("==", "=").partition("=")
            fits = key.strip() in marks and _text(marks[key.strip()]) == value.strip()
        elif one.startswith("!"):
            fits = one[1:].strip() not in marks
        else:
            fits = one in marks
        if not fits:
            return False
    return True


def _merge(base: Any, patch: Mapping[str, Any], lists: bool) -> dict[str, Any]:
    found = dict(mapping(base))
    if patch.get(_DIRECTIVE) == "replace":
        return {key: value for key, value in patch.items() if key != _DIRECTIVE}
    for key, value in patch.items():
        if key == _DIRECTIVE:
            continue
        if value is None:
            found.pop(key, None)
        elif isinstance(value, Mapping):
            if value.get(_DIRECTIVE) == "delete":
                found.pop(key, None)
            else:
                found[key] = _merge(found.get(key), value, lists)
        elif isinstance(value, list) and lists and (field := _merge_key(value, found.get(key))):
            found[key] = _merge_lists(items(found.get(key)), value, field)
        else:
            found[key] = value
    return found


def _merge_key(patch: list[Any], base: Any) -> str | None:
    both = [*patch, *items(base)]
    return next((k for k in _MERGE_KEYS if both and all(isinstance(e, Mapping) and k in e for e in both)), None)


def _merge_lists(base: Iterable[Any], patch: Iterable[Any], field: str) -> list[Any]:
    found = {entry[field]: entry for entry in base}
    for entry in patch:
        if entry.get(_DIRECTIVE) == "delete":
            found.pop(entry[field], None)
        else:
            found[entry[field]] = _merge(found.get(entry[field]), entry, lists=True)
    return list(found.values())


def _json_patch(document: Mapping[str, Any], operations: Iterable[Any]) -> Mapping[str, Any]:
    """The document after the operations that fit it; kustomize fails over one that does not."""
    found = copy.deepcopy(dict(document))
    for operation in operations:
        steps = [s.replace("~1", "/").replace("~0", "~") for s in str(dig(operation, "path") or "").split("/")[1:]]
        verb = dig(operation, "op")
        if not steps or verb not in ("add", "replace", "remove"):
            continue
        parent: Any = found
        for step in steps[:-1]:
            parent = _step(parent, step, verb == "add")
        _operate(parent, steps[-1], verb, dig(operation, "value"))
    return found


def _step(parent: Any, step: str, make: bool) -> Any:
    if isinstance(parent, list):
        return parent[int(step)] if step.isdigit() and int(step) < len(parent) else None
    if isinstance(parent, dict):
        if make and parent.get(step) is None:
            parent[step] = {}
        return parent.get(step)
    return None


def _operate(parent: Any, last: str, verb: str, value: Any) -> None:
    if isinstance(parent, list):
        index = len(parent) if last == "-" else int(last) if last.isdigit() else len(parent)
        if verb == "add":
            parent.insert(index, value)
        elif index < len(parent):
            if verb == "remove":
                parent.pop(index)
            else:
                parent[index] = value
    elif isinstance(parent, dict):
        if verb == "remove":
            parent.pop(last, None)
        else:
            parent[last] = value


def patched(document: Document, patches: Iterable[Any]) -> Document:
    """A document after patches as Flux and kustomize write them inline."""
    found = apply_all([document], read_patches(patches, lambda _: None), with_content)
    return found[0] if found else document


def read_patches(given: Iterable[Any], read: Any) -> list[Patch]:
    """Patches with their content; `read` gives the text of a patch file."""
    found: list[Patch] = []
    for entry in given:
        target = dig(entry, "target")
        inline, path = dig(entry, "patch"), dig(entry, "path")
        text = inline if isinstance(inline, str) else None
        if text is not None and "\n" not in text and text.endswith(SUFFIXES):
            # patchesStrategicMerge lists files, or patches as they are.
            text, path = None, text
        if text is None and isinstance(path, str):
            text = read(path)
        if text is None:
            continue
        try:
            contents = list(yaml.load_all(text, Loader=_CLOADER))
        except (yaml.YAMLError, RecursionError):
            continue
        options = mapping(dig(entry, "options"))
        found += [Patch(c, target if isinstance(target, Mapping) else None, options) for c in contents if c]
    return [patch for patch in found if patch.target is not None or isinstance(patch.content, Mapping)]
