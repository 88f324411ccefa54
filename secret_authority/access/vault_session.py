"""A session of the operator's machine with Vault for one run of Pulumi: a tunnel and a token that ends soon.

A process of its own holds both, because Pulumi deletes resources after the program has ended, and refreshes
them before it starts. It ends when the run does, revokes its token and removes its files. The token is that of
the configurator role, got with a ten minute token of a service account (TokenRequest) by the operator's own
right in the cluster. It is in a file that only the owner can read, never in a Pulumi input and so never in a
state. A second process does nothing but wait: when the first one is killed, it removes the file and revokes the token.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import kubernetes

from secret_authority.access.kubeconfig import ClusterConnection
from secret_authority.access.run_end import RunEnd
from secret_authority.access.vault_tunnel import ERRORS, VaultSessionError, free_port, open_tunnel
from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.contract.names import (
    AUDIENCE,
    CA_CONFIG,
    CA_KEY,
    CONFIGURATOR_ACCOUNT,
    ENGINE_NAMESPACE,
    SERVER_NAME,
)
from secret_authority.core.errors import Unavailable

TOKEN_FILE, CA_FILE = "token", "ca.crt"
_TOKEN_SECONDS = 600
# No run of Pulumi takes longer; a session that is left over, for whatever reason, ends then.
MOST_SECONDS = 6 * 3600.0
_NO_TOKEN = b"\n"
_START_SECONDS = 60.0
# Set in the environment of a pulumi whose session was opened before it.
OPEN_VARIABLE = "SECRET_AUTHORITY_VAULT_SESSION"


@dataclass(frozen=True)
class Session:
    """`folder` gets the CA and the token.

    `engine` is the address whose end is the end of the run; empty when the end is that of standard input.
    `patience` is how long a login is tried, in seconds. `pod`: one Vault pod; empty for any that is ready.
    """

    connection: ClusterConnection
    folder: Path
    port: int
    role: str
    account: str
    engine: str = ""
    patience: float = _START_SECONDS
    pod: str = ""

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def vault(self) -> Vault:
        """Vault at the end of the tunnel, known by its own name. Needs the CA in `folder`."""
        return Vault(self.address, str(self.folder / CA_FILE), server_name=SERVER_NAME)

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Session:
        data = json.loads(text)
        given = data.pop("connection")
        connection = ClusterConnection(Path(given["kubeconfig"]), given["context"])
        return cls(**{**data, "connection": connection, "folder": Path(data["folder"])})


def engine_address() -> str:
    """The address of the running Pulumi engine, as the language host gave it to this program."""
    arguments = sys.orig_argv
    return arguments[arguments.index("--engine") + 1]


def open_session(session: Session) -> None:
    """Start the session's process, for as long as `session.engine` runs. Raises `VaultSessionError`."""
    process = _start(session)
    assert process.stdin is not None  # noqa: S101  it is a pipe
    process.stdin.close()


@contextlib.contextmanager
def held_session(session: Session) -> Iterator[None]:
    """The session of a run that begins and ends inside this context. Raises `VaultSessionError`."""
    process = _start(session)
    try:
        yield
    finally:
        assert process.stdin is not None  # noqa: S101  it is a pipe
        process.stdin.close()
        process.wait()


def configurator(connection: ClusterConnection, folder: Path, port: int, **more: Any) -> Session:
    """A session as the identity that manages mounts, policies and roles, and nothing more."""
    return Session(connection, folder, port, CONFIGURATOR_ACCOUNT, CONFIGURATOR_ACCOUNT, **more)


def _start(session: Session) -> subprocess.Popen[str]:
    """The session's process, when Vault answers through it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "secret_authority.access.vault_session"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[2],
        start_new_session=True,
        text=True,
    )
    assert process.stdin is not None  # noqa: S101  both are pipes
    assert process.stdout is not None  # noqa: S101
    process.stdin.write(session.to_json() + "\n")
    process.stdin.flush()
    # One line: empty when all is well, else what is wrong.
    line = process.stdout.readline()
    if line != "\n":
        process.stdin.close()
        process.wait()
        raise VaultSessionError(line.strip() or "the process of the session ended at once")
    return process


def main() -> int:
    session = Session.from_json(sys.stdin.readline())
    end, guard = RunEnd(session.engine), _start_guard(session)
    folder = session.folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        open_tunnel(session.connection, session.port, session.pod)
        _write(folder / CA_FILE, ca_bundle(session))
        token = _first_login(session)
    except ERRORS as error:
        os.write(guard, _NO_TOKEN)
        print(f"Vault cannot be reached for its configuration: {_words(error)}", flush=True)
        return 1
    os.write(guard, f"{token}\n".encode())
    _write(folder / TOKEN_FILE, token)
    print(flush=True)
    begun = renewed = time.monotonic()
    try:
        while not end.reached(1.0) and time.monotonic() - begun < MOST_SECONDS:
            if time.monotonic() - renewed > _TOKEN_SECONDS / 2:
                old, token = token, log_in(session)[0]
                os.write(guard, f"{token}\n".encode())
                _write(folder / TOKEN_FILE, token)
                revoke(session, old)
                renewed = time.monotonic()
    finally:
        (folder / TOKEN_FILE).unlink(missing_ok=True)
        with contextlib.suppress(*ERRORS):
            revoke(session, token)
        os.write(guard, _NO_TOKEN)
    return 0


def _start_guard(session: Session) -> int:
    """Fork the process that waits for the end of this one; returns the pipe by which it gets each token.

    Called while there are no other threads. The last line counts: empty when no token is left.
    """
    reading, writing = os.pipe()
    if os.fork():
        os.close(reading)
        return writing
    code = 1
    try:
        os.close(writing)
        for stream in (0, 1, 2):
            os.dup2(os.open(os.devnull, os.O_RDWR), stream)
        with os.fdopen(reading) as lines:
            token = ["", *lines.read().splitlines()][-1]
        if token:
            clean_up(session, token)
        code = 0
    finally:
        os._exit(code)


def clean_up(session: Session, token: str) -> None:
    """Remove the file of a session that was killed, unless it is another one's by now, and revoke its token."""
    file = session.folder / TOKEN_FILE
    with contextlib.suppress(FileNotFoundError):
        if file.read_text() == token:
            file.unlink()
    with contextlib.suppress(*ERRORS):
        own = replace(session, port=free_port())
        open_tunnel(own.connection, own.port)
        revoke(own, token)


def _first_login(session: Session) -> str:
    """Log in as soon as Vault takes it: a pod that was unsealed a moment ago is not active yet."""
    end = time.monotonic() + session.patience
    while True:
        try:
            return log_in(session)[0]
        except ERRORS:
            if time.monotonic() > end:
                raise
        time.sleep(0.5)


def _words(error: Exception) -> str:
    if isinstance(error, kubernetes.client.ApiException):
        return f"the API server answered {error.status} {error.reason}"
    known = isinstance(error, VaultSessionError | Unavailable | VaultRefusedError)
    return str(error) if known else type(error).__name__


def ca_bundle(session: Session) -> str:
    return ca_bundle_of(session.connection)


def ca_bundle_of(connection: ClusterConnection) -> str:
    """The CA certificates by which Vault of a cluster is known. Raises what is in `ERRORS`."""
    api = connection.core_api()
    return str(api.read_namespaced_config_map(CA_CONFIG, ENGINE_NAMESPACE, _request_timeout=(5, 30)).data[CA_KEY])


def log_in(session: Session) -> tuple[str, int]:
    """A token of the session's role, and for how many seconds it is good."""
    api = session.connection.core_api()
    request = {"spec": {"audiences": [AUDIENCE], "expirationSeconds": _TOKEN_SECONDS}}
    asked = api.create_namespaced_service_account_token(
        session.account, ENGINE_NAMESPACE, request, _request_timeout=(5, 30)
    )
    answer = session.vault.write("auth/kubernetes/login", {"role": session.role, "jwt": asked.status.token})
    granted = answer["auth"]
    return str(granted["client_token"]), int(granted["lease_duration"])


def revoke(session: Session, token: str) -> None:
    session.vault.with_token(token).write("auth/token/revoke-self", {})


def _write(path: Path, text: str) -> None:
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    fresh.replace(path)


@contextlib.contextmanager
def reading(session: Session) -> Iterator[Vault]:
    """For commands: a tunnel and a token inside this process, both gone afterwards.

    Yields Vault as `session.role`. Raises `VaultSessionError` when the way cannot be opened. A token that cannot be
    revoked is a warning: what the command did is done.
    """
    open_tunnel(session.connection, session.port, session.pod)
    try:
        _write(session.folder / CA_FILE, ca_bundle(session))
        token, seconds = log_in(session)
    except ERRORS as error:
        raise VaultSessionError(_words(error)) from None
    ends = datetime.now(UTC) + timedelta(seconds=seconds)
    try:
        yield session.vault.with_token(token)
    finally:
        _give_back(session, token, ends)


def _give_back(session: Session, token: str, ends: datetime) -> None:
    """Revoke the token; a warning when that fails."""
    try:
        revoke(session, token)
    except ERRORS as error:
        until = f"{ends:%Y-%m-%d %H:%M:%SZ}"
        message = f"the token of this command could not be revoked ({_words(error)}); it ends by itself at {until}"
        print(f"warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
