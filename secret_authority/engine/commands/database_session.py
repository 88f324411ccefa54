"""`database-session`: an application of the example. It logs in to PostgreSQL with what its Secrets say, and stays.

DB_HOST, DB_PORT, DB_USER and DB_PASSWORD are files of mounted Secrets, or variables where no folder is named. It is
ready while its session lives. Of a failure it shows the kind, never a value.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from secret_authority.engine.common.http import serve
from secret_authority.engine.common.process import add_port, begin
from secret_authority.engine.common.status import Status

# Condition.
LOGGED_IN = "LoggedIn"
LOOK_SECONDS = 1.0
TIMEOUT_SECONDS = 5


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("database-session", help="log in to PostgreSQL with what Secrets say, until ended")
    verb.add_argument("--database", required=True)
    add_port(verb)
    verb.add_argument("folders", type=Path, nargs="*", help="folders of mounted Secrets")
    verb.set_defaults(run=_run)


def read_login(folders: Sequence[Path], environment: Mapping[str, str]) -> dict[str, str]:
    """What the Secrets say now. Raises KeyError for a name that is nowhere, OSError."""
    names = ("DB_HOST", "DB_PORT", "DB_USER", "DB_PASSWORD")
    if not folders:
        return {name: environment[name] for name in names}
    files = {name: folder / name for folder in folders for name in names if (folder / name).is_file()}
    return {name: files[name].read_text() for name in names}


def _run(options: argparse.Namespace) -> int:
    # Loaded here: no other command in a workload needs it.
    from pg8000.exceptions import DatabaseError, InterfaceError
    from pg8000.native import Connection

    begin("database-session")
    ended, status = threading.Event(), Status()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    serve(status, options.port, LOGGED_IN)
    while not ended.is_set():
        try:
            login = read_login(options.folders, os.environ)
            with contextlib.closing(
                Connection(
                    login["DB_USER"],
                    host=login["DB_HOST"],
                    port=int(login["DB_PORT"]),
                    database=options.database,
                    password=login["DB_PASSWORD"],
                    timeout=TIMEOUT_SECONDS,
                    application_name="database-session",
                )
            ) as session:
                while True:
                    session.run("SELECT 1")
                    status.set(LOGGED_IN, True, f"to {login['DB_HOST']} as {login['DB_USER']}")
                    status.heartbeat()
                    if ended.wait(LOOK_SECONDS):
                        return 0
        except DatabaseError as error:
            code = error.args[0].get("C", "") if error.args and isinstance(error.args[0], dict) else ""
            status.set(LOGGED_IN, False, f"the server refuses it, error {code}")
        except (InterfaceError, OSError, KeyError, ValueError) as error:
            status.set(LOGGED_IN, False, f"no session: {type(error).__name__}")
        status.heartbeat()
        ended.wait(LOOK_SECONDS)
    logging.getLogger(__name__).info("ended")
    return 0
