"""A small client of the Kubernetes API for the node's own needs. Standard library only."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import time
from typing import Any

from toolchain.node.errors import NodeError
from toolchain.node.layout import API_PORT, Node

FIELD_MANAGER = "secret-authority-node"

# Kind -> its plural name, as far as the node needs it.
_PLURALS = {"StorageClass": "storageclasses", "EndpointSlice": "endpointslices"}
_CLUSTER_SCOPED = {
    "ClusterRole",
    "ClusterRoleBinding",
    "Namespace",
    "Node",
    "PersistentVolume",
    "StorageClass",
}


class ApiError(NodeError):
    """The API server refused a request. `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


# The API server closes a connection that nobody uses; one that was used so recently is still good.
_IDLE_SECONDS = 30.0


class Client:
    """Speaks to the API server of a node as its administrator, over one connection. It is for one thread."""

    def __init__(self, node: Node, *, timeout: float = 10.0) -> None:
        context = ssl.create_default_context(cafile=str(node.pki / "cluster-ca.crt"))
        context.load_cert_chain(node.pki / "admin.crt", node.pki / "admin.key")
        self._address = node.address
        self._context = context
        self._timeout = timeout
        self._connection: http.client.HTTPSConnection | None = None
        self._used = 0.0

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def request(
        self, method: str, path: str, body: object = None, content_type: str = "application/json"
    ) -> tuple[int, bytes]:
        """One request. Returns status and body; raises OSError when the server cannot be reached."""
        payload = None if body is None else json.dumps(body)
        if time.monotonic() - self._used > _IDLE_SECONDS:
            self.close()
        # The server may have been restarted since the last request: a look is repeated, a write never.
        repeat = self._connection is not None and method == "GET"
        while True:
            try:
                return self._send(method, path, payload, content_type)
            except (OSError, http.client.HTTPException) as error:
                self.close()
                if not repeat:
                    raise OSError(f"{method} {path}: {error}") from error
                repeat = False

    def _send(self, method: str, path: str, payload: str | None, content_type: str) -> tuple[int, bytes]:
        if self._connection is None:
            self._connection = http.client.HTTPSConnection(
                self._address, API_PORT, timeout=self._timeout, context=self._context
            )
        self._connection.request(method, path, payload, {"Content-Type": content_type})
        response = self._connection.getresponse()
        content = response.read()
        self._used = time.monotonic()
        return response.status, content

    def json(
        self, method: str, path: str, body: object = None, content_type: str = "application/json"
    ) -> dict[str, Any]:
        """One request with a JSON answer. Raises ApiError on any refusal."""
        status, content = self.request(method, path, body, content_type)
        if status >= 300:
            raise ApiError(status, f"API server: {method} {path}: {status} {_message(content)}")
        answer: dict[str, Any] = json.loads(content)
        return answer

    def get(self, path: str) -> dict[str, Any] | None:
        """The object at `path`, or None when there is none."""
        try:
            return self.json("GET", path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def apply(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Server-side apply of one object."""
        path = f"{object_path(manifest)}?fieldManager={FIELD_MANAGER}&force=true"
        return self.json("PATCH", path, manifest, "application/apply-patch+yaml")

    def ready(self) -> str | None:
        """None when the API server is ready, else why not."""
        try:
            status, content = self.request("GET", "/readyz")
        except OSError as error:
            return str(error)
        if status == 200:
            return None
        failed = [line for line in content.decode(errors="replace").splitlines() if line.startswith("[-]")]
        return f"status {status} {'; '.join(failed)}"


def _message(content: bytes) -> str:
    with contextlib.suppress(ValueError, AttributeError):
        return str(json.loads(content).get("message", ""))
    return content.decode(errors="replace")[:300]


def collection_path(api_version: str, kind: str, namespace: str | None = None) -> str:
    """Path of the collection that objects of this kind are in."""
    root = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
    plural = _PLURALS.get(kind, kind.lower() + "s")
    if kind in _CLUSTER_SCOPED:
        return f"{root}/{plural}"
    return f"{root}/namespaces/{namespace}/{plural}"


def object_path(manifest: dict[str, Any]) -> str:
    """Path of the object a manifest describes."""
    metadata = manifest["metadata"]
    collection = collection_path(manifest["apiVersion"], manifest["kind"], metadata.get("namespace"))
    return f"{collection}/{metadata['name']}"


def resolve(server: str, name: str, *, port: int = 53, timeout: float = 1.0) -> str | None:
    """Ask a DNS server for the first IPv4 address of `name`; None without an answer (RFC 1035)."""
    question = b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split("."))
    query = b"\x5a\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + question + b"\x00\x00\x01\x00\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.settimeout(timeout)
        try:
            channel.connect((server, port))
            channel.send(query)
            answer = channel.recv(512)
        except OSError:
            return None
    answers = int.from_bytes(answer[6:8], "big")
    if answer[:2] != query[:2] or answer[3] & 0x0F or not answers:
        return None
    place = _after_name(answer, len(query))
    # Type, class, TTL and length come before the address; type 1 with four bytes is an IPv4 address.
    if answer[place : place + 2] != b"\x00\x01" or answer[place + 8 : place + 10] != b"\x00\x04":
        return None
    return socket.inet_ntoa(answer[place + 10 : place + 14])


def _after_name(message: bytes, place: int) -> int:
    """Where the name that starts at `place` ends. It ends with an empty label or with a pointer."""
    while place < len(message) and message[place]:
        if message[place] >= 0xC0:
            return place + 2
        place += 1 + message[place]
    return place + 1
