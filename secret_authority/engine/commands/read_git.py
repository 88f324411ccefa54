"""`read-git`: read one revision of Git for the engine, which starts it; see engine/handover/git_process.py."""

from __future__ import annotations

import argparse
import sys

from secret_authority.engine.common.hardening import forbid_dumps
from secret_authority.engine.handover.git_process import COMMAND, answer_request, limit_process


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser(COMMAND, help="read a revision of Git for the engine: a request on standard input")
    verb.set_defaults(run=_run)


def _run(_: argparse.Namespace) -> int:
    limit_process()  # first: a process that cannot be dumped may not change its own entries in /proc
    forbid_dumps()
    try:
        sys.stdout.write(answer_request(sys.stdin.read()))
    except MemoryError:
        return 1
    return 0
