"""`secret-authority pulumi ...`: pulumi with the policy pack and the way to Vault, and without the ways around them.

A stack rule runs when a preview ends; an update without its preview has made everything before the rule
speaks. So the flag is refused, the variable by which pulumi 3.250 takes it too, and `watch`, whose updates have none.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from cli.commands import COMMANDS
from cli.pulumi_flags import is_on, variable_is_on
from cli.pulumi_session import NoVaultError, around, reads_first, wanted_session

PACK = Path(__file__).resolve().parents[2] / "policy"
# Commands that plan or change resources of the stack, and take --policy-pack.
_JUDGED = frozenset({"up", "update", "preview", "pre"})
_WATCH = "watch"
_PACK_FLAG = "--policy-pack"
_VARIABLE = "PULUMI_OPTION_SKIP_PREVIEW"
REFUSED = 2


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("pulumi", help=COMMANDS["pulumi"].help)
    verb.add_argument("--pack", type=Path, default=PACK, help="folder of the policy pack")
    verb.add_argument("arguments", nargs=argparse.REMAINDER, help="arguments of pulumi, such as: up --yes")
    verb.set_defaults(run=run_pulumi)


def run_pulumi(options: argparse.Namespace) -> int:
    """Run pulumi with this process's terminal. Returns its exit code, 2 when it is refused."""
    arguments = [argument for argument in options.arguments if argument != "--"]
    refusal = refuse(arguments, os.environ)
    if refusal:
        print(refusal, file=sys.stderr)
        return REFUSED
    program = shutil.which("pulumi")
    if program is None:
        print("pulumi is not installed; run `make tools`", file=sys.stderr)
        return REFUSED
    arguments = with_pack(arguments, options.pack)
    session = wanted_session(program, arguments) if reads_first(arguments, os.environ) else None
    if session is None:
        return subprocess.run([program, *arguments], check=False).returncode
    try:
        with around(session, arguments) as (arguments, more):
            return subprocess.run([program, *arguments], env={**os.environ, **more}, check=False).returncode
    except NoVaultError as error:
        print(error, file=sys.stderr)
        return REFUSED


def refuse(arguments: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """Why these arguments may not run; None when they may."""
    if _WATCH in arguments:
        return (
            f"{_WATCH} is refused: it updates without a preview, so everything is made before the rules over the whole "
            "stack are asked. Use up"
        )
    if not _JUDGED & set(arguments):
        return None
    for argument in arguments:
        name, _, value = argument.partition("=")
        bundled = argument.startswith("-") and not argument.startswith("--") and "f" in name[1:]
        if (name == "--skip-preview" or bundled) and is_on(value):
            return (
                f"{argument} is refused: without its preview an update has made everything before the rules over the "
                "whole stack are asked. Leave it out"
            )
    if variable_is_on(environment, _VARIABLE):
        return f"{_VARIABLE} is set, which skips the preview that the policy pack blocks in. Unset it"
    return None


def with_pack(arguments: Sequence[str], pack: Path) -> list[str]:
    """The arguments, with the pack for commands that are judged and name none."""
    command = next((argument for argument in arguments if argument in _JUDGED), None)
    if command is None or any(argument.partition("=")[0] == _PACK_FLAG for argument in arguments):
        return list(arguments)
    place = list(arguments).index(command) + 1
    return [*arguments[:place], _PACK_FLAG, str(pack), *arguments[place:]]
