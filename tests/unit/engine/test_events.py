"""The receiver of events over real HTTP: what is filed, what is refused, and how much it takes."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from secret_authority.clients.vault import VaultRefusedError
from secret_authority.contract.names import ROTATE_ANNOTATION
from secret_authority.contract.rotation_settings import RotationSettings
from secret_authority.core.catalogue.schema import Catalogue
from secret_authority.core.errors import Unavailable
from secret_authority.core.rotation.events import MOST_BODY_BYTES, sign
from secret_authority.engine.common.http import serve_posts
from secret_authority.engine.common.status import Status
from secret_authority.engine.events.rate import Bucket
from secret_authority.engine.events.receiver import OF_A_SENDER, OF_ALL, RECEIVING, Receiver, posts

KEY = b"a signing key of thirty-two bytes"
PAY_KEY = "platform-data/data/d/pay-key"
REQUESTS = "platform-rotation/data/rotation-requests/orders-db/"


def entry(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "class": "internal",
        "owner": "team",
        "vault": {"datasource": "d", "consumer": name},
        "rotation": {"type": "event-based"},
        **more,
    }


CATALOGUE = Catalogue.model_validate(
    {
        "apiVersion": "secret-authority.dev/v1",
        "kind": "SecretCatalogue",
        "bootstrapNamespaces": ["bootstrap-data"],
        "secrets": [
            entry(
                "orders-db",
                rotator={"kind": "generated"},
                consumers=[{"namespace": "shop", "secret": "orders-db", "keys": {"KEY": "key"}}],
            ),
            entry("other", rotator={"kind": "generated"}),
            entry("pay-key"),
        ],
        "events": {"senders": [{"name": "pay", "key": "pay-key", "secrets": ["orders-db"], "from": "edge"}]},
    }
)


class FakeVault:
    """Holds the sender's key and what is filed, create-only as the policy makes it."""

    def __init__(self) -> None:
        self.held: dict[str, dict[str, Any]] = {PAY_KEY: {"key": KEY.decode()}}
        self.down = self.forbidden = False
        self.reads = 0

    def read(self, path: str) -> dict[str, Any] | None:
        self.reads += 1
        if self.down:
            raise Unavailable("Vault is sealed")
        return {"data": {"data": self.held[path]}} if path in self.held else None

    def write(self, path: str, body: Mapping[str, Any]) -> None:
        if self.down:
            raise Unavailable("Vault is sealed")
        assert body["options"] == {"cas": 0}
        if path in self.held or self.forbidden:
            raise VaultRefusedError("POST", path, 403, ["permission denied"])
        self.held[path] = dict(body["data"])

    @property
    def filed(self) -> dict[str, dict[str, Any]]:
        return {path.removeprefix(REQUESTS): data for path, data in self.held.items() if path != PAY_KEY}


class FakeApi:
    def __init__(self) -> None:
        self.annotations: dict[str, str] = {}
        self.down = False

    def get(self, path: str) -> dict[str, Any] | None:
        assert path == "apis/external-secrets.io/v1/namespaces/shop/externalsecrets/orders-db"
        if self.down:
            raise Unavailable("the API server does not answer")
        return {"metadata": {"uid": "uid-1", "annotations": self.annotations}}


@pytest.fixture
def vault() -> FakeVault:
    return FakeVault()


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def status() -> Status:
    return Status()


@pytest.fixture
def now() -> list[float]:
    """The receiver's clock stands still unless a test moves it."""
    return [0.0]


@pytest.fixture
def receiver(vault: FakeVault, api: FakeApi, status: Status, now: list[float]) -> Receiver:
    settings = RotationSettings("dev", CATALOGUE)
    return Receiver(settings, api, vault, status, lambda: now[0])  # type: ignore[arg-type]


@pytest.fixture
def port(receiver: Receiver) -> Iterator[int]:
    server = serve_posts(posts(receiver), 0, MOST_BODY_BYTES, "127.0.0.1")
    yield int(server.server_address[1])
    server.shutdown()
    server.server_close()


def send(
    port: int,
    event: str = "evt-1",
    path: str = "/v1/events/pay",
    key: bytes = KEY,
    age: int = 0,
    body: bytes | None = None,
    **fields: Any,
) -> tuple[int, str]:
    content = json.dumps({"secret": "orders-db", "why": "leaked", **fields}).encode() if body is None else body
    stamp = int(time.time()) - age
    signature = sign(key, event, stamp, content)
    headers = {"Webhook-Id": event, "Webhook-Timestamp": str(stamp), "Webhook-Signature": signature}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", path, content, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_an_event_becomes_one_request_however_often_it_is_sent(port: int, vault: FakeVault, status: Status) -> None:
    assert send(port) == (202, '{"status": "filed", "message": "request ev-pay.evt-1 is filed"}\n')
    for _ in range(3):
        code, text = send(port)
        assert code == 200 and "filed before" in text
    assert list(vault.filed) == ["ev-pay.evt-1"]
    request = vault.filed["ev-pay.evt-1"]
    assert (request["kind"], request["trigger"], request["why"]) == ("rotate", "event", "pay: leaked")
    assert 'events_total{result="filed"} 1' in status.metrics()
    assert 'events_total{result="repeated"} 3' in status.metrics()
    # The same id with other words is no repetition.
    assert send(port, why="something else")[0] == 409
    assert vault.filed["ev-pay.evt-1"] == request


@pytest.mark.parametrize(
    ("sent", "code", "result"),
    [
        ({"key": b"another key of thirty-two bytes!"}, 401, "unauthorised"),
        ({"age": 3600}, 401, "replayed"),
        ({"age": -3600}, 401, "replayed"),
        ({"path": "/v1/events/nobody"}, 404, "refused"),
        ({"path": "/"}, 404, "refused"),
        ({"secret": "other"}, 403, "refused"),
        ({"compromise": True}, 403, "refused"),
        ({"body": b"{"}, 400, "refused"),
        ({"kind": "hold"}, 400, "refused"),
    ],
)
def test_what_may_not_be_is_refused_and_files_nothing(
    port: int, vault: FakeVault, status: Status, sent: dict[str, Any], code: int, result: str
) -> None:
    found, text = send(port, **sent)
    assert (found, json.loads(text)["status"]) == (code, result) and vault.filed == {}
    assert f'events_total{{result="{result}"}} 1' in status.metrics()


def test_a_body_is_bounded(port: int, vault: FakeVault) -> None:
    assert send(port, body=b"x" * (MOST_BODY_BYTES + 1))[0] == 413
    assert send(port, body=json.dumps({"secret": "orders-db", "why": "a"}).encode().ljust(MOST_BODY_BYTES))[0] == 202
    for headers in ({"Transfer-Encoding": "chunked"}, {"Content-Length": "-1"}, {"Content-Length": "9" * 30}):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            lines = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
            connection.sendall(f"POST /v1/events/pay HTTP/1.1\r\n{lines}\r\nxx".encode())
            assert connection.recv(4096).split()[1] in (b"411", b"413")
    assert len(vault.filed) == 1


def test_a_sender_has_so_many_messages_a_minute(port: int, vault: FakeVault, now: list[float]) -> None:
    codes = [send(port, f"evt-{number}")[0] for number in range(OF_A_SENDER + 2)]
    assert codes == [202] * OF_A_SENDER + [429, 429]
    assert vault.reads == 1, "the key is read for each message"
    now[0] = 60.0
    assert send(port, "evt-later")[0] == 202


def test_who_cannot_sign_is_bounded_as_well(receiver: Receiver, vault: FakeVault) -> None:
    codes = [receiver.receive("/v1/events/pay", {}, b"{}")[0] for _ in range(OF_ALL + 2)]
    assert codes == [401] * OF_ALL + [429, 429] and vault.reads == 1


def test_a_bucket_fills_again_and_never_overflows() -> None:
    now = [0.0]
    bucket = Bucket(60, lambda: now[0])
    assert sum(bucket.take() for _ in range(100)) == 60
    now[0] = 5.0
    assert sum(bucket.take() for _ in range(100)) == 5
    now[0] = 10_000.0
    assert sum(bucket.take() for _ in range(100)) == 60


def test_while_vault_is_away_a_sender_is_asked_to_try_again(port: int, vault: FakeVault) -> None:
    vault.down = True
    assert send(port)[0] == 503
    vault.down = False
    assert send(port)[0] == 202
    vault.down = True  # its key is known; the request cannot be filed
    assert send(port, "evt-2")[0] == 503
    vault.down = False
    assert send(port, "evt-2")[0] == 202


def test_without_the_right_to_file_nothing_is_called_filed(port: int, vault: FakeVault) -> None:
    vault.forbidden = True
    assert send(port)[0] == 503 and vault.filed == {}


@pytest.mark.parametrize("fields", [{}, {"key": "short"}, {"key": 5}])
def test_a_sender_without_a_usable_key_is_let_in_by_nothing(
    port: int, vault: FakeVault, fields: dict[str, Any]
) -> None:
    vault.held[PAY_KEY] = fields
    assert send(port, key=b"")[0] == 503 and send(port, key=b"short")[0] == 503 and vault.filed == {}


def test_nothing_that_was_sent_is_logged_or_answered(port: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for sent in ({"key": b"canary key of thirty-two bytes!!!"}, {"body": b'{"canary": "canary-value"}'}):
        _, text = send(port, **sent)
        assert "canary-value" not in text + caplog.text
    assert KEY.decode() not in caplog.text


def test_an_annotation_is_a_request(receiver: Receiver, vault: FakeVault, api: FakeApi, status: Status) -> None:
    receiver.look()
    assert vault.filed == {} and status.holds(RECEIVING)
    api.annotations = {ROTATE_ANNOTATION: "INC-7 left the company"}
    for _ in range(3):
        receiver.look()
    ((name, request),) = vault.filed.items()
    assert name.startswith("ev-k8s.") and request["trigger"] == "event"
    assert 'events_total{result="filed"} 1' in status.metrics()
    api.annotations = {ROTATE_ANNOTATION: "INC-8 once more"}
    receiver.look()
    assert len(vault.filed) == 2


def test_an_annotation_without_a_reason_is_named(
    receiver: Receiver, vault: FakeVault, api: FakeApi, status: Status
) -> None:
    api.annotations = {ROTATE_ANNOTATION: "now"}
    receiver.look()
    assert vault.filed == {} and "is not `ID WHY`" in str(status.as_dict()[RECEIVING])
    api.down = True
    receiver.look()
    assert "does not answer" in str(status.as_dict()[RECEIVING])
