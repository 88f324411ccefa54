"""Lanes of slow tests side by side, each with a pytest of its own: `python -m tests.lanes [OPTION...]`.

Two lanes have a node each; the third has the tests with other processes, at a lower priority. A node's tests mostly
wait, so that the third costs them little. Lines carry the name of their lane. At the end stand the closing lines of
all; the exit code is 0 when all passed.
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
# What has processes of its own and no node.
WITHOUT_NODES = ("tests/integration", "tests/fuzz")
LOWER_PRIORITY = ("nice", "-n", "10")
# pytest's code for "no tests": a selection may leave a lane empty.
NOTHING = 5


class Lane:
    """One pytest and what it said last."""

    def __init__(self, name: str, options: Sequence[str], prefix: Sequence[str] = ()) -> None:
        self.name, self.closing = name, "ended without a closing line"
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-u", "-m", "pytest", "--color=no", *options],
            cwd=ROOT,
            env={**os.environ, "TEST_NODE": f"lane-{name}"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            print(f"{self.name}| {line}", end="", flush=True)
            if line.strip():
                self.closing = line.strip("= \n")

    def interrupt(self) -> None:
        """As Ctrl-C does it: pytest ends its test, then takes its node down."""
        self._process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Wait for it; gives its exit code."""
        code = self._process.wait()
        self._reader.join()
        return 0 if code == NOTHING else code


def main(options: Sequence[str]) -> int:
    # Where this runs in the background, the shell has it ignore Ctrl-C; the lanes must not.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    lanes = [Lane(name, ["--lane", name, *options]) for name in LANES]
    lanes.append(Lane("c", [*WITHOUT_NODES, *options], LOWER_PRIORITY))

    def stop(*_: object) -> None:
        for lane in lanes:
            lane.interrupt()

    # Ctrl-C reaches the lanes by itself, as they are in the terminal's group; the end of this process does not.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, stop)
    codes = [lane.end() for lane in lanes]
    for lane in lanes:
        print(f"lane {lane.name}:")
        print(lane.closing, flush=True)
    return max(codes, key=abs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
