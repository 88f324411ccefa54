"""The HTTP endpoint for probes and scraping. It cannot be filled: few connections at once, each for a short time."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable

from secret_authority.engine.common.status import Status

# A kubelet and a scraper or two; the oldest of more connections makes room for the newest.
CONNECTIONS = 16
# From the first byte to the last, in seconds.
SECONDS = 5.0
_MOST_HEADER_BYTES = 8192


def serve(
    status: Status, port: int, ready_when: str, alive_seconds: float = 120, address: str = ""
) -> socketserver.BaseServer:
    """Answer /healthz, /readyz and /metrics in threads of their own. Nothing secret is in any of them."""

    def respond(path: str) -> tuple[int, str]:
        match path:
            case "/healthz":
                return (200 if status.alive(alive_seconds) else 503), ""
            case "/readyz":
                return (200 if status.holds(ready_when) else 503), json.dumps(status.as_dict())
            case "/metrics":
                return 200, status.metrics()
        return 404, ""

    server = _Server(address, port, respond)
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    return server


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = CONNECTIONS

    def __init__(self, address: str, port: int, respond: Callable[[str], tuple[int, str]]) -> None:
        self.respond = respond
        # In the order in which they came.
        self._open: dict[socket.socket, None] = {}
        self._changed = threading.Lock()
        super().__init__((address, port), _Connection)

    def verify_request(self, request: object, client_address: object) -> bool:
        assert isinstance(request, socket.socket)  # noqa: S101  of a TCPServer
        with self._changed:
            if len(self._open) >= CONNECTIONS:
                oldest = next(iter(self._open))
                del self._open[oldest]
                _close(oldest)
            self._open[request] = None
        return True

    def shutdown_request(self, request: object) -> None:
        assert isinstance(request, socket.socket)  # noqa: S101
        with self._changed:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        return  # a client that has gone is no news


def _close(connection: socket.socket) -> None:
    """End a connection under the thread that waits for it."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it has gone already


class _Connection(socketserver.BaseRequestHandler):
    """One request of HTTP/1.0: GET, and the connection is closed."""

    server: _Server
    request: socket.socket

    def handle(self) -> None:
        end = time.monotonic() + SECONDS
        header = b""
        while b"\r\n\r\n" not in header:
            left = end - time.monotonic()
            if left <= 0 or len(header) > _MOST_HEADER_BYTES:
                return
            self.request.settimeout(left)
            data = self.request.recv(4096)
            if not data:
                return
            header += data
        method, _, rest = header.partition(b"\r\n")[0].decode("ascii", "replace").partition(" ")
        code, body = self.server.respond(rest.partition(" ")[0]) if method == "GET" else (405, "")
        content = body.encode()
        self.request.settimeout(max(end - time.monotonic(), 0.1))
        self.request.sendall(
            f"HTTP/1.0 {code} -\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode()
            + content
        )
