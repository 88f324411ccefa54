"""A Vault in which `orders-db` was handed over, a PostgreSQL server, a modelled cluster, and an outside watcher."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pg8000.exceptions import DatabaseError, InterfaceError
from pg8000.native import Connection

from secret_authority.clients.kubernetes import Api
from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.contract.names import SECRET_VERSIONS, SYNCED_BEFORE_ANNOTATION, VERSION_ANNOTATION
from secret_authority.contract.rotation_settings import RotationSettings
from secret_authority.contract.vault_policies import (
    entry_policy,
    requests_policy,
    rotation_looks_policy,
    rotation_policy,
)
from secret_authority.core.catalogue.schema import Catalogue, parse_catalogue
from secret_authority.core.errors import Unavailable
from secret_authority.core.rotation.document import Document, Request, RequestKind, State
from secret_authority.core.timestamps import api_time
from secret_authority.engine.common.status import Status
from secret_authority.engine.consumption.versions import Version
from secret_authority.engine.rotation.controller import RotationController
from tests.support.background import Background
from tests.support.postgres_process import ADMIN, PostgresServer
from tests.support.vault_process import servers, wait_for

PATH, DOCS = "postgres/orders", "platform-rotation/data/docs/postgres/orders"
DATA, METADATA = f"platform-data/data/{PATH}", f"platform-data/metadata/{PATH}"
RECORD = {
    "authority": "vault",
    "secret": "orders-db",
    "handover_id": "ho-1",
    "handover_digest": "hmac-sha256:00",
    "handover_run": "run",
}


class Killed(BaseException):
    """The engine's process ends here."""


def catalogue(port: int, users: list[str], ttl: str = "720h", **more: str) -> Catalogue:
    rotator = {"kind": "postgresql", "host": "127.0.0.1", "port": port, "database": "orders", "tls": False}
    rotator |= {"users": users, "admin": "orders-db-admin", **({"accept_window": True} if len(users) == 1 else {})}
    return catalogue_of(rotator | more, {"DB_USER": "username", "DB_PASSWORD": "password"}, {"ttl": ttl})


def catalogue_of(rotator: Mapping[str, Any], keys: Mapping[str, str], rotation: Mapping[str, str]) -> Catalogue:
    """`orders-db` with this rotator and its consumer's `keys`, the administrator of its target, and an API's key."""
    return parse_catalogue(
        {
            "apiVersion": "secret-authority.dev/v1",
            "kind": "SecretCatalogue",
            "bootstrapNamespaces": ["bootstrap-data"],
            "secrets": [
                {
                    "name": "orders-db",
                    "class": "bootstrap",
                    "owner": "team-orders",
                    "bootstrap": {
                        "namespace": "bootstrap-data",
                        "secret": "orders-db",
                        "keys": list(keys.values()),
                    },
                    "vault": {"datasource": "postgres", "consumer": "orders"},
                    "consumers": [{"namespace": "shop", "secret": "orders-db", "keys": dict(keys)}],
                    "rotation": {"type": "time-based", **rotation},
                    "rotator": dict(rotator),
                },
                {
                    "name": "orders-db-admin",
                    "class": "bootstrap",
                    "owner": "team-orders",
                    "bootstrap": {
                        "namespace": "bootstrap-data",
                        "secret": "orders-db-admin",
                        "keys": ["username", "password"],
                    },
                    "vault": {"datasource": "postgres", "consumer": "admin"},
                    "rotation": {"type": "static"},
                },
                {
                    "name": "payment-api",
                    "class": "external",
                    "owner": "team-billing",
                    "vault": {"datasource": "payment", "consumer": "billing"},
                    "rotation": {"type": "event-based"},
                },
            ],
        },
        "catalogue.yaml",
    )


class Cluster(Background, Api):
    """External Secrets and two pods, each a little behind Vault.

    `lag`: seconds from a version to the Secret; `pod_lag`: from there to each pod, the same unless given.
    """

    def __init__(self, root: Vault, lag: float = 0.05, pod_lag: float | None = None) -> None:
        self._root, self._lag, self._pod_lag = root, lag, lag if pod_lag is None else pod_lag
        self.secret: tuple[dict[str, str], Version] = self.newest()
        self.pods = [self.secret, self.secret]
        self.objects: dict[str, Any] = {}

    def newest(self) -> tuple[dict[str, str], Version]:
        """Value and version in one look, as External Secrets reads them."""
        found = (self._root.read(DATA) or {})["data"]
        details = found["metadata"]
        return found["data"], Version(int(details["version"]), api_time(details["created_time"]))

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            with contextlib.suppress(Unavailable):
                found = self.newest()
                if found[1].mark != self.secret[1].mark:
                    self._stop.wait(self._lag)
                    self.secret = found
                for number in range(len(self.pods)):
                    if self.pods[number][1].mark != self.secret[1].mark and not self._stop.wait(self._pod_lag):
                        self.pods[number] = self.secret

    def get(self, path: str) -> dict[str, Any] | None:
        if "externalsecrets" in path:
            annotations = {VERSION_ANNOTATION: self.secret[1].mark, SYNCED_BEFORE_ANNOTATION: "before"}
            ready = {"conditions": [{"type": "Ready", "status": "True"}], "syncedResourceVersion": "after"}
            return {"metadata": {"annotations": annotations}, "status": ready}
        return self.objects.get(path)

    def list(self, path: str, label_selector: str = "") -> list[dict[str, Any]]:
        return [
            {
                "metadata": {
                    "name": f"orders-{number}",
                    "annotations": {SECRET_VERSIONS: f"orders-db={version.mark}"},
                },
                "spec": {"containers": [{"name": "app", "envFrom": [{"secretRef": {"name": "orders-db"}}]}]},
                "status": {
                    "phase": "Running",
                    "containerStatuses": [{"name": "app", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}],
                },
            }
            for number, (_, version) in enumerate(self.pods)
        ]

    def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self.objects[f"{path}/{body['metadata']['name']}"] = dict(body)
        return dict(body)

    def merge(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self.objects[path] = dict(body)
        return dict(body)


class Watcher(Background):
    """Logs in every 50 ms with what the Secret has and with what each pod has. It may fail, and says how often."""

    def __init__(self, server: PostgresServer, cluster: Cluster) -> None:
        self._server, self._cluster = server, cluster
        self.logins = 0
        self.denied: list[float] = []

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            for holder in (lambda: self._cluster.secret, lambda: self._cluster.pods[0], lambda: self._cluster.pods[1]):
                self.look(holder)

    def look(self, holder: Callable[[], tuple[dict[str, str], Version]]) -> None:
        held = holder()
        try:
            login(self._server, held[0]).close()
        except DatabaseError as error:
            # A login takes a while on a busy machine: who was replaced meanwhile has not been denied anything.
            if error.args[0].get("C") != "28P01" or holder() is not held:
                return
            self.denied.append(time.monotonic())
        except (InterfaceError, OSError):
            return  # the server is away: nobody is let in, and nobody is refused
        self.logins += 1

    @property
    def window(self) -> float:
        """Seconds from the first to the last login that was denied."""
        return self.denied[-1] - self.denied[0] if self.denied else 0.0


def login(server: PostgresServer, values: Mapping[str, str]) -> Connection:
    """Without TLS: to ask whether the server offers it, the client reads the system's CA certificates each time."""
    return Connection(
        values["username"],
        host="127.0.0.1",
        port=server.port,
        database="orders",
        password=values["password"],
        timeout=5,
        ssl_context=False,
    )


class FaultyVault(Vault):
    """Calls `point` before and after each request of the engine."""

    def __init__(self, vault: Vault, point: Callable[[str], None]) -> None:
        super().__init__(vault.address)
        self._vault, self._point = vault, point

    def request(self, method: str, path: str, *rest: Any) -> dict[str, Any] | None:
        # The id of a rotation is another one in each run.
        shown = re.sub("ro-[0-9a-f]+", "ID", path.partition("?")[0])
        self._point(f"before {method} {shown}")
        answer = self._vault.request(method, path, *rest)
        self._point(f"after {method} {shown}")
        return answer


class HandedOver:
    """A Vault in which orders-db was handed over with its `first` value, with tokens of the real policies."""

    def __init__(
        self, root: Vault, catalogue: Catalogue, first: Mapping[str, str], admin: Mapping[str, str] | None = None
    ) -> None:
        self.root, self.catalogue = root, catalogue
        for mount in ("platform-data", "platform-authority", "platform-rotation"):
            with contextlib.suppress(VaultRefusedError):
                root.delete(f"sys/mounts/{mount}")
            root.write(f"sys/mounts/{mount}", {"type": "kv", "options": {"version": "2"}})
        wait_for(self._ready, "the mounts are ready")
        for mount in ("platform-data", "platform-rotation"):
            root.write(f"{mount}/config", {"cas_required": True})
        root.write("platform-authority/data/digest-key", {"data": {"key": "A" * 44}})
        root.write(DATA, {"options": {"cas": 0}, "data": dict(first)})
        if admin is not None:
            root.write("platform-data/data/postgres/admin", {"options": {"cas": 0}, "data": dict(admin)})
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        policy = next(iter(self.catalogue)).rotation
        assert policy is not None
        root.patch(METADATA, {"custom_metadata": {**RECORD, "handover_at": at, **policy.metadata()}})
        self.engine_token = self.token("rotation", rotation_policy(self.catalogue))
        self.looks_token = self.token("rotation-looks", rotation_looks_policy(self.catalogue))

    def _ready(self) -> bool:
        try:
            for mount in ("platform-data", "platform-authority", "platform-rotation"):
                self.root.read(f"{mount}/config")
        except (VaultRefusedError, Unavailable):
            return False
        return True

    def token(self, name: str, policy: str) -> Vault:
        self.root.write(f"sys/policies/acl/{name}", {"policy": policy})
        made = self.root.write("auth/token/create", {"policies": [name], "no_default_policy": True})
        return self.root.with_token(made["auth"]["client_token"])

    def engine_of(self, api: Any, vault: Vault, run: str = "run-1") -> RotationController:
        """An engine with a view of its own on the cluster and on Vault."""
        settings = RotationSettings("dev", self.catalogue)
        return RotationController(settings, api, vault, "ns", run, Status(), drain=timedelta())

    def engine(self, cluster: Cluster, point: Callable[[str], None] = lambda _: None) -> RotationController:
        vault, looks = FaultyVault(self.engine_token, point), FaultyVault(self.looks_token, point)
        settings = RotationSettings("dev", self.catalogue)
        return RotationController(settings, cluster, vault, "ns", "run-1", Status(), drain=timedelta(), looks=looks)

    def ask(self, name: str, kind: RequestKind = RequestKind.ROTATE, **more: Any) -> None:
        request = Request(name, kind, "a test", at=datetime.now(UTC).isoformat(), **more)
        body = {"options": {"cas": 0}, "data": request.fields()}
        vault = self.token("requests", requests_policy())
        vault.write(f"platform-rotation/data/rotation-requests/orders-db/{name}", body)

    def enter(self, name: str, value: Mapping[str, str]) -> Vault:
        """What `enter --replace` does, as the identity of entries."""
        entry = self.token("entry", entry_policy(self.catalogue, ()))
        body = {"options": {"cas": 0}, "data": dict(value)}
        entry.write(f"platform-rotation/data/given-values/orders-db/{name}", body)
        at = datetime.now(UTC).isoformat()
        request = Request(name, RequestKind.ROTATE, "value entered by ada", at=at, given=True)
        body = {"options": {"cas": 0}, "data": request.fields()}
        entry.write(f"platform-rotation/data/rotation-requests/orders-db/{name}", body)
        return entry

    def outcome(self, name: str) -> str:
        found = self.root.read(f"platform-rotation/data/rotation-requests/orders-db/{name}") or {}
        return str(found["data"]["data"].get("outcome", ""))

    def document(self) -> Document:
        found = self.root.read(DOCS)
        return Document.from_fields(found["data"]["data"]) if found else Document()

    def value(self, version: int = 0) -> dict[str, str]:
        found: dict[str, str] = (self.root.read(f"{DATA}?version={version}") or {})["data"]["data"]
        return found

    def events(self) -> list[dict[str, str]]:
        names = self.root.list("platform-authority/metadata/events/orders-db")
        return [(self.root.read(f"platform-authority/data/events/orders-db/{n}") or {})["data"]["data"] for n in names]

    def readable_documents(self) -> int:
        """How many versions of the document can still be read; one of an ended rotation holds no value."""
        found = (self.root.read("platform-rotation/metadata/docs/postgres/orders") or {})["data"]["versions"]
        return sum(not one["destroyed"] for one in found.values())


class Site(HandedOver):
    """orders-db is the login of a PostgreSQL server."""

    def __init__(self, root: Vault, server: PostgresServer, users: list[str], ttl: str = "720h", **more: str) -> None:
        self.server = server
        first = {"username": "orders_a", "password": "first-password"}
        super().__init__(root, catalogue(server.port, users, ttl, **more), first, ADMIN)
        with contextlib.closing(server.superuser()) as admin:
            for user, password in (("orders_a", "'first-password'"), ("orders_b", "NULL")):
                admin.run(f"ALTER ROLE {user} LOGIN PASSWORD {password}")
                admin.run(f"COMMENT ON ROLE {user} IS NULL")

    def accepted(self, values: Mapping[str, str]) -> bool:
        try:
            login(self.server, values).close()
        except DatabaseError:
            return False
        return True


@contextlib.contextmanager
def unsealed_vault(folder: Path) -> Iterator[tuple[Vault, str]]:
    """A Vault of its own, as root, and its one unseal share."""
    with servers(folder) as (server,):
        wait_for(lambda: _answers(server.api), "Vault answers")
        made = server.api.write("sys/init", {"secret_shares": 1, "secret_threshold": 1})
        server.api.write("sys/unseal", {"key": made["keys"][0]})
        wait_for(lambda: server.api.health() == 200, "Vault is active")
        yield server.api.with_token(made["root_token"]), made["keys"][0]


def _answers(vault: Vault) -> bool:
    try:
        vault.health()
    except Unavailable:
        return False
    return True


def work(engine: RotationController, until: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Rounds of the engine until something holds."""
    deadline = time.monotonic() + seconds
    while not until():
        engine.reconcile()
        if time.monotonic() > deadline:
            raise AssertionError(f"not in time: {what}")
        time.sleep(0.02)


def done(site: HandedOver, generation: int = 1) -> bool:
    found = site.document()
    return found.state is State.IDLE and found.generation == generation and site.readable_documents() == 1
