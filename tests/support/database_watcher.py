"""Logs in to the example's database, from outside, every 50 ms with what a running pod of the application has.

What a pod has is read where its process has it: in its environment, or in the files that are mounted for it, as they
are at that moment. It runs in the network of the node, in a process of its own, so that neither the engines nor the
application's own session decide what it sees. It may fail, and says how often.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from pg8000.exceptions import DatabaseError, InterfaceError
from pg8000.native import Connection

from toolchain.node import cgroups, layout, sandbox

EVERY_SECONDS = 0.05
COMMAND = "database-session"
_INVALID_PASSWORD = "28P01"


@dataclass(frozen=True)
class Summary:
    """`kinds`: logins by the way in which the pod has its Secret. `unanswered`: tries that ended in neither."""

    logins: int
    denied: list[str]
    unanswered: int
    kinds: dict[str, int]
    users: list[str]
    old: str


class DatabaseWatcher:
    """Runs from the beginning of the block; `end` stops it and tries a login that should be refused by then."""

    def __init__(self, node: str, host: str, port: int, database: str) -> None:
        self._node, self._place = layout.require(node), (host, str(port), database)

    def __enter__(self) -> DatabaseWatcher:
        init = sandbox.init_pid(self._node)
        assert init is not None
        command = ["nsenter", "--target", str(init), "--net", "--", sys.executable, "-m", __name__]
        self._process = subprocess.Popen(
            [*command, self._node.cgroup, *self._place],
            cwd=layout.CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "watching\n"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def end(self, user: str, password: str) -> Summary:
        said, _ = self._process.communicate(json.dumps({"DB_USER": user, "DB_PASSWORD": password}) + "\n", timeout=60)
        return Summary(**json.loads(said))


def holders(cgroup: str) -> Iterator[tuple[int, str, dict[str, str]]]:
    """Each process of the application on the node: its id, how it has its login, and the login."""
    for pid in cgroups.processes(cgroup):
        home = Path(f"/proc/{pid}")
        try:
            words = home.joinpath("cmdline").read_bytes().decode().split("\0")
            if COMMAND not in words:
                continue
            folders = [word for word in words[words.index(COMMAND) :] if word.startswith("/")]
            if not folders:
                pairs = (entry.partition("=") for entry in home.joinpath("environ").read_bytes().decode().split("\0"))
                yield pid, "env", {name: text for name, _, text in pairs if name in ("DB_USER", "DB_PASSWORD")}
                continue
            files = [home / "root" / folder.lstrip("/") for folder in folders]
            found = {
                name: (folder / name).read_text()
                for name in ("DB_USER", "DB_PASSWORD")
                for folder in files
                if (folder / name).is_file()
            }
            # The kubelet changes a whole volume by a link; a file that is mounted alone has none beside it.
            kind = "file" if any((folder / "..data").is_symlink() for folder in files) else "subPath"
            yield pid, kind, found
        except OSError:
            continue  # it has ended meanwhile


def _login(host: str, port: int, database: str, held: dict[str, str]) -> str:
    """Empty for a login, else the code of the answer, "none" without one."""
    try:
        Connection(
            held["DB_USER"],
            host=host,
            port=port,
            database=database,
            password=held["DB_PASSWORD"],
            timeout=10,
            ssl_context=False,
        ).close()
    except DatabaseError as error:
        return str(error.args[0].get("C", "")) if error.args and isinstance(error.args[0], dict) else "unknown"
    except (InterfaceError, OSError):
        return "none"
    return ""


def watch(cgroup: str, host: str, port: int, database: str, ended: threading.Event) -> dict[str, Any]:
    logins, unanswered, denied, kinds, users = 0, 0, [], dict[str, int](), set[str]()
    while not ended.is_set():
        for pid, kind, held in holders(cgroup):
            if len(held) < 2:
                continue
            code = _login(host, port, database, held)
            if not code:
                logins, kinds[kind] = logins + 1, kinds.get(kind, 0) + 1
                users.add(held["DB_USER"])
            elif code == _INVALID_PASSWORD:
                # Who was replaced while the login ran has not been denied anything.
                if (pid, kind, held) in list(holders(cgroup)):
                    denied.append(f"{kind} as {held['DB_USER']} at {time.time():.2f}")
            else:
                unanswered += 1
            if ended.wait(EVERY_SECONDS):
                break
        ended.wait(EVERY_SECONDS)
    return {"logins": logins, "denied": denied, "unanswered": unanswered, "kinds": kinds, "users": sorted(users)}


def main() -> int:
    cgroup, host, port, database = sys.argv[1:]
    ended, found = threading.Event(), dict[str, Any]()

    def run() -> None:
        found.update(watch(cgroup, host, int(port), database, ended))

    thread = threading.Thread(target=run)
    thread.start()
    print("watching", flush=True)
    old = json.loads(sys.stdin.readline() or "null")
    ended.set()
    thread.join()
    if old is not None:
        code = _login(host, int(port), database, old)
        found["old"] = {"": "accepted", _INVALID_PASSWORD: "refused"}.get(code, f"error {code}")
        print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
