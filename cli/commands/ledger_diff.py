"""`ledger-diff BASE HEAD`: which secret changes its authority between two states of a Git repository."""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from cli.commands import COMMANDS
from policy.context import RuleContext
from policy.readers.git.tree import read_tree
from policy.rules.registry import new_context
from policy.settings import Settings, read_settings
from secret_authority.core.errors import InvalidInputError, Problem
from secret_authority.core.ledger.diff import as_markdown, ledger_diff


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("ledger-diff", help=COMMANDS["ledger-diff"].help)
    verb.add_argument("base", help="a folder, or a revision of --repository")
    verb.add_argument("head", help="a folder, or a revision of --repository")
    verb.add_argument("--repository", type=Path, default=Path(), help="the Git repository of the revisions")
    verb.add_argument("--config", type=Path, help="settings file, see docs/policy/settings.md")
    verb.add_argument("--format", choices=("markdown", "json"), default="markdown")
    verb.set_defaults(run=run_diff)


def run_diff(options: argparse.Namespace) -> int:
    """Print the difference. Returns 0 also when there is one: it is for reading, the rules judge."""
    settings = read_settings(options.config) if options.config else Settings()
    with tempfile.TemporaryDirectory() as scratch:
        old = _context(options.base, options.repository, Path(scratch) / "base", settings)
        new = _context(options.head, options.repository, Path(scratch) / "head", settings)
        changes = ledger_diff(old.claims, new.claims, old.inventory.catalogues, new.inventory.catalogues)
        unread = [*old.problems, *new.problems]
    for problem in unread:
        print(f"not compared: {problem}", file=sys.stderr)
    if options.format == "json":
        print(json.dumps([change.as_dict() for change in changes], indent=2))
    else:
        print(as_markdown(changes), end="")
    return 0


def _context(given: str, repository: Path, into: Path, settings: Settings) -> RuleContext:
    root = Path(given)
    if not root.is_dir():
        _extract(repository, given, into)
        root = into
    tree = read_tree(root, settings)
    return new_context(tree.resources, settings, tree.problems)


def _extract(repository: Path, revision: str, into: Path) -> None:
    """The files of a revision. Raises `InvalidInputError` when Git does not know it."""
    done = subprocess.run(
        ["git", "-C", str(repository), "archive", "--format=tar", "--end-of-options", revision],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        fix = "give a folder, or a revision that is fetched (in CI: fetch-depth: 0)"
        raise InvalidInputError([Problem(revision, "", f"is not a directory, and not a revision of {repository}", fix)])
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(into, filter="data")
