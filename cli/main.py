"""The `secret-authority` command. Each file of this room adds the verbs of one subject."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence

import cli
from authority.problems import InvalidInputError


def parser() -> argparse.ArgumentParser:
    """The command line with all its verbs."""
    made = argparse.ArgumentParser(prog="secret-authority", description="One secret, one authority.")
    verbs = made.add_subparsers(dest="verb", required=True, metavar="VERB")
    for module in sorted(info.name for info in pkgutil.iter_modules(cli.__path__)):
        if module.endswith("_commands"):
            importlib.import_module(f"cli.{module}").register(verbs)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. Returns 0 when all is well, 1 when a check found something, 2 for bad input."""
    options = parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except InvalidInputError as error:
        print(error, file=sys.stderr)
        return 2
    return code


if __name__ == "__main__":
    sys.exit(main())
