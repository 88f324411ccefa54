"""The Vault client at the end of a tunnel: the certificate is checked against Vault's own name, not the tunnel's."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from secret_authority.clients.vault import Vault, VaultRefusedError, server_time
from secret_authority.core.errors import Unavailable
from secret_authority.engine.tls.ca import issue, new_ca
from tests.support.http_server import Handler, served

NAME = "vault.vault.svc"


class Answers(Handler):
    def do_GET(self) -> None:
        self.answer(json.dumps({"data": {"token": self.headers.get("X-Vault-Token")}}).encode())


@pytest.fixture
def tunnel(tmp_path: Path) -> Iterator[int]:
    """A port of this machine at which a server with a certificate for `NAME` answers. Its CA is in ca.crt."""
    ca = new_ca("test")
    (tmp_path / "ca.crt").write_text(ca.certificate)
    pair = issue(ca, [NAME])
    (tmp_path / "pair.pem").write_text(pair.key + pair.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair.pem")
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_vault_at_the_end_of_a_tunnel_is_known_by_its_own_name(tunnel: int, tmp_path: Path) -> None:
    vault = Vault(f"https://127.0.0.1:{tunnel}", str(tmp_path / "ca.crt"), server_name=NAME)
    assert vault.with_token("t").read("x") == {"data": {"token": "t"}}


@pytest.mark.parametrize("name", [None, "other.vault.svc"])
def test_another_name_is_no_vault(tunnel: int, tmp_path: Path, name: str | None) -> None:
    vault = Vault(f"https://127.0.0.1:{tunnel}", str(tmp_path / "ca.crt"), server_name=name)
    with pytest.raises(Unavailable, match="SSLError"):
        vault.read("x")


@pytest.mark.parametrize(
    ("status", "said", "error"),
    [
        (500, "JSON string value exceeds allowed length", VaultRefusedError),
        (500, "put failed due to value being too large; got 1048643 bytes, max: 1048576 bytes", VaultRefusedError),
        (413, "request body too large", VaultRefusedError),
        (400, "invalid request", VaultRefusedError),
        (500, "internal error", Unavailable),
        (503, "Vault is sealed", Unavailable),
        (429, "rate limit", Unavailable),
    ],
)
def test_what_vault_will_never_take_is_no_passing_trouble(status: int, said: str, error: type[Exception]) -> None:
    class Refuses(Handler):
        def do_POST(self) -> None:
            self.answer(json.dumps({"errors": [said]}).encode(), status)

    with served(Refuses) as url, pytest.raises(error) as caught:
        Vault(url).with_token("t").write("platform-data/data/a", {"data": {"k": "CANARY"}})
    assert said in str(caught.value) and "CANARY" not in str(caught.value)


class Member(Handler):
    """sys/health of a Vault server: statuses and parameters as in api-docs/system/health."""

    standby = True
    protocol_version = "HTTP/1.1"
    connections: ClassVar[set[object]] = set()

    def do_GET(self) -> None:
        self.connections.add(self.client_address)
        path, _, asked = self.path.partition("?")
        usual = 429 if self.standby and "standbyok=true" not in asked.split("&") else 200
        body = json.dumps({"standby": self.standby, "server_time_utc": 1_800_000_000}).encode()
        self.answer(body, usual if path == "/v1/sys/health" else 404)


@pytest.fixture
def member() -> Iterator[Vault]:
    Member.connections.clear()
    with served(Member) as url:
        yield Vault(url)


def test_a_standby_tells_the_time_too(member: Vault) -> None:
    assert member.health() == 429
    assert server_time(member) == datetime.fromtimestamp(1_800_000_000, UTC)


def test_a_server_that_cannot_answer_now_is_not_asked_over_the_same_connection_again(member: Vault) -> None:
    for _ in range(2):
        server_time(member)
    assert len(Member.connections) == 1
    for _ in range(2):
        with pytest.raises(Unavailable):
            member.read("sys/health")
    assert len(Member.connections) == 2, "the one that was open, and another one"


class Standby(Handler):
    """A standby whose active server is gone, or cannot be reached from it: it names that server and says no more."""

    def do_GET(self) -> None:
        self.send_response(307)
        self.send_header("Location", f"https://10.0.0.9:8200{self.path}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_LIST = do_POST = do_PATCH = do_DELETE = do_GET


@pytest.mark.parametrize(
    "ask",
    [
        lambda vault: vault.read("kv/data/a"),
        lambda vault: vault.list("auth/token/accessors"),
        lambda vault: vault.write("kv/data/a", {"data": {}}),
        lambda vault: vault.patch("kv/metadata/a", {}),
        lambda vault: vault.delete("kv/data/a"),
        lambda vault: vault.content("sys/storage/raft/snapshot"),
        lambda vault: vault.upload("sys/storage/raft/snapshot-force", b"x"),
    ],
)
def test_a_standby_that_only_names_another_server_has_neither_answered_nor_written(
    ask: Callable[[Vault], object],
) -> None:
    with served(Standby) as url, pytest.raises(Unavailable, match="another server is active"):
        ask(Vault(url).with_token("t"))
