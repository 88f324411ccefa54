"""The engine's way to the Kubernetes API, against an HTTPS server in this process that answers as it is told."""

from __future__ import annotations

import base64
import datetime as real_datetime
import json
import logging
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from kubernetes.config import incluster_config

from secret_authority.clients import kubernetes as kubernetes_api
from secret_authority.clients.kubernetes import Api, ApiRefusedError, collection, named
from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.core.evidence import Evidence, EvidenceResult, Outcome
from secret_authority.core.phases import Phase
from secret_authority.engine.commands.bootstrap_evidence import KubernetesView
from secret_authority.engine.evidence.bootstrap import NotYetError
from secret_authority.engine.tls.ca import Pair, issue, new_ca
from tests.support.vault_process import free_ports

VALUE = "a-value-that-nobody-may-see"
SECRET = named("secrets", "ns", "one")


@dataclass(frozen=True)
class Seen:
    method: str
    path: str
    headers: dict[str, str]
    body: str
    connection: object
    client: str | None

    @property
    def sent(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    """`cut` ends the connection: 0 instead of an answer, 1 in the middle of its body. `until` delays the answer."""

    status: int = 200
    body: object = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    until: threading.Event | None = None


@dataclass
class Server:
    port: int
    ca: Path
    client: Pair
    seen: list[Seen] = field(default_factory=list)
    answer: Callable[[Seen], Answer] = lambda _: Answer()

    def says(self, *answers: Answer) -> None:
        """These answers one after the other, the last one again and again."""
        left = list(answers)
        self.answer = lambda _: left.pop(0) if len(left) > 1 else left[0]


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            certificate = self.connection.getpeercert()  # type: ignore[attr-defined]
            client = dict(part[0] for part in certificate["subject"])["commonName"] if certificate else None
            seen = Seen(self.command, self.path, dict(self.headers), body, self.connection, client)
            server.seen.append(seen)
            answer = server.answer(seen)
            if answer.until is not None:
                answer.until.wait(30)
            self.close_connection = answer.cut is not None
            if answer.cut == 0:
                return
            data = json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[:5] if answer.cut else data)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

        def log_message(self, format: str, *args: object) -> None:
            return

    return Handler


class Listener(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        return  # a client that breaks off a handshake is what a test wants


@pytest.fixture(scope="module")
def _listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("api")
    authority = new_ca("test CA")
    now = real_datetime.datetime.now(real_datetime.UTC)
    own, client = issue(authority, ["127.0.0.1", "localhost"], now), issue(authority, ["somebody"], now)
    (folder / "ca.crt").write_text(authority.certificate)
    (folder / "tls.pem").write_text(own.certificate + own.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.pem")
    context.load_verify_locations(folder / "ca.crt")
    context.verify_mode = ssl.CERT_OPTIONAL
    server = Server(0, folder / "ca.crt", client)
    listener = Listener(("127.0.0.1", 0), _handler(server))
    listener.socket = context.wrap_socket(listener.socket, server_side=True, do_handshake_on_connect=False)
    server.port = listener.server_address[1]
    thread = threading.Thread(target=listener.serve_forever, daemon=True)
    thread.start()
    yield server
    listener.shutdown()
    thread.join()
    listener.server_close()


@pytest.fixture
def server(_listening: Server) -> Server:
    _listening.seen = []
    _listening.says(Answer())
    return _listening


@pytest.fixture
def account(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pod's surroundings. Returns the file with its token."""
    token = tmp_path / "token"
    token.write_text("first-token")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(server.ca))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
    return token


@pytest.fixture
def api(account: Path) -> Api:
    return Api.in_cluster()


def status(code: int, reason: str) -> Answer:
    """The API server's own form of a refusal; its message may quote an object."""
    return Answer(code, {"kind": "Status", "reason": reason, "message": f"{VALUE} is not good", "code": code})


def kubeconfig(folder: Path, server: Server, user: dict[str, str], **cluster: str) -> Path:
    path = folder / "kubeconfig"
    place = {"server": f"https://127.0.0.1:{server.port}", "certificate-authority": str(server.ca), **cluster}
    content = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": place}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(content))
    return path


def every_call(api: Api) -> dict[str, Callable[[], object]]:
    return {
        "GET": lambda: api.get(SECRET),
        "POST": lambda: api.create(collection("secrets", "ns"), {"data": {}}),
        "PUT": lambda: api.replace(SECRET, {"data": {}}),
        "PATCH": lambda: api.merge(SECRET, {"data": {}}),
        "DELETE": lambda: api.delete(SECRET),
    }


def test_objects_go_and_come_as_they_are(api: Api, server: Server) -> None:
    found = {"metadata": {"name": "one", "creationTimestamp": "2026-01-01T00:00:00Z"}, "data": {"a": "ü", "b": None}}
    server.says(Answer(200, found))
    assert api.get(SECRET) == found
    assert api.create(collection("secrets", "ns"), found) == found
    assert api.replace(SECRET, found) == found
    assert api.merge(f"{SECRET}?fieldManager=me", found) == found
    asked = [(seen.method, seen.path) for seen in server.seen]
    assert asked == [
        ("GET", "/api/v1/namespaces/ns/secrets/one"),
        ("POST", "/api/v1/namespaces/ns/secrets"),
        ("PUT", "/api/v1/namespaces/ns/secrets/one"),
        ("PATCH", "/api/v1/namespaces/ns/secrets/one?fieldManager=me"),
    ]
    assert server.seen[0].body == "" and [seen.sent for seen in server.seen[1:]] == [found] * 3
    assert [seen.headers["Content-Type"] for seen in server.seen[1:]] == [
        "application/json",
        "application/json",
        "application/merge-patch+json",  # null in it takes a field away
    ]


def test_a_list_gives_its_items(api: Api, server: Server) -> None:
    server.says(Answer(200, {"items": [{"a": 1}]}), Answer(200, {"items": None}))
    assert api.list("api/v1/secrets", "a in (b,c),d=e f") == [{"a": 1}]
    assert api.list("api/v1/secrets") == []
    assert [seen.path for seen in server.seen] == [
        "/api/v1/secrets?labelSelector=a%20in%20%28b%2Cc%29%2Cd%3De%20f",
        "/api/v1/secrets",
    ]


def test_only_the_very_object_is_deleted(api: Api, server: Server) -> None:
    server.says(Answer(), Answer(), status(404, "NotFound"), status(409, "Conflict"))
    api.delete(SECRET, uid="u-1")
    api.delete(SECRET)
    api.delete(SECRET)  # it is gone
    with pytest.raises(LostRace):
        api.delete(SECRET, uid="u-1")
    assert [seen.sent for seen in server.seen[:2]] == [{"preconditions": {"uid": "u-1"}}, {}]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_every_answer_has_its_meaning_and_is_asked_for_once(api: Api, server: Server, method: str) -> None:
    call = every_call(api)[method]
    expected: list[tuple[Answer, type[Exception], str]] = [
        (status(409, "Conflict"), LostRace, ""),
        (status(500, "InternalError"), Unavailable, f"answered 500 to {method}"),
        (status(503, "ServiceUnavailable"), Unavailable, f"answered 503 to {method}"),
        (Answer(503, {}, {"Retry-After": "0"}), Unavailable, "answered 503"),
        (Answer(429, {}, {"Retry-After": "0"}), Unavailable, "answered 429"),
        (status(400, "BadRequest"), ApiRefusedError, "(400): BadRequest"),
        (status(403, "Forbidden"), ApiRefusedError, "(403): Forbidden"),
        (status(422, "Invalid"), ApiRefusedError, "(422): Invalid"),
        (Answer(401, "no object"), ApiRefusedError, "(401): no reason given"),
        (Answer(307, {}, {"Location": "/elsewhere"}), ApiRefusedError, "(307): no reason given"),
    ]
    for number, (answer, error, words) in enumerate(expected, 1):
        server.says(answer)
        with pytest.raises(error) as caught:
            call()
        assert words in str(caught.value) and VALUE not in str(caught.value)
        assert len(server.seen) == number, f"{answer.status} was asked for again"


def test_what_is_missing_is_no_error_for_a_look_alone(api: Api, server: Server) -> None:
    server.says(status(404, "NotFound"))
    assert api.get(SECRET) is None
    for method in ("POST", "PUT", "PATCH"):
        with pytest.raises(ApiRefusedError, match=r"\(404\): NotFound"):
            every_call(api)[method]()
    with pytest.raises(ApiRefusedError, match="refused GET api/v1/nothing"):
        api.list("api/v1/nothing", "a=b")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("cut", [0, 1])
def test_a_cut_connection_is_told_and_nothing_sent_again(api: Api, server: Server, method: str, cut: int) -> None:
    server.says(Answer(200, {"data": VALUE}, cut=cut))
    with pytest.raises(Unavailable, match=r"the API server cannot be reached: [A-Za-z]*$"):
        every_call(api)[method]()
    assert len(server.seen) == 1


def test_a_slow_server_is_away(api: Api, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kubernetes_api.TIMEOUT_SECONDS == 15
    monkeypatch.setattr(kubernetes_api, "TIMEOUT_SECONDS", 0.2)
    answered = threading.Event()
    server.says(Answer(until=answered))
    with pytest.raises(Unavailable, match="ReadTimeoutError"):
        api.get(SECRET)
    answered.set()
    assert len(server.seen) == 1


def test_no_server_and_a_strange_one_are_away(
    account: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (nobody,) = free_ports(1)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(nobody))
    with pytest.raises(Unavailable, match="NewConnectionError"):
        Api.in_cluster().get(SECRET)
    strange = tmp_path / "strange.crt"
    strange.write_text(new_ca("another CA").certificate)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(strange))
    for call in every_call(Api.in_cluster()).values():
        with pytest.raises(Unavailable, match=r"cannot be reached: SSLError$"):
            call()
    assert server.seen == [], "a token was sent to a server that nobody vouches for"


def test_a_new_token_is_used_soon(api: Api, server: Server, account: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kubelet replaces a token when a fifth of its life is left: minutes before it ends."""
    later = real_datetime.timedelta()

    class Clock(real_datetime.datetime):
        @classmethod
        def now(cls, tz: real_datetime.tzinfo | None = None) -> Any:
            return real_datetime.datetime.now(tz) + later

    shown = SimpleNamespace(datetime=Clock, timedelta=real_datetime.timedelta)
    monkeypatch.setattr(incluster_config, "datetime", shown)
    api.get(SECRET)
    account.write_text("second-token")
    api.get(SECRET)
    later = real_datetime.timedelta(seconds=61)
    api.get(SECRET)
    sent = [seen.headers["authorization"] for seen in server.seen]
    assert sent[0] == "bearer first-token" and sent[2] == "bearer second-token"


def test_a_proxy_of_the_environment_sees_nothing(
    account: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (nobody,) = free_ports(1)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{nobody}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert Api.in_cluster().get(SECRET) == {}
    path = kubeconfig(tmp_path, server, {"token": "t"})
    assert Api.from_kubeconfig(path).get(SECRET) == {}
    # What a kubeconfig says is meant, whatever the environment makes an exception of.
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    path = kubeconfig(tmp_path, server, {"token": "t"}, **{"proxy-url": f"http://127.0.0.1:{nobody}"})
    with pytest.raises(Unavailable, match="ProxyError"):
        Api.from_kubeconfig(path).get(SECRET)


def test_a_kubeconfig_holds_a_token_or_a_certificate(server: Server, tmp_path: Path) -> None:
    Api.from_kubeconfig(kubeconfig(tmp_path, server, {"token": "of-a-file"})).get(SECRET)
    pair = {"client-certificate-data": server.client.certificate, "client-key-data": server.client.key}
    user = {name: base64.b64encode(text.encode()).decode() for name, text in pair.items()}
    Api.from_kubeconfig(kubeconfig(tmp_path, server, user)).get(SECRET)
    by_token, by_certificate = server.seen
    assert by_token.headers["authorization"] == "Bearer of-a-file" and by_token.client is None
    assert "authorization" not in by_certificate.headers and by_certificate.client == "somebody"


def test_logs_at_their_loudest_hold_no_value_and_no_token(
    api: Api, server: Server, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    server.says(Answer(200, {"data": VALUE}), Answer(403, {"reason": "Forbidden", "message": VALUE}))
    api.create(collection("secrets", "ns"), {"data": VALUE})
    with pytest.raises(ApiRefusedError):
        api.replace(SECRET, {"data": VALUE})
    assert "/api/v1/namespaces/ns/secrets" in caplog.text, "nothing was logged, so nothing is shown"
    printed = capfd.readouterr()
    for text in (caplog.text, printed.out, printed.err):
        assert VALUE not in text and "first-token" not in text


def test_many_threads_share_one_and_keep_their_connections(
    api: Api, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.answer = lambda seen: Answer(200, {"path": seen.path})
    threads = 16
    with ThreadPoolExecutor(threads) as pool:
        paths = [f"api/v1/things/{number}" for number in range(400)]
        assert [found and found["path"] for found in pool.map(api.get, paths)] == [f"/{path}" for path in paths]
    assert len({id(seen.connection) for seen in server.seen}) <= threads
    assert "pool is full" not in caplog.text


def test_the_evidence_of_layer_3_reads_and_writes_through_it(api: Api, server: Server) -> None:
    view = KubernetesView(api, "source", ["one"])
    server.says(status(503, "ServiceUnavailable"))
    with pytest.raises(NotYetError, match="answered 503"):
        view.source()
    with pytest.raises(NotYetError, match="answered 503"):
        view.secret("ns", "one")
    server.says(status(404, "NotFound"))
    assert view.source() == {} and view.applied_revision() == "" and view.secret("ns", "one") is None
    server.says(
        Answer(200, {"status": {"lastAppliedRevision": "main@sha1:1"}}),
        Answer(200, {"metadata": {"labels": {"a": "b"}}, "data": {"key": base64.b64encode(b"\xff").decode()}}),
        Answer(200, {"metadata": {}}),
    )
    assert view.applied_revision() == "main@sha1:1"
    assert view.secret("ns", "one") == {"data": {"key": b"\xff"}, "labels": {"a": "b"}, "annotations": {}}
    assert view.secret("ns", "one") == {"data": {}, "labels": {}, "annotations": {}}


def test_evidence_of_layer_3_is_written_over_that_of_an_earlier_run(api: Api, server: Server) -> None:
    at = real_datetime.datetime(2026, 1, 1, tzinfo=real_datetime.UTC)
    evidence = Evidence(Phase.BOOTSTRAP, "main@sha1:1", at, (EvidenceResult("s", Outcome.MATCHES, "here"),))
    server.says(status(409, "AlreadyExists"), Answer())
    KubernetesView(api, "source", "kustomization").publish("ns", "evidence", evidence)
    first, second = server.seen
    assert (first.method, first.path) == ("POST", "/api/v1/namespaces/ns/configmaps")
    assert (second.method, second.path) == ("PUT", "/api/v1/namespaces/ns/configmaps/evidence")
    assert Evidence.from_json(second.sent["data"]["evidence"]) == evidence


def test_each_bootstrap_folder_has_to_be_applied(api: Api, server: Server) -> None:
    view = KubernetesView(api, "source", ["one", "two"])
    old, new = ({"status": {"lastAppliedRevision": f"main@sha1:{number}"}} for number in (1, 2))
    server.says(Answer(200, old), Answer(200, new), Answer(200, new), Answer(200, new))
    assert view.applied_revision() == "main@sha1:1 and main@sha1:2"
    assert view.applied_revision() == "main@sha1:2"
