"""Changes YAML files that people wrote: comments, order, quotes and style stay, and nothing else changes.

A change is made in memory and checked there; `replace.replace_all` then writes files whole.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError as RoundTripError
from ruamel.yaml.scalarstring import SingleQuotedScalarString

from secret_authority.core.errors import InvalidInputError, Problem

_WIDTH = 2**16  # columns; long lines stay long


def edited(text: str, shown: str, change: Callable[[dict[str, Any]], None]) -> str:
    """The text of one YAML mapping after `change`. Raises `InvalidInputError` for text that cannot be changed safely.

    The same change is made to what another YAML library reads of the text, and the results have to be equal.
    """
    text = text.removeprefix("\ufeff")
    fix = "write the file as one YAML mapping, then run the command again"
    editor = YAML()
    editor.preserve_quotes, editor.width = True, _WIDTH
    try:
        wanted, document = yaml.safe_load(text), editor.load(text)
    except (yaml.YAMLError, RoundTripError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InvalidInputError([Problem(shown, where, "is not valid YAML", "correct the syntax there")]) from None
    except (ValueError, TypeError, AttributeError, NotImplementedError, RecursionError):
        wanted, document = None, None
    if not isinstance(document, CommentedMap) or not isinstance(wanted, dict):
        raise InvalidInputError([Problem(shown, "", "is not one YAML mapping", fix)])
    offset = _list_offset(document)
    editor.indent(mapping=2, sequence=2 + offset, offset=offset)
    change(document)
    change(wanted)
    written = io.StringIO()
    editor.dump(document, written)
    result = written.getvalue()
    if yaml.safe_load(result) != wanted:
        raise InvalidInputError([Problem(shown, "", "cannot be changed without changing what others wrote", fix)])
    return result


def list_below(document: dict[str, Any], key: str, shown: str) -> list[Any]:
    """The list under a key; an absent or empty one is made. Raises `InvalidInputError` for something else."""
    found = document.get(key)
    if found is None:
        document[key] = CommentedSeq() if isinstance(document, CommentedMap) else []
    elif not isinstance(found, list):
        raise InvalidInputError([Problem(shown, key, "is not a list", "write it as a list")])
    elif isinstance(found, CommentedSeq) and not found:
        found.fa.set_block_style()
    made: list[Any] = document[key]
    return made


def entry(fields: Mapping[str, Any]) -> CommentedMap:
    """A mapping to add, in block style. Texts that YAML would read as something else are quoted."""
    return CommentedMap((key, _quoted(value)) for key, value in fields.items())


def _quoted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return entry(value)
    if isinstance(value, (list, tuple)):
        return CommentedSeq([_quoted(item) for item in value])
    if not isinstance(value, str):
        return value
    try:
        same = yaml.safe_load(value) == value
    except yaml.YAMLError:
        same = False
    return value if same else SingleQuotedScalarString(value)


def _list_offset(document: CommentedMap) -> int:
    """By how many columns the file indents lists below their key."""
    for value in document.values():
        if isinstance(value, CommentedSeq) and value and not value.fa.flow_style():
            return int(value.lc.col or 0)
    return 2
