"""Reads the plain part of YAML in which nearly all manifests are written, several times faster than libyaml.

Block mappings and sequences, scalars on one line, literal and folded text, flow collections on one line. Whatever is
not certainly of that part is left to libyaml: `read` then gives None. It never gives another result than libyaml; the
tests compare the two.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

_MAX_DEPTH = 100
_LONG = 200
# Anything but printable ASCII and line feeds: tabs, other line breaks, what YAML does not allow.
_OTHER = re.compile(r"[^\x20-\x7e\n]")
_KEY = r"""[A-Za-z0-9_./$][A-Za-z0-9_./$@+*-]{0,200}|"[^"\\\n]{0,200}"|'[^'\n]{0,200}'"""
# A plain scalar begins with no indicator and holds neither ": " nor " #".
_PLAIN = r"""(?:[^\s\-?:,\[\]{}#&*!|>'"%@`]|-(?=[^\s]))[^:#\n]*(?:(?::(?=[^\s])|(?<=[^\s])#)[^:#\n]*)*"""
_LINE = re.compile(
    rf"""( *)(- +)?(?:({_KEY}):(?=[ \n]) *)?"""
    rf"""(?:([|>][-+]?)|("[^"\\\n]*"|'[^'\n]*')|([\[{{][^\n#]*[\]}}])|({_PLAIN}))? *(?:(?:(?<= )|^)#[^\n]*)?\n""",
)
_FLOW_TOKEN = re.compile(
    rf""" *(?:([\[\]{{}},])|({_KEY}):(?= )|("[^"\\]*"|'[^']*')|([A-Za-z0-9_./$^(][^:#,\[\]{{}}?"'&*!|>%@`]*)) *"""
)

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]*)$")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_OTHER_INTEGER = re.compile(r"[-+]?(0o?[0-7_]+|0x[0-9a-fA-F_]+|0b[01_]+)$")
# Plain scalars that are no strings, as Kubernetes (YAML 1.1 without dates) reads them.
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"), False),
}
_NUMBER_START = frozenset("+-.0123456789")


class _OtherYamlError(Exception):
    """The text is not of the plain part."""


def scalar(text: str) -> Any:
    """What a plain scalar is to Kubernetes."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in _NUMBER_START:
        try:
            if _INTEGER.match(text):
                return int(text.replace("_", ""))
            if _OTHER_INTEGER.match(text):
                return int(re.sub(r"^([-+]?)0([0-7])", r"\g<1>0o\2", text.replace("_", "")), 0)
            if _FLOAT.match(text):
                return float(text)
        except (ValueError, OverflowError):
            # Too long for a number, which no field of a manifest needs: text.
            return text
    return text


def read(text: str) -> list[tuple[int, dict[str, Any]]] | None:
    """(line from 1, content) of each mapping of a text; None when the text is for libyaml."""
    if _OTHER.search(text):
        return None
    whole = text if text.endswith("\n") else f"{text}\n"
    try:
        return _read(whole, len(whole) != len(text))
    except _OtherYamlError:
        return None


# Trees write few different lines, so most of them are taken apart once.
@lru_cache(maxsize=1 << 13)
def _line(line: str) -> tuple[int, int, str | None, str | None, str | None, bool, Any]:
    """(indent, width of the dash, key, header of a block, flow collection, whether it has a scalar, the scalar)."""
    found = _LINE.match(line)
    if found is None:
        raise _OtherYamlError
    spaces, dash, key, block, quoted, flow, plain = found.groups()
    if key is None and dash is None:
        if block is not None or quoted is not None or flow is not None:
            raise _OtherYamlError
        if plain is None:
            return _NOTHING
        if plain.rstrip() == "---" and not spaces:
            return _START
        raise _OtherYamlError
    if key is not None and key[0] in "\"'":
        key = key[1:-1]
    value = scalar(plain.rstrip(" ")) if plain is not None else quoted[1:-1] if quoted is not None else None
    has_scalar = plain is not None or quoted is not None
    return len(spaces), len(dash or ""), key, block, flow, has_scalar, value


# A line with nothing but a comment; the start of a document.
_NOTHING = (-1, 0, None, None, None, False, None)
_START = (-2, 0, None, None, None, False, None)


def _read(text: str, is_cut: bool) -> list[tuple[int, dict[str, Any]]]:
    found: list[tuple[int, dict[str, Any]]] = []
    # The innermost open collection with its column, and those around it. Before the first key there is none.
    node: Any = None
    column = -1
    above: list[tuple[Any, int]] = []
    # The key of `node` that has no value so far.
    pending: str | None = None
    position, end = 0, len(text)
    while position < end:
        start = position
        position = text.find("\n", start) + 1
        # A long line is hardly there twice.
        take_apart = _line if position - start < _LONG else _line.__wrapped__
        indent, dash, key, block, flow, has_scalar, value = take_apart(text[start:position])
        if indent < 0:
            if indent == -2:
                node, column, pending = None, -1, None
                above.clear()
            continue
        while indent < column:
            node, column = above.pop()
            pending = None
        if indent > column:
            if pending is None and (node is not None or dash or indent):
                raise _OtherYamlError
            made: Any = [] if dash else {}
            if node is None:
                found.append((text.count("\n", 0, start) + 1, made))
            else:
                node[pending] = made
            above.append((node, column))
            node, column = made, indent
            if len(above) > _MAX_DEPTH:
                raise _OtherYamlError
        elif not dash:
            if type(node) is list:
                # The sequence was in the column of the key that has it.
                node, column = above.pop()
                if column != indent or type(node) is list:
                    raise _OtherYamlError
        elif type(node) is dict:
            if pending is None:
                raise _OtherYamlError
            made = []
            node[pending] = made
            above.append((node, column))
            node = made
        pending = None
        if has_scalar:
            pass
        elif block is not None:
            inner = column if not dash or key is None else indent + dash
            value, position = _block(text, position, inner, block, is_cut)
        elif flow is not None:
            value = _flow(flow)
        else:
            if key is None:
                raise _OtherYamlError
            pending = key
        if key is None:
            node.append(value)
            continue
        if dash:
            made = {}
            node.append(made)
            above.append((node, column))
            node, column = made, indent + dash
        node[key] = value
    return found


@lru_cache(maxsize=64)
def _lines_of(indent: int) -> re.Pattern[str]:
    return re.compile(rf"(?: {{{indent}}}[^\n]*\n| {{0,{indent}}}\n)*")


def _block(text: str, position: int, column: int, header: str, is_cut: bool) -> tuple[str, int]:
    """Literal or folded text, and where it ends. `column` is that of the collection that holds it."""
    first = position
    while first < len(text) and text[first] == " ":
        first += 1
    indent = first - position
    if first >= len(text) or text[first] == "\n" or indent <= max(column, 0):
        raise _OtherYamlError
    found = _lines_of(indent).match(text, position)
    if found is None or (is_cut and found.end() == len(text)):
        raise _OtherYamlError
    lines = [line[indent:] for line in found[0].split("\n")]
    if header[0] == ">":
        stripped = "\n".join(lines).rstrip("\n")
        if "\n\n" in stripped or "\n " in stripped or stripped[0] == " " or header[-1] == "+":
            raise _OtherYamlError
        joined = stripped.replace("\n", " ")
        return (joined if header[-1] == "-" else f"{joined}\n"), found.end()
    content = "\n".join(lines)
    if header[-1] == "+":
        return content, found.end()
    content = content.rstrip("\n")
    return (content if header[-1] == "-" else f"{content}\n"), found.end()


def _flow(text: str) -> Any:
    """A flow collection that is on one line."""
    # Open collections; the innermost one is last. `key` waits for its value.
    stack: list[Any] = []
    keys: list[str | None] = []
    key: str | None = None
    position, end = 0, len(text)
    may_be_value = True
    while position < end:
        token = _FLOW_TOKEN.match(text, position)
        if token is None:
            raise _OtherYamlError
        mark, name, quoted, plain = token.groups()
        position = token.end()
        if name is not None:
            if not stack or type(stack[-1]) is list or key is not None or not may_be_value:
                raise _OtherYamlError
            key = name[1:-1] if name[0] in "\"'" else name
            continue
        if mark == ",":
            if may_be_value or not stack:
                raise _OtherYamlError
            may_be_value = True
            continue
        if mark == "]" or mark == "}":
            if not stack or (type(stack[-1]) is list) is (mark == "}") or key is not None:
                raise _OtherYamlError
            if may_be_value and stack[-1]:
                # A comma before the end.
                raise _OtherYamlError
            value = stack.pop()
            key = keys.pop()
            if not stack:
                if position != end:
                    raise _OtherYamlError
                return value
        elif not may_be_value:
            raise _OtherYamlError
        elif mark is not None:
            stack.append([] if mark == "[" else {})
            keys.append(key)
            key = None
            if len(stack) > _MAX_DEPTH:
                raise _OtherYamlError
            continue
        else:
            value = quoted[1:-1] if quoted is not None else scalar(plain.rstrip(" "))
        if not stack:
            raise _OtherYamlError
        holder = stack[-1]
        if type(holder) is list:
            holder.append(value)
        elif key is None:
            raise _OtherYamlError
        else:
            holder[key] = value
        key = None
        may_be_value = False
    raise _OtherYamlError
