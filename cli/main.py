"""The `secret-authority` command."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import importlib
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from cli.commands import COMMANDS
from cli.failures import INTERRUPTED, PIPE_CLOSED, CommandError, describe
from secret_authority.core.errors import InvalidInputError

# pydantic looks for plugins in the metadata of every installed package, which takes longer than most commands. None is
# wanted: what the command does depends on its own code alone.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


class Parser(argparse.ArgumentParser):
    """argparse, with the name that was probably meant."""

    def error(self, message: str) -> NoReturn:
        _, invalid, rest = message.partition("invalid choice: ")
        if invalid:
            given, _, choices = rest.partition(" (choose from ")
            near = difflib.get_close_matches(given.strip("'\""), choices.rstrip(")").replace("'", "").split(", "), 1)
            message += f". Did you mean {near[0]}?" if near else ""
        super().error(message)

    def refuse_unknown(self, given: Sequence[str]) -> None:
        """Name an option that does not exist before one that is missing: it is often the same one, mistyped."""
        known = list(self._option_string_actions)
        for argument in given:
            option = argument.partition("=")[0]
            if argument == "--":
                return
            if option.startswith("--") and not any(name.startswith(option) for name in known):
                near = difflib.get_close_matches(option, known, 1)
                self.error(f"{option} is unknown{f'. Did you mean {near[0]}?' if near else ''}")


class _ShowVersion(argparse.Action):
    """argparse's own action wants the version each time, and that is read from the package's metadata."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        print(f"secret-authority {_version()}")
        parser.exit()


def parser(loaded: Iterable[str] = tuple(COMMANDS)) -> Parser:
    """The command line. Of commands that are not `loaded`, only the name and the help are known."""
    made = Parser(prog="secret-authority", description="One secret, one authority.")
    made.add_argument("--version", action=_ShowVersion, nargs=0, help="show the version of this program and exit")
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
    for stream in (sys.stdout, sys.stderr):
        # A file name that is not UTF-8 is shown as it can be shown.
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        code = run_command(given)
        sys.stdout.flush()
    except InvalidInputError as error:
        print(error, file=sys.stderr)
        return 2
    except CommandError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has seen enough. Nothing may be written at exit either.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except Exception as error:
        code, message = describe(error)
        print(message, file=sys.stderr)
    return code


def run_command(given: Sequence[str]) -> int:
    """Parse the arguments and run the command; what it raises is not handled."""
    asked = [given[0]] if given and given[0] in COMMANDS else []
    made = parser(asked)
    leaf, rest = _leaf(made, list(given))
    # What follows `pulumi` is for pulumi.
    if asked != ["pulumi"]:
        leaf.refuse_unknown(rest)
    options = made.parse_args(given)
    code: int = options.run(options)
    return code


def _leaf(made: Parser, given: list[str]) -> tuple[Parser, list[str]]:
    """The parser of the command that is meant, and the arguments after its name."""
    actions = [action for action in made._actions if isinstance(action, argparse._SubParsersAction)]
    if actions and given and given[0] in actions[0].choices:
        return _leaf(actions[0].choices[given[0]], given[1:])
    return made, given


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("secret-authority")
    except PackageNotFoundError:
        return "0"


if __name__ == "__main__":
    sys.exit(main())
