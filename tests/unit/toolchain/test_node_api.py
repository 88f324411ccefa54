"""The node's small API client and DNS question, against servers in this process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from toolchain.node import addons, api, files, parts
from toolchain.node.layout import Node

NAME = "kubernetes.default.svc.cluster.local"


def test_paths_of_objects() -> None:
    pod = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "b"}}
    assert api.object_path(pod) == "/api/v1/namespaces/b/configmaps/a"
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "r"}}
    assert api.object_path(role) == "/apis/rbac.authorization.k8s.io/v1/clusterroles/r"
    storage = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "local"}}
    assert api.object_path(storage) == "/apis/storage.k8s.io/v1/storageclasses/local"


@pytest.fixture
def dns_server() -> Iterator[tuple[int, dict[str, bytes]]]:
    """A DNS server on this machine. The flags and the answers are the test's to set."""
    reply = {"flags": b"\x85\x80", "answers": b""}
    channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    channel.bind(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                query, sender = channel.recvfrom(512)
            except OSError:
                return
            count = reply["answers"].count(RECORD)
            header = query[:2] + reply["flags"] + b"\x00\x01" + count.to_bytes(2, "big") + b"\x00" * 4
            channel.sendto(header + query[12:] + reply["answers"], sender)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield channel.getsockname()[1], reply
    channel.close()


RECORD = b"\x00\x01\x00\x01\x00\x00\x00\x1e\x00\x04"  # type A, class IN, 30 s, four bytes
POINTER = b"\xc0\x0c"
WHOLE = b"\x0akubernetes\x07default\x03svc\x07cluster\x05local\x00"


def record(address: str, name: bytes = POINTER) -> bytes:
    return name + RECORD + socket.inet_aton(address)


def test_resolve_reads_the_address(dns_server: tuple[int, dict[str, bytes]]) -> None:
    port, reply = dns_server
    reply["answers"] = record("10.222.0.1")
    assert api.resolve("127.0.0.1", NAME, port=port) == "10.222.0.1"
    reply["answers"] = record("10.222.0.1", WHOLE)
    assert api.resolve("127.0.0.1", NAME, port=port) == "10.222.0.1", "CoreDNS repeats the name"
    reply["answers"] = record("10.222.0.1") + record("10.222.0.2")
    assert api.resolve("127.0.0.1", NAME, port=port) == "10.222.0.1"


def test_resolve_of_an_unknown_name(dns_server: tuple[int, dict[str, bytes]]) -> None:
    port, reply = dns_server
    reply["flags"] = b"\x85\x83"
    assert api.resolve("127.0.0.1", NAME, port=port) is None


def test_resolve_without_a_server() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert api.resolve("127.0.0.1", NAME, port=port, timeout=0.2) is None


def test_the_storage_class_is_not_the_default_and_has_volumes() -> None:
    made = addons.manifests(Node("unit", 0))
    classes = [m for m in made if m["kind"] == "StorageClass"]
    assert [m["metadata"]["name"] for m in classes] == ["local"]
    assert "annotations" not in classes[0]["metadata"]
    volumes = [m for m in made if m["kind"] == "PersistentVolume"]
    assert len(volumes) == 8
    assert len({m["spec"]["local"]["path"] for m in volumes}) == 8


def test_no_part_listens_for_strangers() -> None:
    """No anonymous requests beyond health, no read-only port, no values in the audit log."""
    node = Node("unit", 0)
    assert files.kubelet(node)["readOnlyPort"] == 0
    assert files.kubelet(node)["authentication"]["anonymous"] == {"enabled": False}
    allowed = [condition["path"] for condition in files.authentication()["anonymous"]["conditions"]]
    assert sorted(allowed) == ["/healthz", "/livez", "/readyz"]
    levels = {rule["level"] for rule in files.audit_policy()["rules"]}
    assert levels == {"None", "Metadata"}, "an audit log of requests would hold secret values"
    server = parts.all_parts(node)["kube-apiserver"]
    assert "--authorization-mode=Node,RBAC" in server.arguments


class Gone:
    """A connection that answers once; then the server is another one."""

    made = 0

    def __init__(self, *_: object, **__: object) -> None:
        Gone.made += 1
        self.asked = 0

    def request(self, *_: object) -> None:
        self.asked += 1
        if self.asked > 1:
            raise BrokenPipeError

    def getresponse(self) -> Gone:
        return self

    status = 200

    def read(self) -> bytes:
        return b"{}"

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("method", "repeated"), [("GET", True), ("POST", False), ("PATCH", False)])
def test_a_look_is_repeated_over_a_new_connection_and_a_write_never(
    monkeypatch: pytest.MonkeyPatch, method: str, repeated: bool
) -> None:
    monkeypatch.setattr(api.ssl, "create_default_context", lambda **_: SimpleNamespace(load_cert_chain=lambda *_: None))
    monkeypatch.setattr(api.http.client, "HTTPSConnection", Gone)
    monkeypatch.setattr(Gone, "made", 0)
    client = api.Client(Node("a", 0))
    assert client.json("GET", "/api") == {} and Gone.made == 1
    if repeated:
        assert client.json(method, "/api") == {} and Gone.made == 2
    else:
        with pytest.raises(OSError, match=f"{method} /api"):
            client.json(method, "/api", {})
        assert Gone.made == 1
    assert client.json("GET", "/api") == {} and Gone.made == (3 if repeated else 2)
