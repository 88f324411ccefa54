"""All that a change has to pass, in lanes side by side: `python -m tests.lanes [OPTION...]`, options being pytest's.

Three lanes have a node each, whose tests mostly wait. The fourth uses the time: it has ruff and mypy, the unit tests,
and the tests with other processes. Lines carry the name of their lane. At the end are the closing lines of all; the
exit code is 0 when all passed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from tests.support.stages import LANES

ROOT = Path(__file__).parents[1]
CHECKS = ((sys.executable, "-m", "ruff", "check", "."), (sys.executable, "-m", "mypy"))
# A process without work takes some of another one's, so that no long module is left at the end.
UNIT = ("-n", "auto", "--dist", "worksteal", "tests/unit")
# What has processes of its own and no node: the tests of a module share those. Many wait: one more than cores.
WITHOUT_NODES = ("-n", str((os.cpu_count() or 1) + 1), "--dist", "loadfile", "tests/integration", "tests/fuzz")
# Memory for processor time, for Pulumi, Vault, etcd and the API server: all are written in Go.
FEWER_COLLECTIONS = {"GOGC": "300"}
# pytest's code for "no tests": a selection may leave a lane empty.
NOTHING = 5


class Lane:
    """Commands that run one after the other, whatever the one before said, and the closing line of each."""

    def __init__(self, name: str, commands: Sequence[Sequence[str]]) -> None:
        self.name, self.closing, self.code = name, list[str](), 0
        self._stopped = False
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, args=(commands,))
        self._thread.start()

    def _run(self, commands: Sequence[Sequence[str]]) -> None:
        for command in commands:
            if self._stopped:
                self.code = self.code or -signal.SIGINT
                return
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **FEWER_COLLECTIONS, "TEST_NODE": f"lane-{self.name}"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
            closing = "ended without a closing line"
            assert self._process.stdout is not None
            for line in self._process.stdout:
                print(f"{self.name}| {line}", end="", flush=True)
                if line.strip():
                    closing = line.strip("= \n")
            code = self._process.wait()
            self.closing.append(closing)
            self.code = self.code or (0 if code == NOTHING else code)

    def stop(self, interrupt: bool) -> None:
        """Start nothing more; `interrupt` what runs, so that pytest ends its test, then takes its node down."""
        self._stopped = True
        if interrupt and self._process is not None:
            self._process.send_signal(signal.SIGINT)

    @property
    def running(self) -> bool:
        """Whether a command of it runs."""
        return self._process is not None and self._process.poll() is None

    def end(self) -> int:
        """Wait for it; gives the first exit code that is not 0."""
        self._thread.join()
        return self.code


def pytest(*options: str) -> list[str]:
    return [sys.executable, "-u", "-m", "pytest", "--color=no", *options]


def main(options: Sequence[str]) -> int:
    lanes = list[Lane]()

    def stop(number: int, _: object) -> None:
        for lane in lanes:
            # Ctrl-C reaches the processes by itself, as they are in the terminal's group; a second one would cut short
            # what takes a node down.
            lane.stop(interrupt=number != signal.SIGINT)

    # Before the first process: where this runs in the background the shell has it ignore Ctrl-C, and they would too.
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    lanes += [Lane(name, [pytest("--lane", name, *options, "tests/e2e")]) for name in LANES]
    lanes.append(Lane("d", [*CHECKS, pytest(*UNIT, *options), pytest(*WITHOUT_NODES, *options)]))

    codes = [lane.end() for lane in lanes]
    for lane in lanes:
        print(f"lane {lane.name}:")
        print("\n".join(lane.closing), flush=True)
    return max(codes, key=abs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
