"""A repository on this machine, served over HTTP on the loopback device as Git's smart protocol, read-only."""

from __future__ import annotations

import gzip
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@contextmanager
def serving(repository: Path) -> Iterator[str]:
    """The URL, for as long as the context lasts."""
    command = ["git", "-c", "safe.directory=*", "upload-pack", "--stateless-rpc"]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            refs = subprocess.run([*command, "--advertise-refs", str(repository)], capture_output=True, check=True)
            self._answer("advertisement", b"001e# service=git-upload-pack\n0000" + refs.stdout)

        def do_POST(self) -> None:
            asked = self._body()
            if self.headers.get("Content-Encoding") == "gzip":
                asked = gzip.decompress(asked)
            done = subprocess.run([*command, str(repository)], input=asked, capture_output=True, check=False)
            self._answer("result", done.stdout)

        def _body(self) -> bytes:
            if "Content-Length" in self.headers:
                return self.rfile.read(int(self.headers["Content-Length"]))
            found = b""
            while size := int(self.rfile.readline(), 16):  # chunked
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return found

        def _answer(self, kind: str, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", f"application/x-git-upload-pack-{kind}")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/fleet.git"
    finally:
        server.shutdown()
        server.server_close()
