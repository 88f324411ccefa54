"""Reads YAML (and JSON) files of a repository into documents, with the file named in every error.

One dialect for everything that this project reads: the core schema of YAML 1.2 with the booleans of YAML 1.1, no
timestamps, no key twice. Where YAML 1.1 and 1.2 differ, an unquoted scalar counts as text only if it is text in both of
them, so that a name that one program would take for a number is never taken for a text here.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import yaml

from secret_authority.core.errors import InvalidInputError, Problem
from secret_authority.core.kubernetes_secrets import decode_base64

SUFFIXES = (".yaml", ".yml", ".json")
_Base: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BOM = b"\xef\xbb\xbf"
# What some YAML readers take for an end of a line and others do not.
_ODD_LINE_END = re.compile("\r(?!\n)|[\x85\u2028\u2029]")

_NULL = re.compile(r"^(?:~|null|Null|NULL|)$")
_BOOL = re.compile(r"^(?:yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$")
_INT = re.compile(r"^[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)$")
_FLOAT = re.compile(r"^[-+]?(?:(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))$")
_NAN = re.compile(r"^\.(?:nan|NaN|NAN)$")
_SIXTIES = re.compile(r"^[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?$")


def _refuse_key_twice(loader: Any, node: Any) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = loader.construct_object(key_node, deep=True)
            if isinstance(key, Hashable):
                if key in seen:
                    raise yaml.constructor.ConstructorError(None, None, "a key is there twice", key_node.start_mark)
                seen.add(key)


class _Loader(_Base):  # type: ignore[misc, valid-type]
    """A safe loader that refuses a key that is there twice."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        _refuse_key_twice(self, node)
        found: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
        return found


class _BinaryLoader(yaml.SafeLoader):
    """Reads `!!binary` as well: for values that a person gives, never for files of a repository.

    In Python, whose parser names the line of an error more exactly.
    """

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}  # type: ignore[misc]

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        _refuse_key_twice(self, node)
        found: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
        return found


def _construct_number(loader: Any, node: Any) -> int | float:
    """The number; of one that is written in a way that only some programs read, that it is not text is enough."""
    text = str(loader.construct_scalar(node)).replace("_", "")
    try:
        return int(text, 0 if re.match(r"[-+]?0[box]", text) else 10)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return float("nan")


for _tag, _pattern, _first in (
    ("bool", _BOOL, list("yYnNtTfFoO")),
    ("null", _NULL, ["~", "n", "N", ""]),
    ("int", _INT, list("-+0123456789")),
    ("float", _FLOAT, list("-+0123456789.")),
    ("float", _NAN, ["."]),
    ("float", _SIXTIES, list("-+0123456789")),
    ("merge", re.compile(r"^<<$"), ["<"]),
):
    for _each in (_Loader, _BinaryLoader):
        _each.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, _first)
for _tag in ("int", "float"):
    for _each in (_Loader, _BinaryLoader):
        _each.add_constructor(f"tag:yaml.org,2002:{_tag}", _construct_number)


def _construct_bytes(loader: Any, node: Any) -> bytes:
    found = decode_base64("".join(str(loader.construct_scalar(node)).split()))
    if found is None:
        raise ValueError("not base64")
    return found


_BinaryLoader.add_constructor("tag:yaml.org,2002:binary", _construct_bytes)


@dataclass(frozen=True)
class Document:
    """One document of a file. `text` is its source, without the line that separates it from others."""

    value: Any
    text: str


def read_text(path: Path, shown: str) -> str:
    """The text of a file. Raises `InvalidInputError` for what cannot be read or is not UTF-8 without a mark."""
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
        raise InvalidInputError([Problem(shown, "", reason, "check the path")]) from None
    if content.startswith(_BOM):
        fix = "save the file as UTF-8 without a byte order mark"
        raise InvalidInputError([Problem(shown, "", "starts with a byte order mark", fix)])
    try:
        return content.decode()
    except UnicodeDecodeError:
        problem = Problem(shown, "", "cannot be read: is not UTF-8 text", "save the file as UTF-8")
        raise InvalidInputError([problem]) from None


def load_documents(text: str, shown: str, binary: bool = False) -> list[Any]:
    """Every document of a text, an empty one as None. With `binary`, a value tagged `!!binary` is read as bytes.

    Raises `InvalidInputError` when it is not YAML or has a key twice. The message gives line and column but never
    the text, which may hold a secret.
    """
    try:
        return list(yaml.load_all(text, Loader=_BinaryLoader if binary else _Loader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        if getattr(error, "problem", "") == "a key is there twice":
            raise InvalidInputError([Problem(shown, where, "a key is there twice", "remove one of them")]) from None
        problem = Problem(shown, where, "is not valid YAML", "correct the syntax there")
    except (ValueError, TypeError, OverflowError):
        problem = Problem(shown, "", "is not valid YAML: a tag does not fit its value", "remove the tag")
    except RecursionError:
        problem = Problem(shown, "", "is nested too deeply", "write it with fewer levels")
    raise InvalidInputError([problem])


def refuse_changed_line_ends(text: str, shown: str) -> None:
    """Raises `InvalidInputError` where YAML would change an end of line inside of a value.

    For files with values that a person gives. YAML reads CRLF as a line feed, and U+0085 and lone CR as ends of lines.
    """
    fix = 'write the value in double quotes on one line, with escapes such as "\\r\\n"'
    lines = text.split("\n")
    if odd := _ODD_LINE_END.search(text):
        line = text.count("\n", 0, odd.start()) + 1
        what = "has an end of line that YAML would change"
        raise InvalidInputError([Problem(shown, f"line {line}", what, fix)])
    if "\r" not in text:
        return
    try:
        for event in cast(Iterator[Any], yaml.parse(text, Loader=_Base)):
            first, last = event.start_mark.line, event.end_mark.line
            if isinstance(event, yaml.ScalarEvent) and any(line.endswith("\r") for line in lines[first:last]):
                where = f"line {first + 1}"
                what = "has a value whose ends of lines YAML would change to line feeds"
                raise InvalidInputError([Problem(shown, where, what, fix)])
    except (yaml.YAMLError, RecursionError):
        return  # whoever reads the text says so


def read_documents(path: Path, shown: str) -> list[Any]:
    """Every document of a file that is not empty. `shown` is the name of the file in messages.

    Raises `InvalidInputError`, see `read_text` and `load_documents`.
    """
    return [document for document in load_documents(read_text(path, shown), shown) if document is not None]


def read_sources(path: Path, shown: str) -> list[Document]:
    """Every document of a file that is not empty, each with its own source text.

    Only what every reader divides in the same way: documents begin with a line `---`. Directives, `...`, text behind
    `---`, anchors, aliases, tags and odd line ends are refused. Raises `InvalidInputError`.
    """
    text = read_text(path, shown)
    if odd := _ODD_LINE_END.search(text):
        line = text.count("\n", 0, odd.start()) + 1
        fix = "end every line with a line feed"
        raise InvalidInputError([Problem(shown, f"line {line}", "has an end of line that is no line feed", fix)])
    values = load_documents(text, shown)
    lines = text.split("\n")
    starts: list[int] = []
    try:
        for event in cast(Iterator[Any], yaml.parse(text, Loader=_Base)):
            _refuse(event, shown)
            if isinstance(event, yaml.DocumentStartEvent):
                line = cast(yaml.Mark, event.start_mark).line if event.explicit else 0
                starts.append(line)
                if event.explicit and not re.fullmatch(r"---\s*(#.*)?", lines[line]):
                    where = f"line {line + 1}"
                    problem = Problem(shown, where, "has text behind ---", "begin the document on the next line")
                    raise InvalidInputError([problem])
    except RecursionError:
        problem = Problem(shown, "", "is nested too deeply", "write it with fewer levels")
        raise InvalidInputError([problem]) from None
    ends = [*starts[1:], len(lines)][: len(starts)]
    found = zip(values, starts, ends, strict=True)
    return [Document(value, "\n".join(lines[start:end]) + "\n") for value, start, end in found if value is not None]


def _refuse(event: Any, shown: str) -> None:
    what = ""
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
        what, fix = "has an anchor or an alias", "write the value out"
    elif getattr(event, "tag", None):
        what, fix = "has a tag", "remove it, and put texts in quotes"
    elif isinstance(event, yaml.DocumentStartEvent) and (event.version or event.tags):
        what, fix = "has a directive", "remove the line that begins with %"
    elif isinstance(event, yaml.DocumentEndEvent) and event.explicit:
        what, fix = "ends a document with ...", "separate documents with ---"
    if what:
        raise InvalidInputError([Problem(shown, f"line {event.start_mark.line + 1}", what, fix)])


def yaml_files(root: Path) -> Iterator[Path]:
    """YAML and JSON files below `root` in a stable order, hidden ones as well: Flux applies them.

    Symbolic links are no files here: Flux leaves them out of what it fetches.
    """
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root).parts
        if path.suffix in SUFFIXES and ".git" not in inside and path.is_file() and not has_link(root, path):
            yield path


def has_link(root: Path, path: Path) -> bool:
    """Whether `path`, or a folder between `root` and it, is a symbolic link."""
    return path.is_symlink() or any(p.is_symlink() for p in path.parents if p != root and root in p.parents)
