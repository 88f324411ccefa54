"""`secret-authority policy`: the rules over a Git tree or a state file, without a cluster."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

from cli.commands import COMMANDS
from policy.rules.registry import BY_ID, RULES
from policy.settings import Profile, read_settings
from secret_authority.core.errors import InvalidInputError

OK, BAD_INPUT = 0, 2


def register(subparsers: Any) -> None:
    """Add the command `policy` with its verbs."""
    command = subparsers.add_parser("policy", help=COMMANDS["policy"].help)
    verbs = command.add_subparsers(dest="policy_verb", required=True, metavar="VERB")
    run = verbs.add_parser("check", help="check a Git tree or a Pulumi state")
    what = run.add_mutually_exclusive_group(required=True)
    what.add_argument("path", nargs="?", help="folder with a checkout of the repository, or its URL")
    what.add_argument("--state", type=Path, help="a Pulumi state, from `pulumi stack export`")
    run.add_argument("--format", choices=("text", "json", "sarif"), default="text")
    run.add_argument("--config", type=Path, help="settings file, see docs/policy/settings.md")
    run.add_argument("--phase", help="phase of the cluster, 0 to 4")
    run.add_argument("--profile", choices=[profile.value for profile in Profile], help="which rules count")
    run.add_argument("--baseline", type=Path, help="only report what this file, from --write-baseline, does not have")
    run.add_argument("--write-baseline", type=Path, metavar="FILE", help="write all findings as a baseline")
    run.add_argument("--explain", metavar="PATH", help="say how a file or folder of the tree is reached, or why not")
    run.set_defaults(run=_run_check)
    rules = verbs.add_parser("rules", help="list every rule")
    rules.set_defaults(run=run_rules)
    pack = verbs.add_parser("pack-config", help="write a settings file as --policy-pack-config for pulumi")
    pack.add_argument("settings", type=Path)
    pack.set_defaults(run=run_pack_config)


def _run_check(options: argparse.Namespace) -> int:
    # The readers of Git trees are not loaded for the other verbs.
    code: int = importlib.import_module("cli.policy_check").run_check(options)
    return code


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
    shared = settings.model_dump(
        mode="json",
        by_alias=True,
        exclude_unset=True,
        exclude={"levels", "today", "entries", "bootstrap_paths", "exclude", "profile", "minimum_coverage"},
    )
    document = {}
    for rule in BY_ID.values():
        level = settings.levels.get(rule.id)
        document[rule.id] = {**shared, **({"enforcementLevel": level.value} if level else {})}
    print(json.dumps(document, indent=2))
    return OK
