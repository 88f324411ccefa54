"""`audit` and `enter` when the connection with Vault is cut: one line, no traceback, and what became of the token."""

from __future__ import annotations

import contextlib
import io
import json
import re
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import urllib3

from cli.commands import audit as handover_commands
from cli.commands import enter as consumption_commands
from cli.main import main
from cli.vault_answers import ask
from secret_authority.access import vault_session
from secret_authority.access.vault_session import Session, reading
from secret_authority.access.vault_tunnel import VaultSessionError, free_port
from tests.support.fleets import Fleet, new_fleet

CUT = urllib3.exceptions.ProtocolError("Connection aborted.")
VALUE = "issued-7f3a"
SESSION = "Vault cannot be reached: "


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return new_fleet(tmp_path_factory.mktemp("answers"))


class FakeVault:
    """Vault at the far end of the tunnel. `cut` names the ends of addresses whose answer never arrives."""

    def __init__(self, *cut: str, revoked: int = 204) -> None:
        self.cut, self.revoked = cut, revoked
        self.asked: list[str] = []

    def request(self, method: str, url: str, headers: dict[str, str] | None = None, body: str | None = None) -> Any:
        self.asked.append(url.partition("/v1/")[2])
        if url.endswith(self.cut):
            raise CUT
        if url.endswith("auth/kubernetes/login"):
            granted = {"auth": {"client_token": "hvs.test", "lease_duration": 900}}
            return SimpleNamespace(status=200, data=json.dumps(granted).encode())
        if url.endswith("revoke-self"):
            return SimpleNamespace(status=self.revoked, data=b"")
        if method == "POST":
            return SimpleNamespace(status=200, data=b'{"data": {"version": 1}}')
        return SimpleNamespace(status=404, data=b'{"errors": []}')


def behind(patch: pytest.MonkeyPatch, vault: FakeVault) -> None:
    """Everything between a command and this Vault answers."""
    asked = SimpleNamespace(status=SimpleNamespace(token="jwt"))
    api = SimpleNamespace(create_namespaced_service_account_token=lambda *_, **__: asked)
    patch.setattr(vault_session, "open_tunnel", lambda *_: None)
    patch.setattr(vault_session, "ca_bundle", lambda _: "CA")
    patch.setattr(vault_session, "vault_pool", lambda _: vault)
    patch.setattr(vault_session, "core_api", lambda *_: api)


def enter(fleet: Fleet, patch: pytest.MonkeyPatch) -> int:
    patch.setattr("sys.stdin", io.StringIO(VALUE))
    return main(["enter", "--repository", str(fleet.repository), "--cluster", "dev", "payment-api"])


def test_audit_tells_a_cut_connection_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    vault = FakeVault("?list=true")
    behind(monkeypatch, vault)
    assert main(["audit"]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err == f"{SESSION}ProtocolError\n"
    assert vault.asked[-1] == "auth/token/revoke-self"


def test_enter_does_not_say_that_a_value_is_not_there_when_the_answer_is_lost(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    vault = FakeVault("/data/payment/billing")
    behind(monkeypatch, vault)
    assert enter(fleet, monkeypatch) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith(f"{SESSION}ProtocolError; whether the value was written is not known")
    assert said.err.count("\n") == 1 and VALUE not in said.err


@pytest.mark.parametrize(
    ("vault", "reason"),
    [(FakeVault("revoke-self"), "ProtocolError"), (FakeVault(revoked=503), "Vault answered 503")],
)
def test_enter_says_what_it_wrote_although_the_token_is_not_revoked(
    fleet: Fleet,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    vault: FakeVault,
    reason: str,
) -> None:
    behind(monkeypatch, vault)
    before = datetime.now(UTC).replace(microsecond=0)
    assert enter(fleet, monkeypatch) == 0
    said = capsys.readouterr()
    assert "payment-api: version 1 written" in said.out
    assert f"warning: the token of this command could not be revoked ({reason}); it ends by itself at " in said.err
    found = re.search(r"at (\S+ \S+)Z\n$", said.err)
    assert found, said.err
    ends = datetime.fromisoformat(f"{found[1]}+00:00")
    assert before + timedelta(seconds=900) <= ends <= datetime.now(UTC) + timedelta(seconds=900)
    assert "hvs.test" not in said.err


def test_a_revoked_token_is_no_news(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    vault = FakeVault()
    behind(monkeypatch, vault)
    with reading(Session("kubeconfig", None, str(tmp_path), 1, "role", "account")) as (_, token):
        assert token == "hvs.test" and vault.asked == ["auth/kubernetes/login"]
    assert vault.asked[1:] == ["auth/token/revoke-self"]
    assert capsys.readouterr().err == ""


@contextlib.contextmanager
def server_that_says(answer: bytes) -> Iterator[str]:
    """The address of a server that reads one request, writes `answer` and closes the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(65536)
                client.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1/x"
        thread.join(10)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "ProtocolError"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{", "ProtocolError"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{", "it answered 200, and not in JSON"),
        (b"HTTP/1.1 307 Moved\r\nContent-Length: 0\r\n\r\n", "it answered 307: no reason given"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 17\r\n\r\n" + b'{"errors": ["x"]}', "it answered 403: x"),
    ],
)
def test_every_broken_answer_is_one_error(answer: bytes, words: str) -> None:
    with server_that_says(answer) as address, pytest.raises(VaultSessionError) as caught:
        ask(urllib3.PoolManager(retries=False), "GET", address, "token")
    assert str(caught.value) == words


def test_nobody_listening_is_the_same_error() -> None:
    with pytest.raises(VaultSessionError, match="NewConnectionError"):
        ask(urllib3.PoolManager(retries=False), "GET", f"http://127.0.0.1:{free_port()}/v1/x", "token")


def test_both_commands_ask_in_the_one_way() -> None:
    assert consumption_commands.ask is handover_commands.ask is ask
