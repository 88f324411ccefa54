"""`audit` and `enter` when the connection with Vault is cut: one line, no traceback, and what became of the token."""

from __future__ import annotations

import contextlib
import io
import json
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli import cluster_answers
from cli.main import main
from secret_authority.access import vault_session
from secret_authority.access.cluster_state import UNREACHABLE
from secret_authority.access.kubeconfig import ClusterConnection
from secret_authority.access.vault_session import Session, reading
from secret_authority.clients.vault import Vault
from tests.support.fleets import Fleet, new_fleet

VALUE = "issued-7f3a"
EVENT = dict.fromkeys(("change", "why", "run", "result", "place", "digest"), "x") | {"at": "2026-01-01T00:00:00+00:00"}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return new_fleet(tmp_path_factory.mktemp("answers"))


class FakeVault:
    """Vault at the far end of the tunnel. `cut` names the ends of addresses whose answer never arrives.

    `held` is what each path answers to a GET or LIST.
    """

    def __init__(self, *cut: str, revoked: int = 204, held: dict[str, Any] | None = None) -> None:
        self.cut, self.revoked, self.held = cut, revoked, held or {}
        self.asked: list[str] = []

    def answer(self, method: str, path: str) -> tuple[int, Any] | None:
        self.asked.append(path)
        if self.cut and path.endswith(self.cut):
            return None
        if path == "auth/kubernetes/login":
            return 200, {"auth": {"client_token": "hvs.test", "lease_duration": 900}}
        if path.endswith("revoke-self"):
            return self.revoked, None if self.revoked == 204 else {"errors": ["sealed"]}
        if method == "POST":
            return 200, {"data": {"version": 1, "created_time": "2026-01-01T00:00:00Z"}}
        held = self.held.get(path.rstrip("/"))
        return (200, {"data": held}) if held else (404, {"errors": []})


@contextlib.contextmanager
def served(vault: FakeVault) -> Iterator[str]:
    """The address of a server that answers as `vault` does."""

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = vault.answer(self.command, self.path.removeprefix("/v1/"))
            if answer is None:
                self.close_connection = True
                return
            status, body = answer
            data = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_LIST = _do

        def log_message(self, format: str, *args: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def behind(patch: pytest.MonkeyPatch, vault: FakeVault) -> Iterator[None]:
    """Everything between a command and this Vault answers."""
    asked = SimpleNamespace(status=SimpleNamespace(token="jwt"))
    api = SimpleNamespace(create_namespaced_service_account_token=lambda *_, **__: asked)
    with served(vault) as address:
        patch.setattr(vault_session, "open_tunnel", lambda *_: None)
        patch.setattr(vault_session, "ca_bundle", lambda _: "CA")
        patch.setattr(Session, "vault", property(lambda _: Vault(address)))
        patch.setattr(ClusterConnection, "core_api", lambda _: api)
        patch.setattr("cli.commands.enter.kubernetes_user", lambda _: "ada@example.org")
        patch.setattr("cli.commands.enter.refuse_another_entry", lambda *_: None)
        yield


def enter(fleet: Fleet, patch: pytest.MonkeyPatch) -> int:
    patch.setattr("sys.stdin", io.StringIO(VALUE))
    return main(["enter", "--repository", str(fleet.repository), "--cluster", "dev", "payment-api"])


def test_audit_tells_a_cut_connection_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    vault = FakeVault("metadata/events")
    with behind(monkeypatch, vault):
        assert main(["audit"]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert re.match(r"the audit trail cannot be read: Vault at http\S+ cannot be reached: ProtocolError$", said.err)
    assert vault.asked[-1] == "auth/token/revoke-self"


def test_audit_shows_the_rest_of_a_trail_with_an_event_that_is_not_whole_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    held = {
        "platform-authority/metadata/events": {"keys": ["orders-db/", "broker/", "stray"]},
        "platform-authority/metadata/events/orders-db": {"keys": ["ho-1"]},
        "platform-authority/metadata/events/broker": {"keys": ["x"]},
        "platform-authority/data/events/orders-db/ho-1": {"data": EVENT | {"secret": "orders-db", "id": "ho-1"}},
        "platform-authority/data/events/broker/x": {"data": {"at": "now"}},
    }
    monkeypatch.setattr(cluster_answers, "read_cluster_state", lambda _: UNREACHABLE)
    with behind(monkeypatch, FakeVault(held=held)):
        assert main(["audit"]) == 1
    said = capsys.readouterr()
    assert "orders-db" in said.out
    assert "events/broker/x: an audit event lacks secret, change" in said.err and "events/stray" in said.err


def test_enter_does_not_say_that_a_value_is_not_there_when_the_answer_is_lost(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with behind(monkeypatch, FakeVault("/data/payment/billing")):
        assert enter(fleet, monkeypatch) == 1
    said = capsys.readouterr()
    assert said.out == "" and "cannot be reached: ProtocolError; whether the value was written is not known" in said.err
    assert said.err.count("\n") == 1 and VALUE not in said.err


@pytest.mark.parametrize(
    ("vault", "reason"),
    [
        (FakeVault("revoke-self"), r"Vault at \S+ cannot be reached: ProtocolError"),
        (FakeVault(revoked=503), "Vault answered 503 to POST auth/token/revoke-self: sealed"),
    ],
)
def test_enter_says_what_it_wrote_although_the_token_is_not_revoked(
    fleet: Fleet,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    vault: FakeVault,
    reason: str,
) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    with behind(monkeypatch, vault):
        assert enter(fleet, monkeypatch) == 0
    said = capsys.readouterr()
    assert "payment-api: version 1 written" in said.out
    pattern = (
        rf"warning: the token of this command could not be revoked \({reason}\); it ends by itself at (\S+ \S+)Z\n$"
    )
    found = re.search(pattern, said.err)
    assert found, said.err
    ends = datetime.fromisoformat(f"{found[1]}+00:00")
    assert before + timedelta(seconds=900) <= ends <= datetime.now(UTC) + timedelta(seconds=900)
    assert "hvs.test" not in said.err


def test_a_revoked_token_is_no_news(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    vault = FakeVault()
    with behind(monkeypatch, vault), reading(Session(ClusterConnection(Path("k")), tmp_path, 1, "role", "account")):
        assert vault.asked == ["auth/kubernetes/login"]
    assert vault.asked[1:] == ["auth/token/revoke-self"]
    assert capsys.readouterr().err == ""


def test_a_login_that_is_refused_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    vault = FakeVault()
    monkeypatch.setattr(vault, "answer", lambda *_: (403, {"errors": ["permission denied"]}))
    with behind(monkeypatch, vault):
        assert main(["audit"]) == 1
    refusal = "Vault refused POST auth/kubernetes/login (403): permission denied"
    assert capsys.readouterr().err == f"Vault cannot be reached: {refusal}\n"


def test_the_process_of_a_session_gets_all_of_it() -> None:
    session = Session(ClusterConnection(Path("/k"), "blue"), Path("/f"), 1, "role", "account", "127.0.0.1:1", 2.5)
    assert Session.from_json(session.to_json()) == session
