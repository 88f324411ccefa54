"""The HTTP endpoint for probes and scraping."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from secret_authority.engine.common.status import Status


def serve(status: Status, port: int, ready_when: str, alive_seconds: float = 120) -> ThreadingHTTPServer:
    """Answer /healthz, /readyz and /metrics in threads of their own. Nothing secret is in any of them."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            match self.path:
                case "/healthz":
                    self._answer(200 if status.alive(alive_seconds) else 503, "")
                case "/readyz":
                    self._answer(200 if status.holds(ready_when) else 503, json.dumps(status.as_dict()))
                case "/metrics":
                    self._answer(200, status.metrics())
                case _:
                    self._answer(404, "")

        def _answer(self, code: int, body: str) -> None:
            data = body.encode()
            self.send_response(code)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            return  # probes are no news

    server = ThreadingHTTPServer(("", port), Handler)
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    return server
