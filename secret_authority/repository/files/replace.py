"""Writes several files of a repository as one change."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from secret_authority.core.errors import InvalidInputError, Problem


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
