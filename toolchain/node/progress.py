"""Progress lines and waiting on conditions."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from toolchain.node.errors import NodeError

INTERVAL = 0.1  # seconds between two looks at a condition
REPORT_EVERY = 5.0  # seconds between two progress lines about the same condition
LOG_LINES = 15  # lines of a log that a failure shows
# The kubelet repeats this on machines whose root device it cannot measure. It explains nothing.
NOISE = "cannot find filesystem info for device"


class Progress:
    """Writes one line for each step to standard error, with the seconds since the start."""

    def __init__(self, subject: str, *, quiet: bool = False) -> None:
        self.subject = subject
        self.quiet = quiet
        self.started = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def say(self, text: str) -> None:
        if not self.quiet:
            print(f"[{self.subject} {self.elapsed:5.1f} s] {text}", file=sys.stderr, flush=True)

    def wait(
        self,
        what: str,
        missing: Callable[[], str | None],
        *,
        timeout: float,
        log: Path | None = None,
    ) -> None:
        """Wait until `missing` returns None. It returns what is still missing, as text.

        Raises NodeError after `timeout` seconds, with the last reason and the end of `log`. `missing`
        may raise NodeError itself when waiting is pointless.
        """
        begun = time.monotonic()
        reported = begun
        while (reason := missing()) is not None:
            now = time.monotonic()
            if now - begun > timeout:
                raise NodeError(f"{what}: not there after {timeout:.0f} s: {reason}{tail(log)}")
            if now - reported > REPORT_EVERY:
                reported = now
                self.say(f"waiting for {what}: {reason}")
            time.sleep(INTERVAL)
        if time.monotonic() - begun > INTERVAL:
            self.say(f"{what}: ready after {time.monotonic() - begun:.1f} s")


def tail(log: Path | None) -> str:
    """The last lines of a log as the end of an error message; empty without a log."""
    if log is None or not log.exists():
        return ""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 65536))
        lines = stream.read().decode(errors="replace").splitlines()
    lines = [line for line in lines if NOISE not in line][-LOG_LINES:]
    return f"\nlast lines of {log}:\n" + "\n".join(f"  {line[:400]}" for line in lines)
