"""`python3 -m toolchain.gitserver start|stop|status|publish`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from toolchain.gitserver import publish, server
from toolchain.node import layout
from toolchain.node.errors import NodeError
from toolchain.node.progress import Progress


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python3 -m toolchain.gitserver", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for command, text in (
        ("start", "start the server; returns when it answers"),
        ("stop", "end the server; the repositories stay"),
        ("status", "whether it answers, where, and which authority to trust"),
        ("publish", "put a folder onto the main branch; prints the address and the commit"),
    ):
        sub = commands.add_parser(command, help=text)
        sub.add_argument("--name", default="dev", help="the node")
        if command == "publish":
            sub.add_argument("--repo", required=True, help="name of the repository, without .git")
            sub.add_argument("--from", dest="folder", required=True, type=Path)
        if command in ("publish", "status"):
            sub.add_argument("--json", action="store_true")
    return parser


def _show(facts: dict[str, object], as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts, indent=2))
    else:
        for name, value in facts.items():
            print(f"{name}: {value}")


def main() -> int:
    arguments = parser().parse_args()
    try:
        if arguments.command == "stop" and layout.find(arguments.name) is None:
            return 0  # without its node there is no server to end
        node = layout.require(arguments.name)
        if arguments.command == "start":
            server.start(node, Progress(f"git {node.name}"))
        elif arguments.command == "stop":
            server.stop(node)
        elif arguments.command == "status":
            running = server.pid(node) is not None and server.answers(node)
            where = f"{node.host_address}:{server.PORT}"
            facts = {"running": running, "address": where, "ca": str(server.authority(node))}
            _show(facts, arguments.json)
            return 0 if running else 1
        else:
            commit = publish.publish(node, arguments.repo, arguments.folder)
            facts = {
                "url": server.url(arguments.repo),
                "host_url": server.host_url(node, arguments.repo),
                "ca": str(server.authority(node)),
                "commit": commit,
            }
            _show(facts, arguments.json)
    except (NodeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
