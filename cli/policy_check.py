"""`secret-authority policy check`.

Exit codes: 0 no mandatory violation, 1 violations, 2 bad input, 3 an internal error, 4 too little of the tree was read.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cli.commands.policy import BAD_INPUT as BAD_INPUT
from cli.commands.policy import OK as OK
from policy.baseline import read_baseline, without, write_baseline
from policy.context import RuleContext
from policy.gc_pause import paused
from policy.inventory.resource import Resource
from policy.readers.git.tree import read_tree
from policy.readers.state import read_state_file
from policy.report import as_json, as_sarif, as_text, explain
from policy.rules.base import Finding
from policy.rules.registry import check, new_context
from policy.settings import Level, Profile, Settings, read_settings
from secret_authority.core.errors import InvalidInputError, Problem
from secret_authority.core.phases import PhaseRefusedError, parse_phase

VIOLATIONS, CRASH, LOW_COVERAGE = 1, 3, 4


def run_check(options: argparse.Namespace) -> int:
    """Check and print. Returns the exit code."""
    try:
        return _check(options)
    except (InvalidInputError, PhaseRefusedError) as error:
        print(error, file=sys.stderr)
        return BAD_INPUT
    except BrokenPipeError:
        raise  # of who reads the output, for `main`
    except Exception as error:  # A fault of this program must not look like a verdict.
        # The text of an error can hold what was read; only where it came from is said.
        frames = traceback.extract_tb(error.__traceback__)
        where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "unknown"
        print(f"internal error: {type(error).__name__} at {where}; nothing was judged", file=sys.stderr)
        return CRASH


def _check(options: argparse.Namespace) -> int:
    settings = read_settings(options.config) if options.config else Settings()
    if options.phase is not None:
        settings = settings.model_copy(update={"phase": parse_phase(options.phase)})
    if options.profile is not None:
        settings = settings.model_copy(update={"profile": Profile(options.profile)})
    baseline = read_baseline(options.baseline) if options.baseline else frozenset()
    with paused(), _checkout(options) as root:
        context = _context(options, root, settings)
        if options.explain is not None:
            print(_explain(context, root, options.explain))
            return OK
        findings = check(context)
    if options.write_baseline:
        write_baseline(findings, options.write_baseline)
        print(f"{len(findings)} findings written to {options.write_baseline}", file=sys.stderr)
        return OK
    every = len(findings)
    findings, gone = without(findings, baseline) if options.baseline else (findings, 0)
    if gone:
        print(f"{gone} findings of the baseline are gone: write it again", file=sys.stderr)
    match options.format:
        case "json":
            print(as_json(findings, context, every - len(findings)))
        case "sarif":
            print(as_sarif(findings, context, _version()))
        case _:
            print(as_text(findings, context, every - len(findings)))
    return _code(findings)


def _code(findings: Sequence[Finding]) -> int:
    mandatory = [finding for finding in findings if finding.level is Level.MANDATORY]
    if not mandatory:
        return OK
    return LOW_COVERAGE if all(finding.rule.id == "coverage" for finding in mandatory) else VIOLATIONS


def _explain(context: RuleContext, root: Path | None, path: str) -> str:
    if context.coverage is None or root is None:
        raise InvalidInputError([Problem("--explain", "", "is about a Git tree", "leave out --state")])
    given = Path(path)
    inside = given.resolve()
    if inside.is_relative_to(root.resolve()):
        path = str(inside.relative_to(root.resolve()))
    return explain(context.coverage, path)


@contextmanager
def _checkout(options: argparse.Namespace) -> Iterator[Path | None]:
    """The folder to read: the one that was given, or a clone of the repository at a URL."""
    given = options.path
    if given is None or not _is_url(given):
        yield None if given is None else Path(given)
        return
    with tempfile.TemporaryDirectory() as scratch:
        # No prompt for a password, no hooks, no submodules: only the files of the newest commit.
        environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1"}
        command = ["git", "clone", "--quiet", "--depth", "1", "--", given, scratch]
        done = subprocess.run(command, capture_output=True, check=False, env=environment, timeout=300)
        if done.returncode:
            fix = "check the URL and the credentials of git"
            raise InvalidInputError([Problem(_without_user(given), "", "cannot be cloned", fix)])
        yield Path(scratch)


def _is_url(given: str) -> bool:
    return "://" in given or (given.startswith("git@") and ":" in given)


def _without_user(url: str) -> str:
    scheme, found, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if found else url


def _context(options: argparse.Namespace, root: Path | None, settings: Settings) -> RuleContext:
    if options.state or root is None:
        resources: list[Resource] = read_state_file(options.state, str(options.state))
        return new_context(resources, settings)
    tree = read_tree(root, settings)
    nothing = not any(resource.kind != "SopsConfig" for resource in tree.resources)
    if nothing and not tree.problems and not tree.coverage.missing:
        problem = "holds no Kubernetes object that an entry of a cluster leads to, so nothing was checked"
        fix = "give the folder of the repository, or name its folders under `entries` of the settings"
        raise InvalidInputError([Problem(str(options.path), "", problem, fix)])
    return new_context(tree.resources, settings, tree.problems, tree.elsewhere, tree.unjudged, tree.coverage)


def _version() -> str:
    # For SARIF alone; the module takes longer to load than the rest of the standard library that is used here.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("secret-authority")
    except PackageNotFoundError:
        return "0"
