"""`listener`: beside Vault in its pod, tell it about new certificates and a full audit file.

Vault reads certificates again and reopens its audit file on SIGHUP. This process shares the pod's process
namespace and user with Vault and has no rights in the cluster.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

log = logging.getLogger(__name__)

_LOOK_SECONDS = 10.0


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("listener", help="tell Vault about new certificates and turn its audit file over")
    verb.add_argument("--watch", type=Path, action="append", required=True, help="file that Vault should read again")
    verb.add_argument("--audit-file", type=Path, required=True)
    verb.add_argument("--audit-bytes", type=int, default=64 << 20, help="turn the audit file over at this size")
    verb.add_argument("--audit-keep", type=int, default=4, help="how many old audit files stay")
    verb.add_argument("--program", default="vault", help="name of the process to signal")
    verb.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())

    def tell(news: str) -> None:
        log.info("telling %s: %s", options.program, news)
        for pid in find_processes(options.program):
            with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
                os.kill(pid, signal.SIGHUP)

    reloader = Reloader(options.watch, options.audit_file, options.audit_bytes, options.audit_keep, tell)
    # Waits first: SIGHUP ends a Vault that has only just been started and does not listen for it yet.
    while not stop.wait(_LOOK_SECONDS):
        reloader.look()
    return 0


@dataclass
class Reloader:
    """Looks at the files, and calls `tell` with what Vault should know. Its first look always does.

    What changed while nobody looked cannot be seen, and reading an unchanged certificate again does no harm. After a
    change it tells twice: Vault has its files from a volume of its own, which the kubelet may update a moment later.
    """

    watch: Sequence[Path]
    audit_file: Path
    audit_bytes: int
    audit_keep: int
    tell: Callable[[str], None]
    _seen: str = field(default="", init=False)
    _again: bool = field(default=False, init=False)

    def look(self) -> None:
        now = fingerprint(self.watch)
        turned = rotate_log(self.audit_file, self.audit_bytes, self.audit_keep)
        if now != self._seen or turned:
            self.tell("new audit file" if turned else "new certificate" if self._seen else "first look")
            self._again, self._seen = bool(self._seen) and now != self._seen, now
        elif self._again:
            self.tell("new certificate, once more")
            self._again = False


def fingerprint(files: Iterable[Path]) -> str:
    """Changes when the content of a file changes; a missing file counts as empty."""
    whole = hashlib.sha256()
    for file in files:
        try:
            whole.update(hashlib.sha256(file.read_bytes()).digest())
        except FileNotFoundError:
            whole.update(b"\0")
    return whole.hexdigest()


def rotate_log(file: Path, most_bytes: int, keep: int) -> bool:
    """Rename the audit file when it is full, so that Vault begins a new one; the oldest goes.

    True when Vault has to reopen its file: also when there is none beside an older one, as after a kill between
    the renaming and the signal. Vault writes on to the older one then.
    """
    newest_old = file.with_name(f"{file.name}.1")
    try:
        if file.stat().st_size < most_bytes:
            return False
    except FileNotFoundError:
        return newest_old.exists()
    for number in range(keep, 0, -1):
        older = file.with_name(f"{file.name}.{number}")
        if number == keep:
            older.unlink(missing_ok=True)
        elif older.exists():
            older.rename(file.with_name(f"{file.name}.{number + 1}"))
    file.rename(newest_old)
    return True


def find_processes(program: str) -> list[int]:
    """Process ids by the name of their executable, as this process namespace shows them."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if (entry / "comm").read_text().strip() == program:
                found.append(int(entry.name))
        except OSError:
            continue  # it ended meanwhile
    return found
