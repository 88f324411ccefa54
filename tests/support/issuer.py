"""A small real issuer of API keys over HTTPS, by the contract of the rotator `issuer`."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from secret_authority.engine.tls.ca import issue, new_ca

TOKEN = "issuer-administrator-token"


@dataclass
class Issuer:
    """What it knows. `down`: it answers 503 to everything."""

    url: str = ""
    ca: str = ""
    keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    generations: dict[str, int] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    down: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def login(self) -> dict[str, str]:
        return {"token": TOKEN, "ca.crt": self.ca}

    def forget(self) -> None:
        """As if nobody had ever asked for anything."""
        with self._lock:
            self.keys, self.ended, self.generations = {}, set(), {}

    def register(self, identity: str, secret: str, owner: str, generation: int) -> None:
        self.keys[identity] = {"secret": secret, "owner": owner, "generation": generation}

    def answer(self, method: str, target: str, bearer: str, body: Any) -> tuple[int, Any]:
        path = urlsplit(target)
        self.log.append(f"{method} {path.path}")
        with self._lock:
            if self.down:
                return 503, None
            if path.path == "/v1/check":
                identity, _, secret = bearer.partition(":")
                known = self.keys.get(identity)
                return (204 if known and known["secret"] == secret else 401), None
            if bearer != TOKEN:
                return 403, None
            _, _, kind, name = path.path.split("/", 3)
            if kind == "owners":
                found = self.generations.get(name)
                return (404, None) if found is None else (200, {"generation": found})
            return self._put(name, body) if method == "PUT" else self._delete(name, parse_qs(path.query))

    def _put(self, name: str, body: dict[str, Any]) -> tuple[int, Any]:
        owner, generation = body["owner"], body["generation"]
        if name in self.ended:
            return 410, None
        if generation < self.generations.get(owner, 0):
            return 412, None
        if name in self.keys:
            return (200 if self.keys[name]["secret"] == body["secret"] else 409), None
        self.register(name, body["secret"], owner, generation)
        self.generations[owner] = generation
        return 201, None

    def _delete(self, name: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        if name not in self.keys:
            self.ended.add(name)
            return 404, None
        if int(query["generation"][0]) < self.keys[name]["generation"]:
            return 412, None
        del self.keys[name]
        self.ended.add(name)
        return 204, None


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Issuer]:
    """An issuer on the loopback device with a certificate of a CA of its own."""
    issuer, authority = Issuer(), new_ca("issuer")
    pair = issue(authority, ["127.0.0.1", "localhost"])
    issuer.ca = authority.certificate
    for name, text in (("tls.crt", pair.certificate), ("tls.key", pair.key)):
        (folder / name).write_text(text)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            bearer = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            status, found = issuer.answer(self.command, self.path, bearer, body)
            data = json.dumps(found).encode() if found is not None else b""
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_DELETE = _handle

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    issuer.url = f"https://localhost:{server.server_address[1]}/v1"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
