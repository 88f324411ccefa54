"""`python3 -m toolchain build|where|list|times|lock|lock-releases|manifests|venv`."""

from __future__ import annotations

import argparse
import signal
import sys

from toolchain import venv
from toolchain.errors import ToolchainError
from toolchain.programs import cache, lock, manifests, pins, provide, release


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python3 -m toolchain", description="External programs, pinned.")
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="find, fetch or build programs and link them into .tools/bin")
    build.add_argument("name", nargs="*", help="programs (default: all)")
    where = commands.add_parser("where", help="print the path of a program")
    where.add_argument("name")
    commands.add_parser("list", help="show the programs and what is there")
    commands.add_parser("times", help="show how long each program took, slowest first")
    relock = commands.add_parser("lock", help="write go.mod and go.sum of programs from pins.toml")
    relock.add_argument("name", nargs="+")
    releases = commands.add_parser("lock-releases", help="pin the checksums of official releases in releases.lock")
    releases.add_argument("name", nargs="*", help="programs (default: all that have a release)")
    commands.add_parser("manifests", help="link upstream manifests into .tools/manifests")
    commands.add_parser("venv", help="make .venv from requirements.lock")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command; gives the exit code."""
    chosen = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if chosen.command == "venv":
            venv.provide()
            return 0
        table = pins.load()
        if chosen.command == "build":
            names = dict.fromkeys(table.program(name).name for name in chosen.name) or table.programs
            provide.provide([table.programs[name] for name in names])
        elif chosen.command == "where":
            print(provide.location(table.program(chosen.name), chosen.name))
        elif chosen.command == "list":
            _list(table)
        elif chosen.command == "times":
            _times(table)
        elif chosen.command == "lock":
            for name in chosen.name:
                lock.relock(table.program(name))
        elif chosen.command == "lock-releases":
            wanted = [table.program(name) for name in chosen.name] or list(table.programs.values())
            print(f"{release.lock_releases(wanted)} downloads are pinned; compare {release.LOCK.name} and commit it")
        elif chosen.command == "manifests":
            manifests.provide(list(table.manifests.values()))
    except ToolchainError as error:
        print(f"toolchain: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("toolchain: interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0


def _list(table: pins.Pins) -> None:
    for program in table.programs.values():
        known = cache.record(program)
        linked = all((provide.BIN / name).exists() for name in program.called)
        state = known.origin if known else "PATH" if linked else "missing"
        print(f"{program.name:28} {program.version:10} {state:8} {' '.join(program.called)}")


def _times(table: pins.Pins) -> None:
    known = [record for program in table.programs.values() if (record := cache.record(program))]
    for record in sorted(known, key=lambda record: -record.seconds):
        print(f"{record.seconds:8.1f} s  {record.name} ({record.origin})")


if __name__ == "__main__":
    sys.exit(main())
