"""The `secret-authority` command."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterable, Sequence

from cli.commands import COMMANDS
from secret_authority.core.errors import InvalidInputError


def parser(loaded: Iterable[str] = tuple(COMMANDS)) -> argparse.ArgumentParser:
    """The command line. Of commands that are not `loaded`, only the name and the help are known."""
    made = argparse.ArgumentParser(prog="secret-authority", description="One secret, one authority.")
    verbs = made.add_subparsers(dest="verb", required=True, metavar="VERB")
    modules = {COMMANDS[name].module for name in loaded}
    for module in sorted(modules):
        importlib.import_module(f"cli.commands.{module}").register(verbs)
    for name, command in COMMANDS.items():
        if command.module not in modules:
            verbs.add_parser(name, help=command.help)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0 when all is well, 1 when a check found something, 2 for bad input."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    asked = [given[0]] if given and given[0] in COMMANDS else []
    options = parser(asked).parse_args(given)
    try:
        code: int = options.run(options)
    except InvalidInputError as error:
        print(error, file=sys.stderr)
        return 2
    return code


if __name__ == "__main__":
    sys.exit(main())
