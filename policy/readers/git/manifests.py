"""Reads the YAML files of a tree into documents with their lines. Errors name file and line, never content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from secret_authority.core.errors import Problem

SUFFIXES = (".yaml", ".yml", ".json")
_SKIPPED = frozenset({"node_modules", "__pycache__"})


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The safe loader, as Kubernetes reads YAML: no dates, a lone = is text, tags of other tools are passed over."""


class _Lenient(yaml.SafeLoader):
    """The same in Python, which also lets a document give one anchor twice, as YAML 1.2 does. Slow."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if not self.check_event(yaml.AliasEvent):
            self.anchors.pop(self.peek_event().anchor, None)  # type: ignore[no-untyped-call]
        return super().compose_node(parent, index)


def _untagged(loader: Any, _suffix: str, node: Any) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    sequence = isinstance(node, yaml.SequenceNode)
    return loader.construct_sequence(node, deep=True) if sequence else loader.construct_mapping(node, deep=True)


for _each in (_Loader, _Lenient):
    _each.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in ("timestamp", "value")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    _each.add_multi_constructor("!", _untagged)


@dataclass(frozen=True)
class Document:
    """One mapping of a file. `line` counts from 1; `file` is relative to the root of the tree."""

    file: str
    line: int
    content: Mapping[str, Any]

    @property
    def is_manifest(self) -> bool:
        return isinstance(self.content.get("apiVersion"), str) and isinstance(self.content.get("kind"), str)


def parse(text: str, file: str) -> tuple[list[Document], list[Problem]]:
    """Documents of a text, and what is wrong with it."""
    try:
        return _parse(text, file, _Loader), []
    except yaml.YAMLError:
        pass
    try:
        return _parse(text, file, _Lenient), []
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else ""
        return [], [Problem(file, where, "is not valid YAML", "correct the syntax there")]


def _parse(text: str, file: str, kind: Any) -> list[Document]:
    found: list[Document] = []
    loader = kind(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            content = loader.construct_document(node)
            if isinstance(content, Mapping):
                found.append(Document(file, node.start_mark.line + 1, content))
    finally:
        loader.dispose()
    return found


def read_file(root: Path, file: str) -> tuple[list[Document], list[Problem]]:
    """Documents of a file of the tree."""
    try:
        text = (root / file).read_text()
    except UnicodeDecodeError:
        return [], [Problem(file, "", "is not UTF-8 text", "store it as text, or give it another suffix")]
    except OSError as error:
        return [], [Problem(file, "", f"cannot be read: {error.strerror}", "check the link or the permissions")]
    return parse(text, file)


def yaml_files(root: Path) -> Iterator[str]:
    """Paths of YAML and JSON files below the root, sorted. Hidden folders and chart templates are passed over."""
    stack = [root]
    found: list[str] = []
    while stack:
        folder = stack.pop()
        is_chart = (folder / "Chart.yaml").exists()
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                hidden = path.name.startswith(".") or path.name in _SKIPPED
                if not hidden and not (is_chart and path.name in ("templates", "charts", "crds")):
                    stack.append(path)
            elif path.suffix in SUFFIXES and not path.name.startswith(".") and path.is_file():
                found.append(str(path.relative_to(root)))
    yield from sorted(found)
