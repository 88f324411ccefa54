"""Put the content of a folder onto the main branch of a bare repository.

The same contents in the same order give the same commits: author, committer and time are fixed.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from toolchain.gitserver.server import repositories
from toolchain.node.errors import NodeError
from toolchain.node.layout import Node

BRANCH = "refs/heads/main"
NAME_PATTERN = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?")
FIRST_COMMIT = datetime(2026, 1, 1, tzinfo=UTC)


def publish(node: Node, repository: str, folder: Path) -> str:
    """Commit the content of `folder` if it differs from the branch; return the branch's commit.

    Everything in the folder is taken, apart from `.git`. Raises NodeError when git refuses or when another
    writer moved the branch meanwhile.
    """
    if not NAME_PATTERN.fullmatch(repository):
        raise NodeError(f"repository {repository!r}: use a-z, 0-9, '.', '_' and '-'")
    if not folder.is_dir():
        raise NodeError(f"publish: {folder} is not a folder")
    bare = repositories(node) / f"{repository}.git"
    if not (bare / "HEAD").exists():
        bare.parent.mkdir(parents=True, exist_ok=True)
        _git(bare, "init", "--quiet", "--bare", "--initial-branch=main", str(bare))
    with tempfile.TemporaryDirectory() as scratch:
        index = {"GIT_INDEX_FILE": f"{scratch}/index", "GIT_WORK_TREE": str(folder.resolve())}
        _git(bare, "add", "--all", "--force", ".", cwd=folder, extra=index)
        tree = _git(bare, "write-tree", cwd=folder, extra=index)
    parent = _git(bare, "rev-parse", "--verify", "--quiet", BRANCH, may_fail=True)
    if parent and _git(bare, "rev-parse", f"{parent}^{{tree}}") == tree:
        return parent
    number = int(_git(bare, "rev-list", "--count", parent)) if parent else 0
    moment = (FIRST_COMMIT + timedelta(minutes=number)).isoformat()
    stamps = {"GIT_AUTHOR_DATE": moment, "GIT_COMMITTER_DATE": moment}
    parents = ["-p", parent] if parent else []
    commit = _git(bare, "commit-tree", tree, *parents, "-m", f"Content {number + 1}", extra=stamps)
    # The old value is part of the request: a second writer fails instead of losing a commit.
    _git(bare, "update-ref", BRANCH, commit, parent or "0" * 40)
    return commit


def _git(
    bare: Path,
    *arguments: str,
    cwd: Path = Path("/"),
    extra: dict[str, str] | None = None,
    may_fail: bool = False,
) -> str:
    environment = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": "/nonexistent",
        "GIT_DIR": str(bare),
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "Example",
        "GIT_AUTHOR_EMAIL": "git@node.internal",
        "GIT_COMMITTER_NAME": "Example",
        "GIT_COMMITTER_EMAIL": "git@node.internal",
        **(extra or {}),
    }
    done = subprocess.run(
        ["git", *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False, umask=0o022
    )
    if done.returncode and not may_fail:
        raise NodeError(f"git {arguments[0]} in {bare.name}: {done.stderr.strip() or done.returncode}")
    return done.stdout.strip() if not done.returncode else ""
