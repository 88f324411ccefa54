"""Changes YAML files that people wrote: comments, order, quotes and style stay, and nothing else changes.

A change is made in memory and checked there; `replace_all` then writes files whole.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
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


def replace_all(files: Mapping[Path, str]) -> None:
    """Write files whole, in order; the last one makes the change count. When one fails, those before are put back.

    Raises `InvalidInputError` when a file cannot be written.
    """
    partial = {path: path.with_name(f".{path.name}.partial") for path in files}
    before: dict[Path, bytes | None] = {}
    done: list[Path] = []
    try:
        before |= {path: path.read_bytes() if path.exists() else None for path in files}
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial[path].open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        for path in files:
            partial[path].replace(path)
            done.append(path)
    except OSError as error:
        for path in done:
            _put_back(path, before[path])
        reason = f"cannot be written: {error.strerror}"
        raise InvalidInputError([Problem(str(error.filename), "", reason, "nothing was changed; try again")]) from None
    finally:
        for path in partial.values():
            path.unlink(missing_ok=True)


def _put_back(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink(missing_ok=True)
    else:
        path.write_bytes(content)


def _list_offset(document: CommentedMap) -> int:
    """By how many columns the file indents lists below their key."""
    for value in document.values():
        if isinstance(value, CommentedSeq) and value and not value.fa.flow_style():
            return int(value.lc.col or 0)
    return 2
