"""A real API server over a real etcd, without a node: for what the API server alone decides, such as admission."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import urllib3
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from secret_authority.access.kubeconfig import ClusterConnection
from secret_authority.access.vault_tunnel import free_port
from toolchain.node import layout
from toolchain.node.errors import NodeError

_TOKEN = "integration-test"


def programs_missing() -> str:
    """Why no server can be started; empty when one can."""
    try:
        for name in ("etcd", "kube-apiserver"):
            layout.binary(name)
    except NodeError as error:
        return str(error)
    return ""


class ApiServer:
    """Requests as the administrator, or as somebody else by impersonation."""

    def __init__(self, port: int, ca: Path) -> None:
        self.ca = ca
        self.address = f"https://127.0.0.1:{port}"
        self._pool = urllib3.PoolManager(ca_certs=str(ca), retries=False, timeout=10)

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        user: str = "",
        kind: str = "application/json",
    ) -> tuple[int, str]:
        """Status and text of the answer. `user`: in whose name."""
        headers = {"Authorization": f"Bearer {_TOKEN}", "Content-Type": kind}
        if user:
            headers["Impersonate-User"] = user
        answer = self._pool.request(
            method, f"{self.address}{path}", body=None if body is None else json.dumps(body), headers=headers
        )
        return answer.status, answer.data.decode()

    def must(self, method: str, path: str, body: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """A request that has to succeed."""
        status, text = self.request(method, path, body, **more)
        assert 200 <= status < 300, f"{method} {path}: {status} {text}"
        return dict(json.loads(text))

    def merge(self, path: str, body: Mapping[str, Any], user: str = "") -> tuple[int, str]:
        return self.request("PATCH", path, body, user=user, kind="application/merge-patch+json")


@contextmanager
def api_server(home: Path, authorization: str = "AlwaysAllow") -> Iterator[ApiServer]:
    """The two processes, for as long as the context lasts. Everybody may do everything but what admission refuses,
    or what RBAC says when that is the `authorization`.

    They start within seconds, on a busy machine within minutes.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (home / "sa.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    (home / "tokens.csv").write_text(f'{_TOKEN},admin,admin,"system:masters"\n')
    clients, peers, port = free_port(), free_port(), free_port()
    etcd = [
        str(layout.binary("etcd")),
        f"--data-dir={home / 'etcd'}",
        f"--listen-client-urls=http://127.0.0.1:{clients}",
        f"--advertise-client-urls=http://127.0.0.1:{clients}",
        f"--listen-peer-urls=http://127.0.0.1:{peers}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{peers}",
        f"--initial-cluster=default=http://127.0.0.1:{peers}",
        "--unsafe-no-fsync",
    ]
    server = [
        str(layout.binary("kube-apiserver")),
        f"--etcd-servers=http://127.0.0.1:{clients}",
        f"--secure-port={port}",
        "--bind-address=127.0.0.1",
        f"--cert-dir={home / 'certs'}",
        f"--token-auth-file={home / 'tokens.csv'}",
        f"--authorization-mode={authorization}",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={home / 'sa.key'}",
        f"--service-account-signing-key-file={home / 'sa.key'}",
        "--disable-admission-plugins=ServiceAccount",
    ]
    with (home / "log").open("w") as log:
        running = [subprocess.Popen(command, stdout=log, stderr=log) for command in (etcd, server)]
        try:
            ca = home / "certs/apiserver.crt"
            _await(lambda: ca.exists() and _ready(port, ca), running, home / "log")
            yield ApiServer(port, ca)
        finally:
            for process in reversed(running):
                process.terminate()
                process.wait()


def _ready(port: int, ca: Path) -> bool:
    try:
        return ApiServer(port, ca).request("GET", "/readyz")[0] == 200
    except urllib3.exceptions.HTTPError:
        return False


def _await(condition: Any, running: list[subprocess.Popen[bytes]], log: Path, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition():
        dead = [process.args for process in running if process.poll() is not None]
        assert not dead and time.monotonic() < end, f"{dead or 'not ready'}: {log.read_text()[-2000:]}"
        time.sleep(0.2)


def kubeconfig(server: ApiServer, file: Path, token: str = _TOKEN) -> ClusterConnection:
    """A connection with this token, the administrator's by default."""
    document = {
        "clusters": [{"name": "c", "cluster": {"server": server.address, "certificate-authority": str(server.ca)}}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    file.write_text(json.dumps(document))
    return ClusterConnection(file)
