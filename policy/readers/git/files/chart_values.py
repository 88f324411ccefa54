"""Values of charts: how helm puts them together, and the manifests that they carry."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from policy.readers.git.files.manifests import parse
from policy.readers.git.files.secret_kinds import in_template

# Values of this name that are text hold manifests; text under others may be a file of the program.
_OF_MANIFESTS = re.compile(r"(extra|additional|raw|manifests?$|objects?$|resources?$|templates?$)", re.IGNORECASE)
_MANIFEST = re.compile(r"^apiVersion:.*^kind:|^kind:.*^apiVersion:", re.MULTILINE | re.DOTALL)
_RELEASE = re.compile(r"\{\{-?\s*\$?\.Release\.(Name|Namespace)\s*-?\}\}")


def carried_manifests(
    values: Any, release: Mapping[str, str] | None = None, depth: int = 0
) -> Iterator[Mapping[str, Any] | str]:
    """Manifests inside of values, such as extraObjects: mappings with apiVersion and kind; text that holds such too.

    `release` has the Name and the Namespace that templates in them ask for. For text that is not YAML until
    it is rendered, the kind about secrets is given.
    """
    if depth > 12:
        return
    if isinstance(values, Mapping):
        api, kind = values.get("apiVersion"), values.get("kind")
        if isinstance(api, str) and isinstance(kind, str) and ("metadata" in values or "spec" in values):
            yield _filled(values, release or {})
            return
        for key, inner in values.items():
            if isinstance(inner, str):
                if _OF_MANIFESTS.match(str(key)):
                    yield from _in_text(inner, release or {})
            else:
                yield from carried_manifests(inner, release, depth + 1)
    elif isinstance(values, list | tuple):
        for inner in values:
            if isinstance(inner, str):
                yield from _in_text(inner, release or {})
            else:
                yield from carried_manifests(inner, release, depth + 1)


def _in_text(text: str, release: Mapping[str, str]) -> Iterator[Mapping[str, Any] | str]:
    if "apiVersion:" not in text or _MANIFEST.search(text) is None:
        return
    documents, problems = parse(_filled(text, release), "")
    yield from (document.content for document in documents if document.is_manifest)
    kind = in_template(text) if problems or not documents else None
    if kind is not None:
        yield kind


def _filled(value: Any, release: Mapping[str, str]) -> Any:
    """A value with the fields of the release in place; other templates stay."""
    if isinstance(value, str):
        return _RELEASE.sub(lambda m: release.get(m[1], m[0]), value) if "{{" in value else value
    if isinstance(value, Mapping):
        return {key: _filled(inner, release) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(inner, release) for inner in value]
    return value


def merged(values: Any, over: Any) -> Any:
    """Values with others over them, as helm merges them."""
    if not (isinstance(values, Mapping) and isinstance(over, Mapping)):
        return over
    both = {**values}
    for key, value in over.items():
        both[key] = merged(both[key], value) if key in both else value
    return both


def nested(name: str, value: Any) -> dict[str, Any]:
    """Values for a name with dots, as `--set` reads a simple one. Raises `ValueError` for what is more than that."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", name):
        raise ValueError(name)
    found: Any = value
    for step in reversed(name.split(".")):
        found = {step: found}
    return dict(found)


def values_in(text: Any, file: str) -> Any:
    """The values that a text holds as YAML; none for anything that is not text."""
    documents = parse(text, file)[0] if isinstance(text, str) else []
    return dict(documents[0].content) if documents else {}
