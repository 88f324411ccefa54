"""Connections to Vault from outside of the cluster: a local port, carried through the API server to a Vault pod.

TLS stays between the client and Vault. The operator's right to port-forward is what opens the way.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time

import kubernetes
import urllib3
from kubernetes.stream import portforward

from secret_authority.access.kubeconfig import NO_CLUSTER, ClusterConnection
from secret_authority.clients.vault import VaultRefusedError
from secret_authority.contract.names import VAULT_NAMESPACE, VAULT_PORT
from secret_authority.core.errors import Unavailable

_BUFFER = 65536
_PODS = "app.kubernetes.io/name=vault"
_TIMEOUT = (2.0, 10.0)  # seconds to connect, to read


class VaultSessionError(Exception):
    """The way to Vault could not be opened. The message says what did not answer."""


ERRORS = (
    OSError,
    urllib3.exceptions.HTTPError,
    kubernetes.client.ApiException,
    VaultSessionError,
    Unavailable,
    VaultRefusedError,
)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def open_tunnel(connection: ClusterConnection, port: int, pod: str = "") -> None:
    """Serve `port` on the loopback address for as long as this process lives. Raises `VaultSessionError`.

    `pod`: the Vault pod at the far end; empty for any that is ready.
    """
    listener = _listen(port)
    threading.Thread(target=_accept, args=(listener, connection, pod), daemon=True).start()


def _listen(port: int) -> socket.socket:
    """Take the port; a session of a run that has just ended may hold it for a moment."""
    end = time.monotonic() + 5
    while True:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            listener.close()
            if time.monotonic() > end:
                raise VaultSessionError(f"port {port} is in use; set vault.localPort to a free one") from None
            time.sleep(0.2)
        else:
            listener.listen()
            return listener


def _accept(listener: socket.socket, connection: ClusterConnection, pod: str) -> None:
    while True:
        client, _ = listener.accept()
        threading.Thread(target=_carry, args=(client, connection, pod), daemon=True).start()


def _carry(client: socket.socket, connection: ClusterConnection, pod: str) -> None:
    """Carry one connection to the pod, or to one that is ready."""
    with contextlib.suppress(*ERRORS), client:
        api = connection.core_api()
        forward = portforward(
            api.connect_get_namespaced_pod_portforward, pod or _ready_pod(api), VAULT_NAMESPACE, ports=str(VAULT_PORT)
        )
        far = forward.socket(VAULT_PORT)
        far.setblocking(True)
        try:
            _pump(client, far)
        finally:
            far.close()
            forward.close()


def _pump(a: socket.socket, b: socket.socket) -> None:
    other = {a: b, b: a}
    while True:
        readable, _, _ = select.select([a, b], [], [])
        for side in readable:
            data = side.recv(_BUFFER)
            if not data:
                return
            other[side].sendall(data)


def vault_is_ready(connection: ClusterConnection) -> bool:
    """Whether a Vault pod is ready. A cluster that does not answer has none."""
    try:
        return bool(_ready_pod(connection.core_api()))
    except (*ERRORS, *NO_CLUSTER):
        return False


def _ready_pod(api: kubernetes.client.CoreV1Api) -> str:
    for pod in api.list_namespaced_pod(VAULT_NAMESPACE, label_selector=_PODS, _request_timeout=_TIMEOUT).items:
        if any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions or []):
            return str(pod.metadata.name)
    raise VaultSessionError("no Vault pod is ready")
