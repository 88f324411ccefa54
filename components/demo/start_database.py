"""Runs in the example's database pod: prepares the server on its volume, then becomes the server.

No login is in Git in the clear, and none is made up here. The administrator's name and its SCRAM verifier come from a
mounted Secret; the password itself is in Vault alone. The application's users are made by the engine of rotation. The
superuser has no password, so it cannot come over the network.

Standard library only: this file is copied into the pod. Upstream: postgresql.org/docs, "initdb", "pg_hba.conf".
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

VOLUME = Path(os.environ.get("VOLUME", "/var/lib/postgresql"))
SOCKETS = os.environ.get("SOCKETS", "/run/postgresql")
ADMIN = Path(os.environ.get("ADMIN", "/secrets/orders-db-admin"))
PORT = os.environ.get("PORT", "5432")
DATA = VOLUME / "data"
DATABASE = OWNER = "orders"
ACCESS = """
local all postgres trust
host all all all scram-sha-256
"""
# Small: the example has a handful of sessions.
SETTINGS = ["-c", "shared_buffers=16MB", "-c", "max_connections=40"]
START_SECONDS = 120.0


def initialise() -> None:
    """An empty data folder, whole or not at all."""
    if DATA.exists():
        # Kubernetes may have opened it to a group, which the server refuses.
        DATA.chmod(0o700)
        return
    partial = VOLUME / "data.partial"
    shutil.rmtree(partial, ignore_errors=True)
    options = ["--username=postgres", "--encoding=UTF8", "--locale=C", "--auth=reject", "--no-instructions"]
    subprocess.run(["initdb", "--pgdata", str(partial), *options], check=True, stdout=subprocess.DEVNULL)
    (partial / "pg_hba.conf").write_text(ACCESS)
    partial.rename(DATA)


def server(*more: str) -> list[str]:
    return ["postgres", "-D", str(DATA), "-p", PORT, "-k", SOCKETS, *SETTINGS, *more]


def statements() -> str:
    """What makes the roles be as the Secret says. It may run again."""
    admin, verifier = ((ADMIN / name).read_text().strip() for name in ("username", "verifier"))
    if not verifier.startswith("SCRAM-SHA-256$"):
        raise SystemExit("the administrator's verifier is none of SCRAM-SHA-256")

    def missing(table: str, column: str, name: str, statement: str) -> str:
        there = f"SELECT FROM {table} WHERE {column} = {text(name)}"
        return f"SELECT {text(statement)} WHERE NOT EXISTS ({there}) \\gexec"

    return "\n".join(
        [
            missing("pg_roles", "rolname", OWNER, f"CREATE ROLE {quoted(OWNER)} NOLOGIN"),
            missing("pg_roles", "rolname", admin, f"CREATE ROLE {quoted(admin)}"),
            f"ALTER ROLE {quoted(admin)} LOGIN CREATEROLE PASSWORD {text(verifier)};",
            f"GRANT {quoted(OWNER)} TO {quoted(admin)} WITH ADMIN OPTION;",
            missing("pg_database", "datname", DATABASE, f"CREATE DATABASE {quoted(DATABASE)} OWNER {quoted(OWNER)}"),
            "",
        ]
    )


def text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def set_up() -> None:
    """Run the statements against a server that the network cannot reach."""
    private = subprocess.Popen(server("-c", "listen_addresses="))
    client = ["psql", "--no-psqlrc", "--quiet", "--host", SOCKETS, "--port", PORT, "--username", "postgres"]
    client += ["--set", "ON_ERROR_STOP=1"]
    try:
        until = time.monotonic() + START_SECONDS
        while subprocess.run([*client, "--command", "SELECT"], capture_output=True, check=False).returncode:
            if private.poll() is not None or time.monotonic() > until:
                raise SystemExit("the server does not start")
            time.sleep(0.1)
        subprocess.run(client, input=statements(), text=True, check=True, stdout=subprocess.DEVNULL)
    finally:
        private.terminate()
        private.wait()


def main() -> None:
    initialise()
    set_up()
    os.execvp("postgres", server("-h", "*"))  # noqa: S606  no shell is wanted


if __name__ == "__main__":
    main()
