"""Flux's own kustomize-controller over a bare API server, on the loopback device: what it makes of a folder.

No node, no source-controller: the artifact is served from here, and its GitRepository says so.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import io
import json
import os
import secrets
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.http_server import Handler, served
from tests.support.vault_process import free_ports, wait_for

ROOT = Path(__file__).parents[2]
BIN, MANIFESTS = ROOT / ".tools" / "bin", ROOT / ".tools" / "manifests"
PROGRAMS = ("etcd", "kube-apiserver", "kustomize-controller")
FLUX = "flux-system"
_KUSTOMIZE, _SOURCE = "kustomize.toolkit.fluxcd.io", "source.toolkit.fluxcd.io"


def programs_are_there() -> bool:
    return all((BIN / program).exists() for program in PROGRAMS) and MANIFESTS.exists()


@dataclass
class Flux:
    """An API server with Flux's kinds, and kustomize-controller at work."""

    address: str
    token: str = field(repr=False)
    logs: Path
    artifacts: dict[str, bytes] = field(default_factory=dict)

    def call(self, method: str, path: str, body: object = None, kind: str = "application/json") -> Any:
        """A request; None for what is not there yet. Raises AssertionError on a refusal, OSError."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        data = None if body is None else json.dumps(body)
        try:
            answer = self._pool.request(method, f"{self.address}{path}", body=data, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise OSError(f"{method} {path}: {error}") from error
        if answer.status in (404, 429):  # not there, or not there yet
            return None
        assert answer.status < 400, f"{method} {path}: {answer.status} {answer.data[:500]!r}"
        return json.loads(answer.data)

    @functools.cached_property
    def _pool(self) -> urllib3.PoolManager:
        """Connections that are kept: a look at an object costs less than the handshake of a new one."""
        certificate = str(self.logs / "certificates" / "apiserver.crt")
        return urllib3.PoolManager(maxsize=8, ca_certs=certificate, timeout=30.0, retries=False)

    def secret(self, namespace: str, name: str) -> dict[str, bytes] | None:
        found = self.call("GET", f"/api/v1/namespaces/{namespace}/secrets/{name}")
        return found and {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}

    def applied(self, kustomization: str) -> set[tuple[str, str]]:
        """Namespace and name of every Secret that a Kustomization has applied."""
        label = f"{_KUSTOMIZE}%2Fname%3D{kustomization}"
        items = self.call("GET", f"/api/v1/secrets?labelSelector={label}")["items"]
        return {(item["metadata"]["namespace"], item["metadata"]["name"]) for item in items}

    def serve(self, name: str, files: Mapping[str, bytes], url: str) -> None:
        """Publish these files as the artifact of a GitRepository. A small one costs less: each use unpacks it all."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for path, content in files.items():
                member = tarfile.TarInfo(path)
                member.size, member.mode = len(content), 0o644
                archive.addfile(member, io.BytesIO(content))
        artifact = self.artifacts[f"/{name}.tar.gz"] = buffer.getvalue()
        home = f"/apis/{_SOURCE}/v1/namespaces/{FLUX}/gitrepositories"
        spec = {"url": "https://example.org/fleet", "interval": "10m"}
        self.call("POST", home, _object(_SOURCE, "GitRepository", name, spec))
        now, revision = "2026-01-01T00:00:00Z", "main@sha1:" + "1" * 40
        status = {
            "artifact": {
                "path": f"{name}.tar.gz",
                "url": f"{url}/{name}.tar.gz",
                "revision": revision,
                "digest": "sha256:" + hashlib.sha256(artifact).hexdigest(),
                "lastUpdateTime": now,
                "size": len(artifact),
            },
            "conditions": [
                {"type": "Ready", "status": "True", "reason": "Succeeded", "message": "", "lastTransitionTime": now}
            ],
        }
        self.call("PATCH", f"{home}/{name}/status", {"status": status}, "application/merge-patch+json")

    def kustomize(self, name: str, path: str) -> None:
        spec = {
            "path": path,
            "prune": True,
            "interval": "10m",
            "timeout": "1m",
            "sourceRef": {"kind": "GitRepository", "name": name},
            "decryption": {"provider": "sops", "secretRef": {"name": "sops-age"}},
        }
        home = f"/apis/{_KUSTOMIZE}/v1/namespaces/{FLUX}/kustomizations"
        self.call("POST", home, _object(_KUSTOMIZE, "Kustomization", name, spec))

    def ready(self, name: str) -> str | None:
        """The status of its Ready condition once it has been tried, else None."""
        found = self.call("GET", f"/apis/{_KUSTOMIZE}/v1/namespaces/{FLUX}/kustomizations/{name}") or {}
        for one in (found.get("status") or {}).get("conditions") or []:
            if one["type"] == "Ready" and one["status"] in ("True", "False"):
                return str(one["status"])
        return None


def _object(group: str, kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": f"{group}/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": FLUX},
        "spec": dict(spec),
    }


@contextlib.contextmanager
def api_server(folder: Path, namespaces: tuple[str, ...]) -> Iterator[Flux]:
    """A bare API server over etcd, which lets its administrator do everything; `folder`/kubeconfig leads there."""
    etcd, peer, port = free_ports(3)
    token = secrets.token_hex(16)
    (folder / "tokens").write_text(f'{token},admin,admin,"system:masters"\n')
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "sa.key").write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
    running = Flux(f"https://127.0.0.1:{port}", token, folder)
    with contextlib.ExitStack() as stack:
        client = f"http://127.0.0.1:{etcd}"
        store = ["--data-dir", str(folder / "etcd"), "--listen-client-urls", client, "--advertise-client-urls", client]
        peers = [f"http://127.0.0.1:{peer}"] * 2
        store += ["--listen-peer-urls", peers[0], "--initial-advertise-peer-urls", peers[1]]
        store += ["--initial-cluster", f"default={peers[0]}", "--unsafe-no-fsync"]
        start(stack, folder, "etcd", store)
        account = [f"--service-account-{part}-file={folder}/sa.key" for part in ("key", "signing-key")]
        start(
            stack,
            folder,
            "kube-apiserver",
            [
                f"--etcd-servers={client}",
                f"--secure-port={port}",
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                f"--cert-dir={folder}/certificates",
                f"--token-auth-file={folder}/tokens",
                "--authorization-mode=AlwaysAllow",
                "--service-account-issuer=https://example.org",
                *account,
                "--service-cluster-ip-range=10.96.0.0/16",
            ],
        )
        wait_for(lambda: _answers(running), "the API server", 180)
        for namespace in namespaces:
            running.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        kubeconfig = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "a",
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
            "clusters": [{"name": "a", "cluster": {"server": running.address, "insecure-skip-tls-verify": True}}],
            "users": [{"name": "a", "user": {"token": token}}],
        }
        (folder / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))
        yield running


@contextlib.contextmanager
def flux(folder: Path, identity: str, namespaces: tuple[str, ...]) -> Iterator[tuple[Flux, str]]:
    """The running Flux, and the address from which it fetches artifacts. `identity` is an age secret key."""
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(api_server(folder, (FLUX, *namespaces)))
        for which in ("kustomize-controller", "source-controller"):
            for path in sorted((MANIFESTS / which).rglob("*.yaml")):
                for document in yaml.safe_load_all(path.read_text()):
                    if isinstance(document, dict) and document.get("kind") == "CustomResourceDefinition":
                        define(running, document)
        for group, kind in ((_KUSTOMIZE, "kustomizations"), (_SOURCE, "gitrepositories")):
            listed = f"/apis/{group}/v1/namespaces/{FLUX}/{kind}"
            wait_for(lambda listed=listed: bool(running.call("GET", listed)), kind)  # type: ignore[misc]
        age = {"metadata": {"name": "sops-age"}, "stringData": {"identity.agekey": identity}}
        running.call("POST", f"/api/v1/namespaces/{FLUX}/secrets", age)
        environment = {"KUBECONFIG": f"{folder}/kubeconfig", "RUNTIME_NAMESPACE": FLUX, "HOME": str(folder)}
        options = ["--metrics-addr=:0", "--health-addr=:0", "--concurrent=2"]
        url = stack.enter_context(_server(running))
        start(stack, folder, "kustomize-controller", options, environment)
        yield running, url


def define(running: Flux, document: Mapping[str, Any]) -> None:
    """Make a CustomResourceDefinition."""
    running.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", document)


def start(
    stack: contextlib.ExitStack,
    folder: Path,
    program: str,
    arguments: list[str],
    environment: Mapping[str, str] | None = None,
) -> None:
    log = stack.enter_context((folder / f"{program}.log").open("wb"))
    process = subprocess.Popen(
        [BIN / program, *arguments], stdout=log, stderr=log, env={**os.environ, **(environment or {})}
    )
    stack.callback(process.wait)
    stack.callback(process.kill)


def _answers(running: Flux) -> bool:
    try:
        return bool(running.call("GET", "/api/v1/namespaces/default"))
    except (OSError, AssertionError):
        return False


@contextlib.contextmanager
def _server(running: Flux) -> Iterator[str]:
    class Artifact(Handler):
        def do_GET(self) -> None:
            self.answer(running.artifacts[self.path])

        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

    with served(Artifact) as url:
        yield url
