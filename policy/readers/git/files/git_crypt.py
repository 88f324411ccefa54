"""Files that git-crypt encrypted as a whole: they begin with its mark."""

from __future__ import annotations

from pathlib import Path

MARK = b"\0GITCRYPT\0"


def is_git_crypt(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return opened.read(len(MARK)) == MARK
    except (OSError, ValueError):  # ValueError: no file can have such a path.
        return False
