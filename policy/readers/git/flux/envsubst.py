"""Flux's variable substitution, as github.com/fluxcd/pkg/envsubst does it.

Only `${...}` is replaced, `$${` stands for a literal `${`. Where a variable's value is unknown, so is the text; the
part of the text around it is kept as its shape, which still tells it from most other names.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from policy.readers.git.flux.gomatch import longest_prefix, longest_suffix, shortest_prefix, shortest_suffix
from secret_authority.core.claims.locations import Part, Unknown

_NAME: Final = re.compile(r"[A-Za-z0-9_]+")
# The value of a variable; the second argument says whether the text has a default for it.
Lookup = Callable[[str, bool], Part]


class BadSubstitutionError(ValueError):
    """The text is not a substitution that Flux can parse; Flux fails the Kustomization over it."""


def substitute(text: str, lookup: Lookup) -> Part:
    """The text with its variables replaced. Raises `BadSubstitutionError`."""
    pieces, end = _pieces(text, 0, lookup, nested=False)
    if end != len(text):
        raise BadSubstitutionError(text)
    return join(pieces)


def join(pieces: list[Part]) -> Part:
    """One text of its pieces; unknown when one of them is, with the shape of the whole."""
    unknown = next((piece for piece in pieces if isinstance(piece, Unknown)), None)
    if unknown is None:
        return "".join(str(piece) for piece in pieces)
    shape = "".join(piece if isinstance(piece, str) else piece.shape or "*" for piece in pieces)
    told = all(isinstance(piece, str) or piece.same for piece in pieces)
    same = "".join(piece if isinstance(piece, str) else f"${{{piece.same}}}" for piece in pieces)
    return Unknown(unknown.field, shape=re.sub(r"\*+", "*", shape), same=same if told else None)


def _pieces(text: str, start: int, lookup: Lookup, nested: bool) -> tuple[list[Part], int]:
    """The pieces of a text from a position on; inside of a substitution up to its closing brace."""
    found: list[Part] = []
    at = start
    while at < len(text):
        if text.startswith("$${", at) and not nested:
            # An escaped dollar: what follows is text.
            found.append("${")
            at += 3
        elif text.startswith("${", at):
            value, at = _expression(text, at + 2, lookup)
            found.append(value)
        elif nested and text[at] == "}":
            break
        else:
            next_ = len(text)
            for mark in ("$${", "${", *(("}",) if nested else ())):
                if (where := text.find(mark, at)) >= 0:
                    next_ = min(next_, where)
            next_ = max(next_, at + 1)
            found.append(text[at:next_])
            at = next_
    return found, at


def _expression(text: str, at: int, lookup: Lookup) -> tuple[Part, int]:
    if text.startswith("#", at):
        name = _name(text, at + 1)
        value = lookup(name, False)
        length = Unknown(value.field) if isinstance(value, Unknown) else str(len(value))
        return length, _close(text, at + 1 + len(name))
    name = _name(text, at)
    at += len(name)
    value = lookup(name, text.startswith((":=", ":-", "=", ":+", ":?"), at))
    if text.startswith("}", at):
        return value, at + 1
    end = _closing(text, at)
    rest = text[at:end]
    operator = next((o for o in _OPERATORS if rest.startswith(o)), None)
    if operator is None:
        raise BadSubstitutionError(text)
    if isinstance(value, Unknown):
        # The same expression over the same unknown value still is one value.
        return Unknown(value.field, same=f"{value.same}{rest}" if value.same else None), end + 1
    return _OPERATORS[operator](value, rest[len(operator) :], lookup), end + 1


def _default(value: str, word: str, lookup: Lookup) -> Part:
    return value or join(_pieces(word, 0, lookup, nested=False)[0])


def _text(word: str, lookup: Lookup) -> str:
    found = join(_pieces(word, 0, lookup, nested=False)[0])
    return "" if isinstance(found, Unknown) else found


def _changed(change: Callable[[str, str], str]) -> Callable[[str, str, Lookup], Part]:
    return lambda value, word, lookup: change(value, _text(word, lookup))


def _replace(value: str, word: str, old: Callable[[str, str, str], str]) -> str:
    pattern, _, new = word.partition("/")
    return old(value, pattern.replace("\\/", "/"), new)


def _substring(value: str, word: str) -> str:
    first, _, second = word.partition(":")
    try:
        start = int(first)
    except ValueError:
        return value
    if start < 0:
        start = max(len(value) + start, 0)
    if not second:
        return value[start:]
    try:
        return value[start : start + int(second)]
    except ValueError:
        return value


_OPERATORS: Final[dict[str, Callable[[str, str, Lookup], Part]]] = {
    ":=": _default,
    ":-": _default,
    # envsubst treats these as a default too.
    ":+": _default,
    ":?": _default,
    "=": _default,
    ":": _changed(_substring),
    "^^": _changed(lambda value, _: value.upper()),
    "^": _changed(lambda value, _: value[:1].upper() + value[1:]),
    ",,": _changed(lambda value, _: value.lower()),
    ",": _changed(lambda value, _: value[:1].lower() + value[1:]),
    "//": _changed(lambda value, word: _replace(value, word, lambda v, a, b: v.replace(a, b))),
    "/#": _changed(
        lambda value, word: _replace(value, word, lambda v, a, b: b + v[len(a) :] if v.startswith(a) else v)
    ),
    "/%": _changed(
        lambda value, word: _replace(value, word, lambda v, a, b: v[: len(v) - len(a)] + b if v.endswith(a) else v)
    ),
    "/": _changed(lambda value, word: _replace(value, word, lambda v, a, b: v.replace(a, b, 1))),
    "##": _changed(longest_prefix),
    "#": _changed(shortest_prefix),
    "%%": _changed(longest_suffix),
    "%": _changed(shortest_suffix),
}


def _name(text: str, at: int) -> str:
    found = _NAME.match(text, at)
    if found is None:
        raise BadSubstitutionError(text)
    return found[0]


def _close(text: str, at: int) -> int:
    if not text.startswith("}", at):
        raise BadSubstitutionError(text)
    return at + 1


def _closing(text: str, at: int) -> int:
    """The position of the brace that closes the substitution at a position."""
    depth = 0
    while at < len(text):
        if text.startswith("${", at):
            depth += 1
            at += 2
            continue
        if text[at] == "}":
            if depth == 0:
                return at
            depth -= 1
        at += 1
    raise BadSubstitutionError(text)
