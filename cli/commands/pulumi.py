"""`secret-authority pulumi ...`: pulumi with the policy pack and the way to Vault, and without the ways around them.

A stack rule runs when a preview ends; an update without its preview has made everything before the rule
speaks. So the flag is refused, the variable by which pulumi 3.250 takes it too, and `watch`, whose updates have none.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cli.commands import COMMANDS
from cli.passphrase import add_passphrase_fd, add_unlock_with, passphrase, unlocker
from cli.pulumi_flags import is_on, variable_is_on
from cli.pulumi_session import NoVaultError, around, reads_first, wanted_session
from components.settings.stack import ROOT_IDENTITY_VARIABLE
from secret_authority.clients.age import read_identity
from secret_authority.clients.age_header import is_sealed

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
    add_passphrase_fd(verb)
    add_unlock_with(verb)
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
    try:
        with _opened_root(options) as opened:
            if session is None:
                return _wait([program, *arguments], opened)
            with around(session, arguments) as (arguments, more):
                return _wait([program, *arguments], {**opened, **more})
    except NoVaultError as error:
        print(error, file=sys.stderr)
        return REFUSED


@contextlib.contextmanager
def _opened_root(options: argparse.Namespace) -> Iterator[dict[str, str]]:
    """A root identity that is protected by a passphrase or a key is opened here, where a person can be asked.

    The program gets it through an anonymous file in memory, which goes with this process; yields what to add to the
    environment: the name of that file. Raises `InvalidInputError`.
    """
    given = os.environ.get(ROOT_IDENTITY_VARIABLE)
    file = Path(given).expanduser() if given else None
    if file is None or not file.is_file() or not is_sealed(file.read_bytes()):
        yield {}
        return
    identity = read_identity(file, passphrase(options.passphrase_fd), unlocker(options.unlock_with))
    memory = os.memfd_create("root-identity")
    try:
        os.fchmod(memory, 0o600)
        os.write(memory, identity.as_file().encode())
        yield {ROOT_IDENTITY_VARIABLE: f"/proc/{os.getpid()}/fd/{memory}"}
    finally:
        os.close(memory)


def _wait(command: Sequence[str], more: Mapping[str, str]) -> int:
    """Run pulumi to its end. Ctrl-C reaches it too, and it ends in order: its state must know what it has done."""
    with subprocess.Popen(command, env={**os.environ, **more}) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue


def _named_packs(arguments: Sequence[str]) -> set[Path]:
    found: list[str] = []
    for number, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == _PACK_FLAG:
            found += [value] if equals else list(arguments[number + 1 : number + 2])
    return {Path(value).resolve() for value in found if value}


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
    """The arguments, with the pack for commands that are judged. A pack that is named there comes as well."""
    command = next((argument for argument in arguments if argument in _JUDGED), None)
    if command is None or pack.resolve() in _named_packs(arguments):
        return list(arguments)
    place = list(arguments).index(command) + 1
    return [*arguments[:place], _PACK_FLAG, str(pack), *arguments[place:]]
