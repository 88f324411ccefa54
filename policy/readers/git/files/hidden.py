"""Folders whose names begin with a dot.

Flux and Argo CD read them where they are below a folder that is applied as a whole, and kustomize where an entry names
them. Nobody means them otherwise: a person renames a folder to `.name` to take it out of use.
"""

from __future__ import annotations

# Folders of tools. What is in them is no manifest that a cluster gets, whatever it is.
_TOOLS = frozenset(
    {".github", ".gitlab", ".gitea", ".forgejo", ".circleci", ".woodpecker", ".tekton", ".buildkite", ".ci"}
    | {".azuredevops", ".azure-pipelines", ".devcontainer", ".vscode", ".idea", ".fleet", ".zed", ".husky"}
    | {".helm", ".taskfiles", ".taskfile", ".task", ".mise", ".direnv", ".pulumi", ".vagrant", ".yarn", ".trunk"}
    | {".chainsaw-test", ".kyverno-test", ".claude", ".cursor", ".codex", ".agents", ".continue", ".opencode"}
    | {".serena", ".specify", ".vale", ".doco-cd", ".backstage", ".licenses", ".chglog", ".hooks"}
)
# Copies that a tool made, in great numbers; nothing refers to what is in them.
COPIES = frozenset(
    {".git", ".venv", ".tox", ".nox", ".cache", ".terraform", ".terragrunt-cache", ".mypy_cache", ".pytest_cache"}
    | {".ruff_cache", ".gradle", ".m2", ".cargo", ".npm", ".pnpm-store"}
)


def hidden_folder(path: str) -> str | None:
    """The uppermost hidden folder of a path, or the path itself where it is one."""
    parts = path.split("/")
    for end, part in enumerate(parts, 1):
        if part.startswith(".") and part not in (".", ".."):
            return "/".join(parts[:end])
    return None


def is_in_hidden_folder(file: str) -> bool:
    """Whether a folder above a file is hidden."""
    return hidden_folder(file.rpartition("/")[0]) is not None


def is_of_a_tool(file: str) -> bool:
    """Whether a file is in a folder that a tool has for itself."""
    return not _TOOLS.isdisjoint(file.split("/")[:-1])
