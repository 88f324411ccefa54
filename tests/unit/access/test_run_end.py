"""A session ends with its run: whoever gets the port afterwards does not keep it alive, and a kill leaves no token."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from secret_authority.access import vault_session
from secret_authority.access.kubeconfig import ClusterConnection
from secret_authority.access.run_end import RunEnd, listening_ancestor
from secret_authority.access.vault_session import TOKEN_FILE, Session
from secret_authority.access.vault_tunnel import VaultSessionError
from tests.support.waiting import until

# Listens, starts a child that waits for the end of the run, and ends when standard input does.
ENGINE = """
import socket, subprocess, sys
listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], f"127.0.0.1:{port}"], start_new_session=True)
print(port, flush=True)
sys.stdin.read()
"""
WATCH = """
import sys, time
from secret_authority.access.run_end import RunEnd
end, begun = RunEnd(sys.argv[1]), time.monotonic()
print("watching", flush=True)
while not end.reached(0.2) and time.monotonic() - begun < 60:
    pass
print("ended", flush=True)
"""


def test_another_program_on_the_port_does_not_prolong_the_run() -> None:
    engine = subprocess.Popen(
        [sys.executable, "-c", ENGINE, WATCH], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert engine.stdin and engine.stdout
    lines = {engine.stdout.readline().strip(), engine.stdout.readline().strip()}
    assert "watching" in lines
    (port,) = (int(line) for line in lines if line.isdigit())
    engine.stdin.close()
    engine.wait(60)
    # The same port, by somebody else, as long as the child may live.
    with socket.create_server(("127.0.0.1", port)):
        assert engine.stdout.readline().strip() == "ended"


def test_only_an_ancestor_that_listens_is_watched() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert listening_ancestor(port) is None, "this process is not its own ancestor"
        assert not RunEnd(f"127.0.0.1:{port}").reached(0.01), "then the port has to do"
    assert RunEnd(f"127.0.0.1:{port}").reached(0.01)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(ClusterConnection(Path("/nonexistent")), tmp_path / "session", 1, "role", "account")


def outcome(session: Session, monkeypatch: pytest.MonkeyPatch, told: Path, end: Any) -> int | None:
    """Run the session in a process of its own, with `end` in the place of the end of the run; gives its exit code."""

    def revoke(_: Session, token: str) -> None:
        with told.open("a") as file:
            file.write(f"revoked {token}\n")

    def main() -> None:
        monkeypatch.setattr(vault_session, "open_tunnel", lambda *_: None)
        monkeypatch.setattr(vault_session, "ca_bundle", lambda _: "CA")
        monkeypatch.setattr(vault_session, "log_in", lambda _: ("hvs.token", 600))
        monkeypatch.setattr(vault_session, "revoke", revoke)
        monkeypatch.setattr(vault_session, "RunEnd", lambda _: end)
        monkeypatch.setattr(sys, "stdin", io.StringIO(session.to_json() + "\n"))
        sys.exit(vault_session.main())

    process = multiprocessing.get_context("fork").Process(target=main)
    process.start()
    process.join(60)
    return process.exitcode


class End:
    """`reached` as a test wants it."""

    def __init__(self, act: Any) -> None:
        self._act = act

    def reached(self, _: float) -> bool:
        return bool(self._act())


def test_a_killed_session_leaves_no_token(session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = tmp_path / "told"

    def kill() -> None:
        assert (session.folder / TOKEN_FILE).read_text() == "hvs.token"
        os.kill(os.getpid(), signal.SIGKILL)

    assert outcome(session, monkeypatch, told, End(kill)) == -signal.SIGKILL
    until(told.exists, "the token is revoked", 60)
    assert told.read_text() == "revoked hvs.token\n"
    assert not (session.folder / TOKEN_FILE).exists()


def test_a_session_that_ends_in_order_revokes_once(
    session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    assert outcome(session, monkeypatch, told, End(lambda: True)) == 0
    assert told.read_text() == "revoked hvs.token\n" and not (session.folder / TOKEN_FILE).exists()


def test_a_session_that_nothing_ends_has_a_limit(
    session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(vault_session, "MOST_SECONDS", 0.0)
    assert outcome(session, monkeypatch, tmp_path / "told", End(lambda: False)) == 0


def test_the_token_of_the_next_session_stays(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    session.folder.mkdir()
    (session.folder / TOKEN_FILE).write_text("hvs.next")
    revoked: list[str] = []
    monkeypatch.setattr(vault_session, "open_tunnel", lambda *_: None)
    monkeypatch.setattr(vault_session, "revoke", lambda _, token: revoked.append(token))
    vault_session.clean_up(session, "hvs.old")
    assert revoked == ["hvs.old"] and (session.folder / TOKEN_FILE).read_text() == "hvs.next"


def test_a_session_without_vault_leaves_nothing(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise VaultSessionError("no Vault pod is ready")

    monkeypatch.setattr(vault_session, "open_tunnel", away)
    monkeypatch.setattr(sys, "stdin", io.StringIO(session.to_json() + "\n"))
    assert vault_session.main() == 1 and not list(session.folder.iterdir())
