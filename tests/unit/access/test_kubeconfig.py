"""Which cluster a connection leads to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from secret_authority.access.kubeconfig import ClusterConnection


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"kind": "Found"}')

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


def test_both_clients_are_of_the_chosen_context(tmp_path: Path, server: str) -> None:
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: one\nusers: [{name: u, user: {}}]\n"
        f"clusters: [{{name: a, cluster: {{server: https://a:1}}}}, {{name: b, cluster: {{server: {server}}}}}]\n"
        "contexts: [{name: one, context: {cluster: a, user: u}}, {name: two, context: {cluster: b, user: u}}]\n"
    )
    for context, wanted in ((None, "https://a:1"), ("two", server)):
        connection = ClusterConnection(kubeconfig, context)
        assert connection.core_api().api_client.configuration.host == wanted
    assert ClusterConnection(kubeconfig, "two").api().get("api/v1/namespaces/x") == {"kind": "Found"}
