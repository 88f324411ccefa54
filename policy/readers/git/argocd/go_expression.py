"""Expressions of Go templates as ApplicationSets use them: fields, and calls of simple functions of sprig."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import yaml

from policy.go_regex import replace_all
from policy.inventory.resource import items, mapping, walk
from secret_authority.core.claims.locations import Unknown

_TOKEN = re.compile(r'\s*(?:("(?:[^"\\]|\\.)*")|(`[^`]*`)|(-?\d+)\b|(\.[\w.]*|\$[\w.]*)|([A-Za-z]\w*)|([()|]))')


# Keys of the scope of a template: what `.` is inside of range and with, and what `$` is.
DOT = "\0."
ROOT = "$"


class UnsupportedError(Exception):
    """The expression has something that is not evaluated here."""


def evaluate(expression: str, parameters: Mapping[str, Any]) -> Any:
    """The value of an expression over parameters; `Unknown` where it depends on one.

    Raises `UnsupportedError` for what is not a field or a call of a known function.
    """
    tokens = _tokens(expression)
    value, rest = _pipeline(tokens, parameters)
    if rest:
        raise UnsupportedError(expression)
    return value


def _tokens(expression: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    position = 0
    text = expression.strip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise UnsupportedError(expression)
        position = match.end()
        string, raw, number, field, name, mark = match.groups()
        if string is not None:
            try:
                found.append(("value", json.loads(string)))
            except ValueError:
                raise UnsupportedError(expression) from None
        elif raw is not None:
            found.append(("value", raw[1:-1]))
        elif number is not None:
            found.append(("value", int(number)))
        elif field is not None:
            found.append(("field", field))
        elif name in ("true", "false"):
            found.append(("value", name == "true"))
        else:
            found.append(("name", name) if name is not None else (mark, mark))
    return found


def _pipeline(
    tokens: Sequence[tuple[str, Any]], parameters: Mapping[str, Any]
) -> tuple[Any, Sequence[tuple[str, Any]]]:
    value, rest = _command(tokens, parameters, ())
    while rest and rest[0][0] == "|":
        value, rest = _command(rest[1:], parameters, (value,))
    return value, rest


def _command(
    tokens: Sequence[tuple[str, Any]], parameters: Mapping[str, Any], last: tuple[Any, ...]
) -> tuple[Any, Sequence[tuple[str, Any]]]:
    if not tokens:
        raise UnsupportedError
    if tokens[0][0] != "name":
        value, rest = _operand(tokens, parameters)
        if last:
            raise UnsupportedError
        return value, rest
    name, rest = tokens[0][1], tokens[1:]
    given: list[Any] = []
    while rest and rest[0][0] in ("value", "field", "("):
        value, rest = _operand(rest, parameters)
        given.append(value)
    return _call(name, [*given, *last]), rest


def _operand(tokens: Sequence[tuple[str, Any]], parameters: Mapping[str, Any]) -> tuple[Any, Sequence[tuple[str, Any]]]:
    kind, value = tokens[0]
    if kind == "value":
        return value, tokens[1:]
    if kind == "field":
        found: Any = parameters.get(DOT, parameters) if value.startswith(".") else parameters
        for step in filter(None, value.split(".")):
            if isinstance(found, Unknown):
                break
            if step.startswith("$") and step not in parameters:
                raise UnsupportedError(step)
            found = mapping(found).get(step)
        return found, tokens[1:]
    if kind == "(":
        found, rest = _pipeline(tokens[1:], parameters)
        if not rest or rest[0][0] != ")":
            raise UnsupportedError
        return found, rest[1:]
    raise UnsupportedError


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _dig(given: list[Any]) -> Any:
    *path, fallback, found = given
    for step in path:
        if not isinstance(found, Mapping) or step not in found:
            return fallback
        found = found[step]
    return found


def _index(given: list[Any]) -> Any:
    found = given[0]
    for step in given[1:]:
        if isinstance(step, int):
            listed = items(found)
            found = listed[step] if -len(listed) <= step < len(listed) else None
        else:
            found = mapping(found).get(step)
    return found


_FUNCTIONS: dict[str, tuple[int, Callable[[list[Any]], Any]]] = {
    "default": (2, lambda g: g[1] or g[0]),
    "dig": (3, _dig),
    "index": (2, _index),
    "get": (2, lambda g: mapping(g[0]).get(g[1], "")),
    "hasKey": (2, lambda g: g[1] in mapping(g[0])),
    "eq": (2, lambda g: g[0] == g[1]),
    "ne": (2, lambda g: g[0] != g[1]),
    "ternary": (3, lambda g: g[0] if g[2] else g[1]),
    "printf": (1, lambda g: _printf(g)),
    "lower": (1, lambda g: _text(g[0]).lower()),
    "upper": (1, lambda g: _text(g[0]).upper()),
    "trim": (1, lambda g: _text(g[0]).strip()),
    "trimPrefix": (2, lambda g: _text(g[1]).removeprefix(_text(g[0]))),
    "trimSuffix": (2, lambda g: _text(g[1]).removesuffix(_text(g[0]))),
    "replace": (3, lambda g: _text(g[2]).replace(_text(g[0]), _text(g[1]))),
    "regexReplaceAll": (3, lambda g: _regex_replace(*map(_text, g[:3]))),
    "contains": (2, lambda g: _text(g[0]) in _text(g[1])),
    "hasPrefix": (2, lambda g: _text(g[1]).startswith(_text(g[0]))),
    "hasSuffix": (2, lambda g: _text(g[1]).endswith(_text(g[0]))),
    "splitList": (2, lambda g: _text(g[1]).split(_text(g[0]))),
    "first": (1, lambda g: _index([g[0], 0])),
    "last": (1, lambda g: items(g[0])[-1] if items(g[0]) else None),
    "join": (2, lambda g: _text(g[0]).join(map(_text, items(g[1])))),
    "base": (1, lambda g: PurePosixPath(_text(g[0])).name),
    "dir": (1, lambda g: str(PurePosixPath(_text(g[0])).parent)),
    "coalesce": (1, lambda g: next((value for value in g if value), None)),
    "toString": (1, lambda g: _text(g[0])),
    "quote": (1, lambda g: json.dumps(_text(g[0]), ensure_ascii=False)),
    "squote": (1, lambda g: "'" + _text(g[0]).replace("'", "''") + "'"),
    "or": (1, lambda g: next((value for value in g if value), g[-1])),
    "and": (1, lambda g: next((value for value in g if not value), g[-1])),
    "not": (1, lambda g: not g[0]),
    "empty": (1, lambda g: not g[0]),
    "has": (2, lambda g: g[0] in items(g[1])),
    "list": (0, list),
    "dict": (0, lambda g: dict(zip(map(_text, g[::2]), g[1::2], strict=True))),
    "len": (1, lambda g: len(g[0]) if isinstance(g[0], str | list | Mapping) else 0),
    "keys": (1, lambda g: sorted(mapping(g[0]))),
    "nindent": (2, lambda g: "\n" + _indented(g)),
    "indent": (2, lambda g: _indented(g)),
    "toYaml": (1, lambda g: _dumped(yaml.safe_dump(_plain(g[0]), sort_keys=True, width=1 << 30))),
    "toJson": (1, lambda g: _dumped(json.dumps(_plain(g[0]), ensure_ascii=False))),
    "normalize": (1, lambda g: re.sub(r"[^a-z0-9.-]", "-", _text(g[0]).lower())),
}


def _indented(given: list[Any]) -> str:
    if not isinstance(given[0], int) or not 0 <= given[0] <= 100:
        raise UnsupportedError("indent")
    return "\n".join(" " * given[0] + line for line in _text(given[1]).split("\n"))


def _plain(value: Any) -> Any:
    """A value that can be written out; one with an unknown part cannot."""
    for _, inner in walk(value):
        if not (inner is None or isinstance(inner, str | int | float | bool)):
            raise UnsupportedError("a value that cannot be written out")
    return value


def _dumped(text: str) -> str:
    return text.removesuffix("...\n").rstrip("\n")


def _regex_replace(pattern: str, text: str, replacement: str) -> str:
    """As regexp.ReplaceAllString of Go, whose ${1} is \\1 here."""
    template = re.sub(r"\$(?:\{(\d)\}|(\d)(?!\w))", r"\\\1\2", replacement.replace("\\", r"\\"))
    replaced = replace_all(pattern, template, text)
    if "$" in template or replaced is None:
        raise UnsupportedError(pattern)
    return replaced


def _printf(given: list[Any]) -> str:
    pieces = re.split(r"%[svd]", given[0])
    if len(pieces) != len(given) or "%" in "".join(pieces):
        raise UnsupportedError
    return "".join(piece + _text(value) for piece, value in zip(pieces, [*given[1:], ""], strict=True))


def _call(name: str, given: list[Any]) -> Any:
    arity, function = _FUNCTIONS.get(name, (0, None))
    if function is None or len(given) < arity:
        raise UnsupportedError(name)
    unknown = next(_unknowns(given), None)
    return unknown if unknown is not None else function(given)


def _unknowns(given: Sequence[Any]) -> Iterator[Unknown]:
    yield from (value for value in given if isinstance(value, Unknown))
