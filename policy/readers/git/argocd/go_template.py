"""Go templates with statements, as templatePatch of an ApplicationSet has them: if, range, with, variables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from policy.inventory.resource import walk
from policy.readers.git.argocd.go_expression import DOT, ROOT, UnsupportedError, evaluate
from secret_authority.core.claims.locations import Unknown

_ACTION = re.compile(r"(\s*)\{\{(-(?=\s))?\s*(/\*.*?\*/|.*?)\s*((?<=\s)-)?\}\}", re.DOTALL)
_ASSIGNMENT = re.compile(r"^(\$\w+)\s*:?=\s*(.*)$", re.DOTALL)
_RANGE = re.compile(r"^range\s+(?:(\$\w+)\s*(?:,\s*(\$\w+)\s*)?:=\s*)?(.*)$", re.DOTALL)
# Stands for a value that is not known in the text that is made.
_MARK = re.compile(r"\ue000(\d+)\ue001")
_MAX_TEXT = 1_000_000


@dataclass(frozen=True)
class _Action:
    text: str


class _Rendering:
    def __init__(self) -> None:
        self.unknown: list[Unknown] = []
        self.size = 0

    def text_of(self, value: Any) -> str:
        if isinstance(value, Unknown):
            self.unknown.append(value)
            return f"\ue000{len(self.unknown) - 1}\ue001"
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, str | int | float):
            return str(value)
        # Go would write "<no value>", or its own notation of a list.
        raise UnsupportedError("a value that is not a scalar")


def render(text: str, parameters: Mapping[str, Any]) -> tuple[str, list[Unknown]]:
    """The text that a template gives, and the unknown values in it, each marked by its number.

    Raises `UnsupportedError` for what is not evaluated here, or depends on a value that is not known.
    """
    pieces = list(_pieces(text))
    rendering = _Rendering()
    made, rest = _block(pieces, 0, {**parameters, ROOT: parameters}, rendering, ())
    if rest != len(pieces):
        raise UnsupportedError("unbalanced statements")
    return made, rendering.unknown


def with_unknown(value: Any, unknown: Sequence[Unknown]) -> Any:
    """A value of a parsed text with its marks turned into unknown values."""
    if isinstance(value, Mapping):
        return {key: with_unknown(inner, unknown) for key, inner in value.items()}
    if isinstance(value, list):
        return [with_unknown(inner, unknown) for inner in value]
    if not isinstance(value, str) or not (marks := _MARK.findall(value)):
        return value
    first = unknown[int(marks[0])]
    same = _MARK.sub(lambda m: f"<{unknown[int(m[1])].same}>", value) if first.same else None
    return Unknown(first.field, shape=_MARK.sub("*", value), same=same)


def _pieces(text: str) -> Iterator[str | _Action]:
    position, trim = 0, False
    for match in _ACTION.finditer(text):
        before = text[position : match.start()] + ("" if match[2] else match[1])
        yield (before.lstrip() if trim else before).rstrip() if match[2] else (before.lstrip() if trim else before)
        if not match[3].startswith("/*"):
            yield _Action(match[3])
        position, trim = match.end(), bool(match[4])
    yield text[position:].lstrip() if trim else text[position:]


def _block(
    pieces: Sequence[str | _Action], at: int, scope: Mapping[str, Any], rendering: _Rendering, ends: Sequence[str]
) -> tuple[str, int]:
    """The text from a piece on, and the number of the piece that ends it."""
    made: list[str] = []
    own = dict(scope)
    while at < len(pieces):
        piece = pieces[at]
        if isinstance(piece, str):
            made.append(piece)
            rendering.size += len(piece)
            at += 1
        else:
            word = piece.text.split(None, 1)[0] if piece.text else ""
            if word in ("end", "else"):
                if not ends:
                    raise UnsupportedError(word)
                return "".join(made), at
            if word in ("if", "with", "range"):
                text, at = _statement(pieces, at, own, rendering)
                made.append(text)
            elif word in ("template", "define", "block", "include", "break", "continue"):
                raise UnsupportedError(word)
            elif (assigned := _ASSIGNMENT.match(piece.text)) is not None:
                own[assigned[1]] = evaluate(assigned[2], own)
                at += 1
            else:
                made.append(rendering.text_of(evaluate(piece.text, own)))
                at += 1
        if rendering.size > _MAX_TEXT:
            raise UnsupportedError("too much text")
    if ends:
        raise UnsupportedError("a statement without an end")
    return "".join(made), at


def _statement(
    pieces: Sequence[str | _Action], at: int, scope: Mapping[str, Any], rendering: _Rendering
) -> tuple[str, int]:
    opening = pieces[at]
    branches, end = _branches(pieces, at)
    text = opening.text if isinstance(opening, _Action) else ""
    if (loop := _RANGE.match(text)) is not None:
        listed = _known(evaluate(loop[3], scope))
        if isinstance(listed, Mapping):
            pairs = sorted(listed.items(), key=lambda pair: str(pair[0]))
        elif listed is None or isinstance(listed, list):
            pairs = list(enumerate(listed or ()))
        else:
            raise UnsupportedError("a range over what is no list")
        if not pairs:
            return (_inside(pieces, branches[1][1], scope, rendering) if len(branches) > 1 else ""), end + 1
        made = []
        for key, value in pairs:
            inner = {**scope, DOT: value}
            if loop[2]:
                inner |= {loop[1]: key, loop[2]: value}
            elif loop[1]:
                inner[loop[1]] = value
            made.append(_inside(pieces, branches[0][1], inner, rendering))
        return "".join(made), end + 1
    for condition, start in branches:
        if condition is None:
            return _inside(pieces, start, scope, rendering), end + 1
        word, _, expression = condition.partition(" ")
        if not expression:
            raise UnsupportedError(condition)
        value = _known(evaluate(expression, scope))
        if value:
            inside = {**scope, DOT: value} if word == "with" else scope
            return _inside(pieces, start, inside, rendering), end + 1
    return "", end + 1


def _inside(pieces: Sequence[str | _Action], start: int, scope: Mapping[str, Any], rendering: _Rendering) -> str:
    return _block(pieces, start, scope, rendering, ("end", "else"))[0]


def _known(value: Any) -> Any:
    if isinstance(value, Unknown) or any(isinstance(inner, Unknown) for _, inner in walk(value)):
        raise UnsupportedError("a condition over what is not known")
    return value


def _branches(pieces: Sequence[str | _Action], at: int) -> tuple[list[tuple[str | None, int]], int]:
    """(condition, first piece) of each branch of a statement, and the number of its end."""
    first = pieces[at]
    branches: list[tuple[str | None, int]] = [(first.text if isinstance(first, _Action) else "", at + 1)]
    depth = 0
    for number in range(at + 1, len(pieces)):
        piece = pieces[number]
        if isinstance(piece, str):
            continue
        word = piece.text.split(None, 1)[0] if piece.text else ""
        if word in ("if", "with", "range"):
            depth += 1
        elif word == "end" and depth:
            depth -= 1
        elif word == "end":
            return branches, number
        elif word == "else" and not depth:
            rest = piece.text[4:].strip()
            branches.append((rest or None, number + 1))
    raise UnsupportedError("a statement without an end")
