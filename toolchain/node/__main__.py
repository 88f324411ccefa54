"""`python3 -m toolchain.node up|down|status|kubeconfig|recycle|kill|exec|packages`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys

from toolchain.node import addons, api, layout, lifecycle, packages, parts, processes, sandbox
from toolchain.node.errors import NodeError
from toolchain.node.progress import Progress


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python3 -m toolchain.node", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for command, text in (
        ("up", "bring the node up or repair it; prints the path of its kubeconfig"),
        ("down", "end the node and remove every trace of it"),
        ("kubeconfig", "print the path of the node's kubeconfig"),
        ("recycle", "empty the released volumes and offer them again"),
        ("kill", "end one part, or all at once like a power cut; for tests"),
        ("exec", "run a command in the node's namespaces"),
        ("packages", "install the Debian packages that are missing"),
        ("status", "show one node, or all"),
    ):
        sub = commands.add_parser(command, help=text)
        if command == "status":
            sub.add_argument("--name")
            sub.add_argument("--json", action="store_true")
        else:
            sub.add_argument("--name", default="dev")
        if command == "kill":
            sub.add_argument("--part", choices=parts.NAMES, help="without it, everything ends")
        if command == "exec":
            sub.add_argument("argv", nargs=argparse.REMAINDER, help="the command, after --")
    return parser


def _status(name: str | None, as_json: bool) -> int:
    nodes = [layout.require(name)] if name else layout.known_nodes()
    facts = [lifecycle.status(node) for node in nodes]
    if as_json:
        print(json.dumps(facts, indent=2))
    for fact in [] if as_json else facts:
        print(f"{fact['name']}: {'Ready' if fact['ready'] else fact['reason']}, ", end="")
        print(f"DNS {'answers' if fact['dns'] else 'does not answer'}, API at {fact['address']}")
        for part, pid in fact["parts"].items():
            print(f"  {part:<24} {pid or 'not running'}")
    return 0 if all(fact["ready"] and fact["dns"] for fact in facts) else 1


def _kill(node: layout.Node, part: str | None) -> None:
    if part is None:
        processes.kill_all(node.cgroup)
        return
    found = parts.all_parts(node)[part]
    pid = found.pid
    if pid is not None:
        processes.send(found.cgroup, pid, signal.SIGKILL)


def _exec(node: layout.Node, argv: list[str]) -> None:
    pid = sandbox.init_pid(node)
    if pid is None:
        raise NodeError(f"node {node.name}: it does not run")
    command = argv[1:] if argv[:1] == ["--"] else argv
    if not command:
        raise NodeError("exec: name a command after --")
    inside = ["nsenter", "--target", str(pid), "--mount", "--net", "--pid", "--uts", "--ipc", "--"]
    os.execvp("nsenter", [*inside, *command])  # noqa: S606


def main() -> int:
    arguments = parser().parse_args()
    try:
        if arguments.command == "status":
            return _status(arguments.name, arguments.json)
        progress = Progress(f"node {arguments.name}")
        if arguments.command == "up":
            node = lifecycle.up(arguments.name, progress)
            progress.say("Ready, DNS answers")
            print(node.kubeconfig)
        elif arguments.command == "packages":
            packages.ensure_debian_packages(progress)
        elif arguments.command == "down":
            lifecycle.down(arguments.name, progress)
        else:
            node = layout.require(arguments.name)
            if arguments.command == "kubeconfig":
                print(node.kubeconfig)
            elif arguments.command == "recycle":
                addons.recycle(node, api.Client(node), progress)
            elif arguments.command == "kill":
                _kill(node, arguments.part)
            elif arguments.command == "exec":
                _exec(node, arguments.argv)
    except NodeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
