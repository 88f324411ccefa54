"""Reads the YAML files of a tree into documents with their lines. Errors name file and line, never content.

Most manifests are read by `plain_yaml`, JSON by the standard library. For the rest objects are built from libyaml's
nodes here, not by PyYAML's constructor, which takes two thirds of the time.
"""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from policy.readers.git.files import plain_yaml
from policy.readers.git.files.hidden import COPIES
from policy.readers.git.files.plain_yaml import scalar
from secret_authority.core.errors import Problem

SUFFIXES = (".yaml", ".yml", ".json")
_SKIPPED = frozenset({"node_modules", "__pycache__"})
# Folders of a chart that helm reads, and nobody else.
_CHART = frozenset({"templates", "charts", "crds"})
# No document with more nesting, or more nodes by aliases, is a manifest.
_MAX_DEPTH = 200
_MAX_NODES = 2_000_000
# Nearly all manifests are read at once.
_CHUNK = 1 << 16


class _NotYamlError(yaml.YAMLError):
    """What libyaml accepts and no manifest can be: endless nesting, a mapping as a key."""


class _Parser(getattr(yaml, "cyaml").CParser if yaml.__with_libyaml__ else yaml.SafeLoader):  # type: ignore[misc] # noqa: B009
    """Composes nodes and resolves no tags: that is done when objects are built."""

    def descend_resolver(self, _node: Any, _index: Any) -> None:
        """No path resolvers here."""

    def ascend_resolver(self) -> None:
        """No path resolvers here."""

    def resolve(self, _kind: Any, value: Any, implicit: Any) -> str:
        """Whether a scalar is plain is all that its tag has to say."""
        return "plain" if isinstance(implicit, tuple) and implicit[0] else "quoted"


class _Lenient(yaml.SafeLoader):
    """The same in Python, which also lets a document give one anchor twice, as YAML 1.2 does. Slow."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if not self.check_event(yaml.AliasEvent):
            self.anchors.pop(self.peek_event().anchor, None)  # type: ignore[no-untyped-call]
        return super().compose_node(parent, index)

    def descend_resolver(self, _node: Any, _index: Any) -> None:
        """No path resolvers here."""

    def ascend_resolver(self) -> None:
        """No path resolvers here."""

    def resolve(self, _kind: Any, value: Any, implicit: Any) -> str:
        """As above."""
        return "plain" if isinstance(implicit, tuple) and implicit[0] else "quoted"


@dataclass(frozen=True)
class Document:
    """One mapping of a file. `line` counts from 1; `file` is relative to the root of the tree."""

    file: str
    line: int
    content: Mapping[str, Any]
    # (name, namespace) that it had before a build changed them: patches may still call it so.
    previous: tuple[tuple[Any, Any], ...] = ()

    @property
    def is_manifest(self) -> bool:
        return isinstance(self.content.get("apiVersion"), str) and isinstance(self.content.get("kind"), str)


class _Builder:
    """Objects from nodes: scalars as Kubernetes reads them, other tools' tags passed over, merge keys applied."""

    def __init__(self) -> None:
        self._nodes = 0

    def build(self, node: Any, depth: int = 0) -> Any:
        self._nodes += 1
        if depth > _MAX_DEPTH or self._nodes > _MAX_NODES:
            raise _NotYamlError("is nested too deeply")
        if isinstance(node, yaml.ScalarNode):
            return scalar(node.value) if node.tag == "plain" else node.value
        if isinstance(node, yaml.SequenceNode):
            return [self.build(inner, depth + 1) for inner in node.value]
        found: dict[Any, Any] = {}
        for key, value in node.value:
            if key.tag == "plain" and key.value == "<<":
                for merged in value.value if isinstance(value, yaml.SequenceNode) else (value,):
                    inner = self.build(merged, depth + 1)
                    if isinstance(inner, dict):
                        found = {**inner, **found}
                continue
            if not isinstance(key, yaml.ScalarNode):
                raise _NotYamlError("has a key that is not a scalar")
            # A key of JSON is text: sigs.k8s.io/yaml turns 80: into "80":.
            found[key.value] = self.build(value, depth + 1)
        return found


def parse(text: str, file: str) -> tuple[list[Document], list[Problem]]:
    """Documents of a text, and what is wrong with it."""
    if text[:1] == "{" and file.endswith(".json"):
        try:
            content = json.loads(text)
            return ([Document(file, 1, content)] if isinstance(content, Mapping) else []), []
        except (ValueError, RecursionError):
            pass
    if (plain := plain_yaml.read(text)) is not None:
        return [Document(file, line, content) for line, content in plain], []
    try:
        return parse_with_libyaml(text, file), []
    except (yaml.YAMLError, RecursionError):
        pass
    try:
        return _parse(text, file, _Lenient), []
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else ""
        return [], [Problem(file, where, "is not valid YAML", "correct the syntax there")]


def parse_with_libyaml(text: str, file: str) -> list[Document]:
    """Documents of a text, by libyaml. Raises `yaml.YAMLError` or `RecursionError` for what is no YAML."""
    return _parse(text, file, _Parser)


def _parse(text: str, file: str, kind: Any) -> list[Document]:
    found: list[Document] = []
    loader = kind(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            if isinstance(node, yaml.MappingNode):
                found.append(Document(file, node.start_mark.line + 1, _Builder().build(node)))
    finally:
        loader.dispose()
    return found


def _all_of(opened: int) -> bytes:
    content = os.read(opened, _CHUNK)
    # A read may give less than there is; only an empty one says that there is no more.
    while more := os.read(opened, _CHUNK):
        content += more
    return content


def read_text(root: Path, file: str) -> tuple[str, list[Problem]]:
    """The text of a file of the tree, and why it has none."""
    try:
        # Path and file objects cost more than the reading itself.
        opened = os.open(f"{root}/{file}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            content = _all_of(opened)
        finally:
            os.close(opened)
        if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            # YAML may be UTF-16 too, with a mark at its start.
            return content.decode("utf-16"), []
        return content.removeprefix(b"\xef\xbb\xbf").decode(), []
    except UnicodeDecodeError:
        return "", [Problem(file, "", "is not UTF-8 text", "store it as text, or give it another suffix")]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its name is not one"
        return "", [Problem(file, "", f"cannot be read: {reason}", "check the link or the permissions")]


def read_file(root: Path, file: str) -> tuple[list[Document], list[Problem]]:
    """Documents of a file of the tree."""
    text, problems = read_text(root, file)
    return parse(text, file) if text else ([], problems)


@dataclass(frozen=True)
class Files:
    """The files of a tree by what reads them, each sorted."""

    # YAML and JSON outside of chart templates.
    manifests: tuple[str, ...]
    # Folder of a chart -> the files below its templates.
    charts: Mapping[str, tuple[str, ...]]
    # Folders with a file that is named Kustomization, without a suffix.
    bare_kustomizations: frozenset[str]
    # The same of hidden folders, which are read where something needs them.
    hidden: Files | None = None

    def without(self, left_out: Callable[[str], bool]) -> Files:
        """The files without some."""
        return Files(
            tuple(file for file in self.manifests if not left_out(file)),
            {folder: files for folder, files in self.charts.items() if not left_out(f"{folder}/Chart.yaml")},
            frozenset(f for f in self.bare_kustomizations if not left_out(f"{f}/Kustomization")),
            self.hidden.without(left_out) if self.hidden else None,
        )

    def showing(self, paths: Collection[str]) -> Files:
        """The files with some of those in hidden folders among the others."""
        if self.hidden is None:
            return self

        def is_shown(file: str) -> bool:
            return any(file == path or file.startswith(f"{path}/") for path in paths)

        shown = self.hidden.without(lambda file: not is_shown(file))
        rest = self.hidden.without(is_shown)
        charts = dict(sorted({**self.charts, **shown.charts}.items()))
        return Files(
            tuple(sorted((*self.manifests, *shown.manifests))),
            charts,
            self.bare_kustomizations | shown.bare_kustomizations,
            rest if rest.manifests or rest.charts or rest.bare_kustomizations else None,
        )


def list_files(root: Path) -> Files:
    """What a tree holds."""
    listed, hidden = _Listing(), _Listing()
    stack: list[tuple[str, str | None, _Listing]] = [("", None, listed)]
    while stack:
        folder, chart, into = stack.pop()
        try:
            entries = list(os.scandir(root / folder))
        except OSError:
            continue
        names = {entry.name for entry in entries}
        if chart is None and "Chart.yaml" in names:
            into.charts[folder or "."] = []
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                if entry.name in _SKIPPED or entry.name in COPIES:
                    continue
                inside = chart
                if chart is None and "Chart.yaml" in names and entry.name in _CHART:
                    inside = folder or "."
                stack.append((path, inside, hidden if entry.name.startswith(".") else into))
            elif chart is not None:
                if chart in into.charts and entry.name.endswith((*SUFFIXES, ".tpl")):
                    into.charts[chart].append(path)
            elif entry.name.endswith(SUFFIXES) and not entry.name.startswith(".") and entry.is_file():
                into.manifests.append(path)
            elif entry.name == "Kustomization" and entry.is_file():
                into.bare.add(folder or ".")
    return replace(listed.done(), hidden=hidden.done() if not hidden.is_empty else None)


class _Listing:
    """Files that are being listed."""

    def __init__(self) -> None:
        self.manifests: list[str] = []
        self.charts: dict[str, list[str]] = {}
        self.bare: set[str] = set()

    @property
    def is_empty(self) -> bool:
        return not (self.manifests or self.charts or self.bare)

    def done(self) -> Files:
        charts = {folder: tuple(sorted(found)) for folder, found in sorted(self.charts.items())}
        return Files(tuple(sorted(self.manifests)), charts, frozenset(self.bare))
