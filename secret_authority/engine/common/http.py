"""The HTTP endpoint for probes and scraping. It cannot be filled: few connections at once, each for a short time."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping

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


Post = Callable[[str, Mapping[str, str], bytes], tuple[int, str]]


def serve_posts(post: Post, port: int, most_bytes: int, address: str = "") -> socketserver.BaseServer:
    """Answer POST with what `post` says of the path, the headers (lower-case names) and the body.

    A body that is longer than `most_bytes`, or has no length, is not read.
    """
    server = _Server(address, port, lambda _path: (405, ""), post, most_bytes)
    threading.Thread(target=server.serve_forever, name="posts", daemon=True).start()
    return server


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = CONNECTIONS

    def __init__(
        self,
        address: str,
        port: int,
        respond: Callable[[str], tuple[int, str]],
        post: Post | None = None,
        most_bytes: int = 0,
    ) -> None:
        self.respond, self.post, self.most_bytes = respond, post, most_bytes
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
    """One request of HTTP/1.0: GET, or POST where the server takes it, and the connection is closed."""

    server: _Server
    request: socket.socket

    def handle(self) -> None:
        end = time.monotonic() + SECONDS
        header = b""
        while b"\r\n\r\n" not in header:
            data = self._more(end)
            if not data or len(header) > _MOST_HEADER_BYTES:
                return
            header += data
        method, _, rest = header.partition(b"\r\n")[0].decode("ascii", "replace").partition(" ")
        path = rest.partition(" ")[0]
        if method == "POST" and self.server.post is not None:
            answer = self._posted(self.server.post, path, header, end)
            if answer is None:
                return
            code, body = answer
        else:
            code, body = self.server.respond(path) if method == "GET" else (405, "")
        content = body.encode()
        self.request.settimeout(max(end - time.monotonic(), 0.1))
        self.request.sendall(
            f"HTTP/1.0 {code} -\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode()
            + content
        )

    def _more(self, end: float) -> bytes:
        """What comes next; empty when nothing does in time."""
        left = end - time.monotonic()
        if left <= 0:
            return b""
        self.request.settimeout(left)
        try:
            return self.request.recv(4096)
        except TimeoutError:
            return b""

    def _posted(self, post: Post, path: str, received: bytes, end: float) -> tuple[int, str] | None:
        """None when the body does not come in time."""
        head, _, body = received.partition(b"\r\n\r\n")
        lines = [line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:]]
        headers = {name.strip().lower(): value.strip() for name, _, value in lines}
        length = headers.get("content-length", "")
        if not length.isascii() or not length.isdigit() or "transfer-encoding" in headers:
            return 411, ""
        if len(length) > 9 or int(length) > self.server.most_bytes or len(body) > int(length):
            return 413, ""
        while len(body) < int(length):
            data = self._more(end)
            if not data:
                return None
            body += data
        return post(path, headers, body[: int(length)])
