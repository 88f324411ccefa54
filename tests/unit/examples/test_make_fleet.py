"""The example repository is one that a team can work in at once."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.fleets import new_fleet


def test_commits_can_be_made_where_git_knows_nobody(tmp_path: Path) -> None:
    repository = new_fleet(tmp_path).repository
    (repository / "note").write_text("one\n")
    bare = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GIT_CONFIG_GLOBAL": os.devnull}
    # Without this git would make up an author from the names of user and machine, where it can.
    bare |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_COUNT": "1"}
    bare |= {"GIT_CONFIG_KEY_0": "user.useConfigOnly", "GIT_CONFIG_VALUE_0": "true"}
    for arguments in (["add", "-A"], ["commit", "-q", "-m", "a note"]):
        subprocess.run(["git", *arguments], cwd=repository, env=bare, check=True)
    command = ["git", "log", "-1", "--format=%an %s"]
    said = subprocess.run(command, cwd=repository, env=bare, check=True, capture_output=True, text=True).stdout
    assert said == "Example a note\n"
