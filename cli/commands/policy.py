"""`secret-authority policy`: the rules over a Git tree or a state file, without a cluster.

Exit codes: 0 no mandatory violation, 1 violations, 2 bad input.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cli.commands import COMMANDS
from policy.context import RuleContext
from policy.gc_pause import paused
from policy.inventory.resource import Resource
from policy.readers.git.tree import read_tree
from policy.readers.state import read_state_file
from policy.report import as_json, as_sarif, as_text, blocks
from policy.rules.registry import BY_ID, RULES, check, new_context
from policy.settings import Settings, read_settings
from secret_authority.core.errors import InvalidInputError, Problem
from secret_authority.core.phases import PhaseRefusedError, parse_phase

OK, VIOLATIONS, BAD_INPUT = 0, 1, 2


def register(subparsers: Any) -> None:
    """Add the command `policy` with its verbs."""
    command = subparsers.add_parser("policy", help=COMMANDS["policy"].help)
    verbs = command.add_subparsers(dest="policy_verb", required=True, metavar="VERB")
    run = verbs.add_parser("check", help="check a Git tree or a Pulumi state")
    what = run.add_mutually_exclusive_group(required=True)
    what.add_argument("path", nargs="?", type=Path, help="folder with a checkout of the repository")
    what.add_argument("--state", type=Path, help="a Pulumi state, from `pulumi stack export`")
    run.add_argument("--format", choices=("text", "json", "sarif"), default="text")
    run.add_argument("--config", type=Path, help="settings file, see docs/policy/settings.md")
    run.add_argument("--phase", help="phase of the cluster, 0 to 4")
    run.set_defaults(run=run_check)
    rules = verbs.add_parser("rules", help="list every rule")
    rules.set_defaults(run=run_rules)
    pack = verbs.add_parser("pack-config", help="write a settings file as --policy-pack-config for pulumi")
    pack.add_argument("settings", type=Path)
    pack.set_defaults(run=run_pack_config)


def run_check(options: argparse.Namespace) -> int:
    """Check and print. Returns the exit code."""
    try:
        settings = read_settings(options.config) if options.config else Settings()
        if options.phase is not None:
            settings = settings.model_copy(update={"phase": parse_phase(options.phase)})
        with paused():
            context = _context(options, settings)
            findings = check(context)
    except (InvalidInputError, PhaseRefusedError) as error:
        print(error, file=sys.stderr)
        return BAD_INPUT
    match options.format:
        case "json":
            print(as_json(findings, len(context.index.resources), context.elsewhere, context.unjudged))
        case "sarif":
            print(as_sarif(findings, _version()))
        case _:
            print(as_text(findings, len(context.index.resources), context.elsewhere, context.unjudged))
    return VIOLATIONS if blocks(findings) else OK


def _context(options: argparse.Namespace, settings: Settings) -> RuleContext:
    if options.state:
        resources: list[Resource] = read_state_file(options.state, str(options.state))
        return new_context(resources, settings)
    tree = read_tree(options.path, settings)
    if not any(resource.kind != "SopsConfig" for resource in tree.resources) and not tree.problems:
        problem = "holds no Kubernetes object that an entry of a cluster leads to, so nothing was checked"
        fix = "give the folder of the repository, or name its folders under `entries` of the settings"
        raise InvalidInputError([Problem(str(options.path), "", problem, fix)])
    return new_context(tree.resources, settings, tree.problems, tree.elsewhere, tree.unjudged)


def run_rules(_: argparse.Namespace) -> int:
    """Print every rule on one line."""
    for rule in RULES:
        print(f"{rule.id:28} {rule.severity:9} {rule.level:10} {rule.title} (RFC {rule.rfc})")
    return OK


def run_pack_config(options: argparse.Namespace) -> int:
    """CrossGuard gives each policy its own configuration; write the same settings for every rule."""
    try:
        settings = read_settings(options.settings)
    except InvalidInputError as error:
        print(error, file=sys.stderr)
        return BAD_INPUT
    shared = settings.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"levels", "today", "entries"})
    document = {}
    for rule in BY_ID.values():
        level = settings.levels.get(rule.id)
        document[rule.id] = {**shared, **({"enforcementLevel": level.value} if level else {})}
    print(json.dumps(document, indent=2))
    return OK


def _version() -> str:
    try:
        return version("secret-authority")
    except PackageNotFoundError:
        return "0"
