"""`python3 -m toolchain.objectstore start|stop|status`."""

from __future__ import annotations

import argparse
import json
import sys

from toolchain.node import layout
from toolchain.node.errors import NodeError
from toolchain.node.progress import Progress
from toolchain.objectstore import server


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python3 -m toolchain.objectstore", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for command, text in (
        ("start", "start the server; returns when it has its bucket, and prints where it is"),
        ("stop", "end the server; the objects stay until the node goes"),
        ("status", "whether it runs, and where"),
    ):
        sub = commands.add_parser(command, help=text)
        sub.add_argument("--name", default="dev", help="the node")
    return parser


def main() -> int:
    arguments = parser().parse_args()
    try:
        if arguments.command == "stop" and layout.find(arguments.name) is None:
            return 0  # without its node there is no server to end
        node = layout.require(arguments.name)
        if arguments.command == "stop":
            server.stop(node)
            return 0
        if arguments.command == "start":
            server.start(node, Progress(f"s3 {node.name}"))
        running = server.pid(node) is not None
        facts = {
            "running": running,
            "endpoint": server.url(node),
            "bucket": server.BUCKET,
            "ca": str(server.authority(node)),
            "keys": str(server.home(node) / "keys.json"),
        }
        print(json.dumps(facts))
        return 0 if running else 1
    except (NodeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
