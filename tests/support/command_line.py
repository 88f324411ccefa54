"""Commands of `secret-authority` in the process of a test, and what they may have changed."""

from __future__ import annotations

from pathlib import Path

from cli.main import main

# A kubeconfig that leads nowhere.
NOWHERE = """\
apiVersion: v1
kind: Config
current-context: nowhere
users: [{name: u, user: {}}]
clusters: [{name: nowhere, cluster: {server: "https://127.0.0.1:1"}}]
contexts: [{name: nowhere, context: {cluster: nowhere, user: u}}]
"""


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".git" not in path.parts
    }


def run(arguments: list[str]) -> int:
    """The exit code of a command."""
    try:
        return main(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)
