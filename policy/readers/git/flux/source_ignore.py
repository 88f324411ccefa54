"""What a `.sourceignore` at the top of a repository leaves out of the artifact that Flux's source-controller makes.

The format is that of .gitignore, read as go-git reads it: the last pattern that fits counts, and a file may be brought
back whose folder is left out. https://fluxcd.io/flux/components/source/gitrepositories/#sourceignore-file
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_NAME = ".sourceignore"


@dataclass(frozen=True)
class SourceIgnore:
    """The patterns of a repository, in order, each with whether a file that fits is brought back."""

    patterns: tuple[tuple[re.Pattern[str], bool], ...] = ()

    def leaves_out(self, file: str) -> bool:
        """Whether Flux does not get a file, by its path from the top of the repository."""
        found = False
        for pattern, back in self.patterns:
            if pattern.fullmatch(file):
                found = not back
        return found


def read_source_ignore(root: Path) -> SourceIgnore:
    """The patterns of the repository at `root`; none where it has no such file."""
    try:
        lines = (root / _NAME).read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return SourceIgnore()
    return SourceIgnore(tuple(found for line in lines if (found := _pattern(line)) is not None))


def _pattern(line: str) -> tuple[re.Pattern[str], bool] | None:
    text = line.rstrip()
    if not text or text.startswith("#"):
        return None
    back = text.startswith("!")
    text = text.removeprefix("!").removeprefix("\\")
    folder_only = text.endswith("/")
    inner = text.strip("/")
    if not inner:
        return None
    anchored = "/" in text.removesuffix("/")
    parts = [r"(?:[^/]+/)*" if part == "**" else _segment(part) + "/" for part in inner.split("/")]
    last = parts.pop()
    if last == r"(?:[^/]+/)*":
        last = r".+/"
    start = "" if anchored else r"(?:.*/)?"
    end = r"/.+" if folder_only else r"(?:/.+)?"
    try:
        return re.compile(f"{start}{''.join(parts)}{last.removesuffix('/')}{end}"), back
    except re.error:
        return None


def _segment(part: str) -> str:
    """One step of a path: * and ? stay inside of it, [...] is a set."""
    found = ""
    at = 0
    while at < len(part):
        character = part[at]
        closing = part.find("]", at + 2) if character == "[" else -1
        if character == "*":
            found += "[^/]*"
        elif character == "?":
            found += "[^/]"
        elif closing != -1:
            inner = part[at + 1 : closing]
            inner = f"^{inner[1:]}" if inner[:1] in ("!", "^") else inner
            escaped = inner.replace("\\", "\\\\").replace("[", "\\[")
            found += f"[{escaped}]"
            at = closing
        else:
            found += re.escape(character)
        at += 1
    return found
