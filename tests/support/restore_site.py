"""A Vault to take a bundle from, another one to restore it into, and the cluster around it in memory."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import urllib3
from pyrage import x25519

from secret_authority.clients.snapshot_bundle import Bundle
from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.contract.engine_settings import Identities
from secret_authority.contract.names import (
    AUTHORITY_MOUNT,
    CONSUMPTION_ACCOUNT,
    ENGINE_NAMESPACE,
    ESO_NAMESPACE,
    ROTATION_MOUNT,
    SNAPSHOT_ROLE,
    VAULT_NAMESPACE,
)
from secret_authority.contract.vault_policies import snapshot_policy
from secret_authority.core.catalogue.schema import CONFIG_MOUNT, DATA_MOUNT
from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.core.rotation.document import Document, State
from secret_authority.core.rotation.rotator import Publication, Value
from secret_authority.core.snapshots.manifest import AuditDevice, Manifest, SavedSecret, SealFacts, seal_digest
from secret_authority.engine.restore.cluster_backend import ClusterRestore, RestoreSettings
from secret_authority.engine.runtime_authority.initial_configuration import (
    FirstConfiguration,
    fingerprint,
    generate_root,
    revoke_every_root,
)
from secret_authority.engine.runtime_authority.seal import Seal, SealSettings
from secret_authority.engine.runtime_authority.seal_store import ClusterSealStore
from secret_authority.engine.runtime_authority.unseal_shares import open_shares
from secret_authority.engine.snapshots.take import take
from tests.fakes.kubernetes import FakeApi, merged
from tests.support.fleets import Fleet
from tests.support.vault_process import Server, servers, wait_for

CANARY = "canary-3f9c1d"
CONTROLLER = f"{ESO_NAMESPACE}/external-secrets-shop"
NAME = "dev/2026/11/20261127T180000Z-60-0badcafe"


class ClusterApi(FakeApi):
    """Objects in memory, with lists, and Deployments whose pods follow at once. `point` sees every request."""

    def __init__(self) -> None:
        super().__init__()
        self.point: Callable[[], None] = lambda: None
        for place in (CONTROLLER, f"{ENGINE_NAMESPACE}/{CONSUMPTION_ACCOUNT}"):
            namespace, _, name = place.partition("/")
            path = f"apis/apps/v1/namespaces/{namespace}/deployments"
            super().create(path, {"metadata": {"name": name}, "spec": {"replicas": 1}})

    def store(self, place: str, body: dict[str, Any]) -> dict[str, Any]:
        uid = (self.objects.get(place) or {}).get("metadata", {}).get("uid") or f"uid-{self.version}"
        return super().store(place, {**body, "metadata": {**body["metadata"], "uid": uid}})

    def running(self) -> dict[str, int]:
        return {
            path.partition("namespaces/")[2].replace("/deployments", ""): found["spec"]["replicas"]
            for path, found in self.objects.items()
            if "/deployments/" in path
        }

    def _around(self, call: Callable[[], Any]) -> Any:
        self.point()
        answer = call()
        self.point()
        return answer

    def get(self, path: str) -> dict[str, Any] | None:
        return self._around(lambda: super(ClusterApi, self).get(path))  # type: ignore[no-any-return]

    def create(self, path: str, body: Any) -> dict[str, Any]:
        return self._around(lambda: super(ClusterApi, self).create(path, body))  # type: ignore[no-any-return]

    def merge(self, path: str, body: Any) -> dict[str, Any]:
        return self._around(lambda: self.store(path, merged(self.objects[path], body)))  # type: ignore[no-any-return]

    def delete(self, path: str, uid: str | None = None) -> None:
        self._around(lambda: super(ClusterApi, self).delete(path, uid))

    def list(self, path: str, label_selector: str = "") -> list[dict[str, Any]]:
        def call() -> list[dict[str, Any]]:
            if not path.endswith("/pods"):
                return [found for place, found in self.objects.items() if place.rpartition("/")[0] == path]
            namespace = path.split("/")[-2]
            wanted = label_selector.removeprefix("app=")
            return [
                {"metadata": {"name": f"{place}-0"}}
                for place, number in self.running().items()
                if number and place.startswith(f"{namespace}/") and (not wanted or place.endswith(f"/{wanted}"))
            ]

        return self._around(call)  # type: ignore[no-any-return]


class WatchedVault(Vault):
    """Calls `point` before and after every request."""

    def __init__(self, address: str, ca_file: str | None, point: Callable[[], None]) -> None:
        super().__init__(address, ca_file)
        self.point = point

    def with_token(self, token: str) -> Vault:
        other = WatchedVault(self.address, self.ca_file, self.point)
        other.token = token
        return other

    def _send(self, *arguments: Any, **more: Any) -> urllib3.BaseHTTPResponse:
        self.point()
        answer = super()._send(*arguments, **more)
        self.point()
        return answer


@dataclass
class Cluster:
    """One Vault process, this program's engine beside it, and the identities that open its shares."""

    server: Server
    cluster: Any = field(default_factory=x25519.Identity.generate)
    root: Any = field(default_factory=x25519.Identity.generate)
    api: ClusterApi = field(default_factory=ClusterApi)
    numbers: tuple[int, int] = (5, 3)

    @property
    def recipients(self) -> tuple[str, ...]:
        return (str(self.cluster.to_public()), str(self.root.to_public()))

    @property
    def first(self) -> FirstConfiguration:
        accounts = Identities(("sa", "engine"), ("sa", "configurator"), ("sa", "auditor"))
        ca = Path(self.server.ca_file).read_text()
        return FirstConfiguration(accounts, audit_file=str(self.server.audit_file), kubernetes_ca=ca)

    @property
    def store(self) -> ClusterSealStore:
        return ClusterSealStore(self.api, VAULT_NAMESPACE, "run", fingerprint(self.first))

    def engine(self) -> Seal:
        settings = SealSettings(*self.numbers, lambda _: self.recipients, self.first)
        return Seal([self.server.api], self.store, settings, lambda: str(self.cluster), lambda _: None)

    def serve(self) -> None:
        """Initialised, unsealed and configured by the engine."""
        engine = self.engine()

        def served() -> bool:
            try:
                return engine.reconcile().in_service
            except (Unavailable, LostRace, VaultRefusedError):
                return False

        wait_for(served, "Vault is in service")

    def as_root(self) -> Vault:
        shares = open_shares(self.store.load(), str(self.root))
        return self.server.api.with_token(generate_root(self.server.api, shares))

    def restart(self) -> None:
        self.server.kill()
        self.server.start()
        wait_for(lambda: answers(self.server), "Vault answers")


def answers(server: Server) -> bool:
    with contextlib.suppress(Unavailable):
        return server.api.read("sys/seal-status") is not None
    return False


@contextlib.contextmanager
def cluster(folder: Path, **more: Any) -> Iterator[Cluster]:
    """A cluster whose Vault is in service and empty."""
    folder.mkdir()
    with servers(folder) as (server,):
        wait_for(lambda: answers(server), "Vault answers")
        made = Cluster(server, **more)
        made.serve()
        yield made


def mount(root: Vault, *mounts: str) -> None:
    for name in mounts:
        root.write(f"sys/mounts/{name}", {"type": "kv", "options": {"version": "2"}})
        wait_for(lambda name=name: _configured(root, name), f"{name} takes its configuration")  # type: ignore[misc]


def _configured(root: Vault, name: str) -> bool:
    with contextlib.suppress(VaultRefusedError, Unavailable):
        root.write(f"{name}/config", {"cas_required": True})
        return True
    return False


def write(root: Vault, path: str, value: str, cas: int = 0) -> None:
    root.write(f"{DATA_MOUNT}/data/{path}", {"options": {"cas": cas}, "data": {"password": value}})


def read(root: Vault, path: str) -> str | None:
    found = ((root.read(f"{DATA_MOUNT}/data/{path}") or {}).get("data") or {}).get("data") or {}
    return found.get("password")


def fill(root: Vault) -> None:
    """Values, one of them rotated, and a rotation that is under way."""
    mount(root, DATA_MOUNT, CONFIG_MOUNT, ROTATION_MOUNT)
    write(root, "postgres/orders", f"{CANARY}-1")
    write(root, "postgres/orders", f"{CANARY}-2", cas=1)
    write(root, "stripe/payment", f"{CANARY}-3")
    pending = Document(
        state=State.PREPARED,
        generation=3,
        id="ro-1",
        publications=(Publication(Value({"password": f"{CANARY}-pending"})),),
    )
    body = {"options": {"cas": 0}, "data": pending.fields()}
    root.write(f"{ROTATION_MOUNT}/data/docs/postgres/orders", body)
    event = {"options": {"cas": 0}, "data": {"at": "2026-11-27T17:00:00+00:00"}}
    root.write(f"{AUTHORITY_MOUNT}/data/events/orders-db/ho-1", event)


def raw_snapshot(site: Cluster, token: str) -> bytes:
    """A Raft snapshot, taken with a token that may do nothing else."""
    return Vault(site.server.address, site.server.ca_file).with_token(token).content("sys/storage/raft/snapshot", 60.0)


def fill_catalogue(root: Vault, fleet: Fleet) -> None:
    """A value for each secret of the fleet's catalogue."""
    mount(root, DATA_MOUNT, CONFIG_MOUNT)
    for entry in fleet.read().catalogue:
        keys = entry.consumed_keys or ["key"]
        data = dict.fromkeys(keys, f"{CANARY}-{entry.name}")
        place = f"{entry.vault.mount}/data/{entry.vault.path}"
        root.write(place, {"options": {"cas": 0}, "data": data})


def bundle_of(site: Cluster, root: Vault) -> Bundle:
    """A bundle of what the site's Vault holds now."""
    root.write("sys/policies/acl/snapshot", {"policy": 'path "sys/storage/raft/snapshot" { capabilities = ["read"] }'})
    made = root.write("auth/token/create", {"policies": ["snapshot"], "no_default_policy": True, "ttl": "10m"})
    snapshot = raw_snapshot(site, made["auth"]["client_token"])
    sealed = site.store.load()
    secrets = tuple(_saved(root, path) for path in ("postgres/orders", "stripe/payment"))
    with tarfile.open(fileobj=io.BytesIO(snapshot)) as archive:
        file = archive.extractfile("meta.json")
        assert file is not None
        meta = json.loads(file.read())
    manifest = Manifest(
        cluster="dev",
        cluster_id=str((site.server.api.read("sys/seal-status") or {})["cluster_id"]),
        taken_at=datetime.now(UTC),
        index=meta["Index"],
        term=meta["Term"],
        server_version="1.21.1",
        node=site.server.name,
        sha256=hashlib.sha256(snapshot).hexdigest(),
        size=len(snapshot),
        seal=SealFacts(len(sealed.ciphertexts), sealed.threshold, seal_digest(sealed.ciphertexts, sealed.threshold)),
        audit=(AuditDevice("file/", str(site.server.audit_file)), AuditDevice("stdout/", "stdout")),
        secrets=secrets,
    )
    return Bundle(manifest, snapshot, sealed.ciphertexts, sealed.threshold)


def taken(site: Cluster, root: Vault, name: str = "dev") -> Bundle:
    """A bundle as `snapshot now` makes it. Every root token is revoked before."""
    root.write(f"sys/policies/acl/{SNAPSHOT_ROLE}", {"policy": snapshot_policy()})
    body = {"policies": [SNAPSHOT_ROLE], "no_default_policy": True, "ttl": "10m"}
    made = root.write("auth/token/create-orphan", body)
    revoke_every_root(root)
    vault = site.server.api.with_token(made["auth"]["client_token"])
    audit = (AuditDevice("file/", str(site.server.audit_file)), AuditDevice("stdout/", "stdout"))
    return take(vault, name, site.store.load(), audit)


def _saved(root: Vault, path: str) -> SavedSecret:
    found = (root.read(f"{DATA_MOUNT}/metadata/{path}") or {})["data"]
    version = int(found["current_version"])
    return SavedSecret(f"{DATA_MOUNT}/{path}", version, found["versions"][str(version)]["created_time"], "sha256:0")


def restorer(
    target: Cluster, bundle: Bundle, identity: str, point: Callable[[], None] = lambda: None
) -> ClusterRestore:
    """A run of the restore, whose every request passes `point`."""
    target.api.point = point
    vault = WatchedVault(target.server.address, target.server.ca_file, point)
    settings = RestoreSettings(
        *(VAULT_NAMESPACE, "kim", identity, target.recipients, target.first, target.restart),
        rotated=["orders-db"],
        pause=lambda _: _pause(),
    )
    return ClusterRestore(vault, target.api, NAME, bundle, settings)


def _pause() -> None:
    time.sleep(0.2)
