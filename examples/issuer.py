"""A small issuer of API keys, by the HTTPS contract of the rotator `issuer` (docs/rotation.md).

    python -m examples.issuer --listen :8443 --certificate tls.crt --key tls.key --token token --state keys.json

The file `token` has the administrator's token. `keys.json` is written before a change is answered, so a server that was
killed comes back with every key that it has confirmed. It holds digests of keys and never a key: one that is made here
follows from the administrator's token and its id, so that a repeated request has the same answer.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import os
import ssl
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Answer = tuple[int, Any]


class Issuer:
    """The keys that are accepted, those that have ended, and the newest generation of each owner."""

    def __init__(self, token: str, state: Path | None = None) -> None:
        self._token, self._state, self._lock = token, state, threading.Lock()
        self.keys: dict[str, dict[str, Any]] = {}
        self.ended: set[str] = set()
        self.generations: dict[str, int] = {}
        # Those that have ended.
        self.tags: set[str] = set()
        if state is not None and state.exists():
            found = json.loads(state.read_text())
            self.keys, self.ended, self.generations = found["keys"], set(found["ended"]), found["generations"]
            self.tags = set(found.get("tags", ()))

    def answer(self, method: str, target: str, bearer: str, body: Any) -> Answer:
        """Status and body of an answer; `target` is path and query."""
        path = urlsplit(target)
        with self._lock:
            if path.path == "/v1/check":
                identity, _, secret = bearer.partition(":")
                known = self.keys.get(identity)
                return (204 if known and hmac.compare_digest(known["digest"], _digest(secret)) else 401), None
            if not hmac.compare_digest(bearer.encode(), self._token.encode()):
                return 403, None
            asked = {name: texts[0] for name, texts in parse_qs(path.query).items()}
            if path.path == "/v1/keys":
                return self._tagged(method, asked, body)
            _, _, kind, name = [unquote(part) for part in path.path.split("/", 3)]
            if kind == "owners" and method == "GET":
                found = self.generations.get(name)
                return (404, None) if found is None else (200, {"generation": found})
            if kind == "keys" and method == "PUT":
                return self._put(name, body)
            if kind == "keys" and method == "DELETE":
                return self._delete(name, int(asked["generation"]))
            return 404, None

    def register(self, identity: str, secret: str, owner: str, generation: int, tag: str = "") -> None:
        self.keys[identity] = {"digest": _digest(secret), "owner": owner, "generation": generation, "tag": tag}

    def _put(self, name: str, body: Mapping[str, Any]) -> Answer:
        owner, generation = str(body["owner"]), int(body["generation"])
        if name in self.ended:
            return 410, None
        if generation < self.generations.get(owner, 0):
            return 412, None
        if name in self.keys:
            same = hmac.compare_digest(self.keys[name]["digest"], _digest(str(body["secret"])))
            return (200 if same else 409), None
        self.register(name, str(body["secret"]), owner, generation)
        self.generations[owner] = generation
        self._save()
        return 201, None

    def _tagged(self, method: str, asked: Mapping[str, str], body: Any) -> Answer:
        """What is asked of the keys with a tag."""
        if method == "POST":
            return self._create(str(body["tag"]), str(body["owner"]), int(body["generation"]))
        tag = asked["tag"]
        ids = [name for name, one in self.keys.items() if one.get("tag") == tag]
        if method == "GET":
            return 200, {"ids": ids}
        if any(int(asked["generation"]) < self.keys[name]["generation"] for name in ids):
            return 412, None
        for name in ids:
            del self.keys[name]
        self.ended.update(ids)
        self.tags.add(tag)
        self._save()
        return 204, None

    def _create(self, tag: str, owner: str, generation: int) -> Answer:
        """The tag is the idempotency key: one key for it, whose answer is always the same."""
        name = f"ex-{_digest(tag)[:24]}"
        if tag in self.tags or name in self.ended:
            return 410, None
        secret = hmac.new(self._token.encode(), name.encode(), hashlib.sha256).hexdigest()
        made = {"id": name, "secret": secret}
        if name in self.keys:
            return 200, made
        if generation < self.generations.get(owner, 0):
            return 412, None
        self.register(name, secret, owner, generation, tag)
        self.generations[owner] = generation
        self._save()
        return 201, made

    def _delete(self, name: str, generation: int) -> Answer:
        known = self.keys.get(name)
        if known is not None and generation < known["generation"]:
            return 412, None
        # Also a key that never came: its registration may still be under way.
        self.keys.pop(name, None)
        self.ended.add(name)
        self._save()
        return (404 if known is None else 204), None

    def _save(self) -> None:
        if self._state is None:
            return
        text = json.dumps(
            {
                "keys": self.keys,
                "ended": sorted(self.ended),
                "tags": sorted(self.tags),
                "generations": self.generations,
            }
        )
        new = self._state.with_suffix(".new")
        with new.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._state)


def _digest(secret: str) -> str:
    # Keys are random and long, so that nobody finds one by trying.
    return hashlib.sha256(secret.encode()).hexdigest()


def server(issuer: Issuer, host: str, port: int, certificate: Path, key: Path) -> ThreadingHTTPServer:
    """An HTTPS server that listens; port 0 takes a free one."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            bearer = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            try:
                body = json.loads(self.rfile.read(length)) if length else None
                status, found = issuer.answer(self.command, self.path, bearer, body)
            except (KeyError, TypeError, ValueError):
                status, found = 400, None
            data = json.dumps(found).encode() if found is not None else b""
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_DELETE = _handle

        def log_message(self, *_: object) -> None:
            """Nothing: a request line has the names of keys."""

    made = ThreadingHTTPServer((host, port), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    made.socket = context.wrap_socket(made.socket, server_side=True)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--listen", required=True, metavar="HOST:PORT")
    for name in ("certificate", "key", "token", "state"):
        parser.add_argument(f"--{name}", required=True, type=Path, metavar="FILE")
    options = parser.parse_args()
    host, _, port = options.listen.rpartition(":")
    issuer = Issuer(options.token.read_text().strip(), options.state)
    with server(issuer, host, int(port), options.certificate, options.key) as made:
        print(f"listening on {host}:{made.server_address[1]}", flush=True)
        made.serve_forever()


if __name__ == "__main__":
    main()
