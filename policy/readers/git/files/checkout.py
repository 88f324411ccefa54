"""What Git says of a checkout: which repository it is of, and which files it ignores."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

_SCP = re.compile(r"^(?:[\w.-]+@)?([\w.-]+):(?!//)(.+)$")
_URL = re.compile(r"^[a-z+]+://(?:[^@/]*@)?([^/:]+)(?::\d+)?/(.+)$", re.IGNORECASE)


def repository_of(url: str) -> str | None:
    """host/owner/name in lower case, however the URL is written; None when it is not the URL of a repository."""
    found = _URL.match(url.strip()) or _SCP.match(url.strip())
    if found is None or "<" in url or "{" in url:
        return None
    path = found[2].strip("/").removesuffix(".git")
    return f"{found[1]}/{path}".lower()


def remotes(root: Path) -> frozenset[str]:
    """The repositories that the remotes of a checkout name; empty where it is no checkout."""
    folder = next((f for f in (root, *root.parents) if (f / ".git").exists()), None)
    if folder is None or folder != root:
        # A folder inside of a checkout has paths of its own.
        return frozenset()
    config = folder / ".git" / "config"
    try:
        if (folder / ".git").is_file():
            # A worktree: "gitdir: MAIN/.git/worktrees/NAME".
            inside = Path((folder / ".git").read_text().partition(":")[2].strip())
            config = (folder / inside).resolve().parent.parent / "config"
        parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
        parser.read_string(re.sub(r"^\s+", "", config.read_text(), flags=re.MULTILINE))
    except (OSError, UnicodeDecodeError, configparser.Error):
        return frozenset()
    urls = [parser.get(s, "url", fallback=None) for s in parser.sections() if s.startswith("remote")]
    return frozenset(found for url in urls if url and (found := repository_of(url)))


def ignored(root: Path) -> frozenset[str]:
    """What is beside a repository and Git ignores: files, and folders with a slash at their end.

    Empty where `root` is not the folder of a checkout, or Git cannot say: then all that is there is read.
    """
    listing = ["ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory"]
    return frozenset(_git(root, listing))


def is_among(path: str, listed: frozenset[str]) -> bool:
    """Whether a path, or a folder above it, is listed by `ignored`."""
    if not listed:
        return False
    parts = path.split("/")
    return path in listed or any("/".join(parts[:end]) + "/" in listed for end in range(1, len(parts) + 1))


def ignored_among(root: Path, paths: Iterable[str]) -> frozenset[str]:
    """Those of some paths, there or not, that Git would ignore."""
    asked = "".join(f"{path}\0" for path in paths if "\0" not in path)
    return frozenset(_git(root, ["check-ignore", "-z", "--stdin"], asked)) if asked else frozenset()


def _git(root: Path, arguments: list[str], given: str = "") -> list[str]:
    if not (root / ".git").exists():
        return []
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    # A monitor of the file system is a program that the configuration of the checkout names.
    command = ["git", "-c", "core.fsmonitor=false", *arguments]
    text = given.encode(errors="surrogateescape")
    try:
        done = subprocess.run(command, cwd=root, env=environment, input=text, check=False, capture_output=True)
    except OSError:
        return []
    return [name.decode(errors="surrogateescape") for name in done.stdout.split(b"\0") if name]
