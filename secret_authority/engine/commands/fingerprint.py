"""`fingerprint`: a workload that proves which values it reads, and shows none of them.

For each folder of a mounted Secret it prints one line of JSON with an HMAC of its files under a key that is
mounted too. Who knows key and values computes the same; nobody else learns anything from it.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from pathlib import Path

from secret_authority.core.digest import keyed_digest

# How often the files are looked at; the kubelet replaces them within about a minute.
LOOK_SECONDS = 1.0


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("fingerprint", help="print keyed fingerprints of mounted Secrets, again when they change")
    verb.add_argument("--key", type=Path, required=True, help="file with the key, at least 32 bytes")
    verb.add_argument("--once", action="store_true", help="print and end")
    verb.add_argument("folders", type=Path, nargs="+", help="folders of mounted Secrets")
    verb.set_defaults(run=_run)


def fingerprint(key: bytes, folder: Path) -> str:
    """The keyed digest of the files of a mounted Secret. Raises ValueError for a short key, OSError."""
    # The kubelet keeps its own entries beside the files, with a leading "..".
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name[:2] != ".."}
    return keyed_digest(key, files)


def _run(options: argparse.Namespace) -> int:
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    shown: dict[str, str] = {}
    while True:
        try:
            key = options.key.read_bytes()
            now = {folder.name: fingerprint(key, folder) for folder in options.folders}
        except OSError as error:
            # Between two versions of the kubelet's link a file may be away for a moment.
            print(json.dumps({"waiting": error.strerror}), file=sys.stderr, flush=True)
        else:
            if now != shown:
                print(json.dumps(now, sort_keys=True), flush=True)
                shown = now
        if options.once or ended.wait(LOOK_SECONDS):
            return 0 if shown else 1
