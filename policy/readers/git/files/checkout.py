"""Which repository a checkout is of, and whether a URL means the same one."""

from __future__ import annotations

import configparser
import re
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
