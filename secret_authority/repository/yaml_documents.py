"""Reads YAML (and JSON) files of a repository into documents, with the file named in every error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from secret_authority.core.errors import InvalidInputError, Problem

SUFFIXES = (".yaml", ".yml", ".json")
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_documents(path: Path, shown: str) -> list[Any]:
    """Every document of a file that is not empty. `shown` is the name of the file in messages.

    Raises `InvalidInputError` when the file cannot be read or is not YAML. The message gives line and
    column but never the text of the file, which may hold a secret.
    """
    try:
        # _Loader is the C twin of SafeLoader.
        return [doc for doc in yaml.load_all(path.read_text(), Loader=_Loader) if doc is not None]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise InvalidInputError([Problem(shown, "", f"cannot be read: {reason}", "check the path")]) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = Problem(shown, where, "is not valid YAML", "correct the syntax there")
        raise InvalidInputError([problem]) from None


def yaml_files(root: Path) -> Iterator[Path]:
    """YAML and JSON files below `root` in a stable order; hidden folders are passed over."""
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        if path.suffix in SUFFIXES and path.is_file() and not any(p.startswith(".") for p in inside.parts):
            yield path
