"""The status server answers probes whatever else is connected to it, and holds few connections, each shortly."""

from __future__ import annotations

import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from secret_authority.engine.common import http
from secret_authority.engine.common.http import CONNECTIONS, serve
from secret_authority.engine.common.status import Status


@pytest.fixture
def status() -> Status:
    return Status()


@pytest.fixture
def port(status: Status) -> Iterator[int]:
    server = serve(status, 0, "Ready", address="127.0.0.1")
    yield int(server.server_address[1])
    server.shutdown()
    server.server_close()


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_probes_and_metrics(status: Status, port: int) -> None:
    status.number("pods", 3)
    assert get(port, "/healthz")[0] == 200 and get(port, "/readyz")[0] == 503
    status.set("Ready", True)
    assert get(port, "/readyz")[0] == 200 and '"Ready"' in get(port, "/readyz")[1]
    assert "secret_authority_pods 3" in get(port, "/metrics")[1] and get(port, "/other")[0] == 404


def test_silent_connections_do_not_fill_it(port: int) -> None:
    before = threading.active_count()
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(20 * CONNECTIONS)]
    try:
        assert get(port, "/healthz")[0] == 200
        end = time.monotonic() + 20
        while threading.active_count() > before + CONNECTIONS and time.monotonic() < end:
            time.sleep(0.05)  # the threads of connections that made room end one after the other
        assert threading.active_count() <= before + CONNECTIONS
        assert get(port, "/healthz")[0] == 200
    finally:
        for connection in silent:
            connection.close()


@pytest.mark.parametrize("sent", [b"", b"GET /healthz", b"x" * 20_000])
def test_a_request_that_does_not_end_is_ended(port: int, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(http, "SECONDS", 0.3)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(sent)
        try:
            assert connection.recv(100) == b""
        except ConnectionResetError:
            return


def test_bytes_that_trickle_do_not_hold_a_connection(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "SECONDS", 0.5)
    with socket.create_connection(("127.0.0.1", port), timeout=0.05) as connection:
        begun = time.monotonic()
        while time.monotonic() - begun < 90:
            try:
                connection.sendall(b"x")
                if connection.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        assert time.monotonic() - begun < 60
