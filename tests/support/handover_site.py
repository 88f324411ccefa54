"""A place to hand secrets over and to break things: a real Vault process and the Kubernetes API of a real node.

`break_at` of a child names the request, counted over both systems, before or after which the child is killed
with SIGKILL, Vault is sealed, or one of the networks is cut for good.
"""

from __future__ import annotations

import base64
import contextlib
import multiprocessing
import os
import secrets
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import urllib3
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import ProtocolError

from secret_authority.clients.kubernetes import Api, collection, named
from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.clients.vault_trail import read_trail
from secret_authority.contract.engine_settings import Identities
from secret_authority.contract.names import ENGINE_ACCOUNT
from secret_authority.core.catalogue.admission import admitted_entries
from secret_authority.core.catalogue.schema import parse_catalogue
from secret_authority.core.digest import decode_values, value_digest
from secret_authority.core.errors import Unavailable
from secret_authority.core.handover.state_machine import BASE64_KEYS, Done, InGit, Reason
from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.phases import Authority
from secret_authority.engine.common.audit_events import RunInfo, digest_key
from secret_authority.engine.handover.cluster_adapter import ClusterAdapter, plan_for
from secret_authority.engine.handover.controller import Handover, Summary
from secret_authority.engine.handover.git_state import GitState
from secret_authority.engine.runtime_authority.initial_configuration import FirstConfiguration, configure
from tests.support.authority_seen import authority_seen
from tests.support.vault_process import Server, servers, wait_for

CLUSTER = "drill"
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tests.support.handover_site"])
WAYS = ("kill", "seal", "cut vault", "cut api")


@dataclass
class Fault:
    """Counts the requests of a child and breaks at one of them."""

    number: int
    after: bool
    way: str
    root_token: str
    address: str
    ca_file: str
    count: int = 0
    cut: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, system: str) -> int:
        with self.lock:
            number, self.count = self.count, self.count + 1
        if number == self.number and not self.after:
            self._strike()
        if system in self.cut:
            raise ProtocolError("cut")
        return number

    def end(self, system: str, number: int) -> None:
        if number == self.number and self.after:
            self._strike()
        if system in self.cut:
            raise ProtocolError("cut")  # it was done, and the answer is lost

    def _strike(self) -> None:
        match self.way:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "seal":
                Vault(self.address, self.ca_file).with_token(self.root_token).write("sys/seal", {})
            case "cut vault":
                self.cut.add("vault")
            case "cut api":
                self.cut.add("api")


def strike_requests(fault: Fault, vault_address: str) -> None:
    """Let every request of this process pass by the fault: both clients send through urllib3."""
    vault = urllib3.util.parse_url(vault_address)
    send = HTTPConnectionPool.urlopen

    def passing(self: HTTPConnectionPool, method: str, url: str, *arguments: Any, **more: Any) -> Any:
        if url.endswith("/sys/seal"):
            return send(self, method, url, *arguments, **more)
        system = "vault" if (self.host, self.port) == (vault.host, vault.port) else "api"
        number = fault.begin(system)
        answer = send(self, method, url, *arguments, **more)
        fault.end(system, number)
        return answer

    HTTPConnectionPool.urlopen = passing  # type: ignore[method-assign,assignment]


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


class Child:
    """A process forked from a server that has the modules loaded, so that it starts in no time."""

    def __init__(self, task: dict[str, Any]) -> None:
        self._told, sending = _PROCESSES.Pipe(duplex=False)
        self._process = _PROCESSES.Process(target=run_child, args=(task, sending))
        self._process.start()
        sending.close()

    def end(self) -> str:
        try:
            said = str(self._told.recv()) if self._told.poll(120) else ""
        except EOFError:
            said = ""
        self._process.join(120)
        if self._process.exitcode == -signal.SIGKILL:
            return "killed"
        assert self._process.exitcode == 0 and said, f"the child ended with {self._process.exitcode}"
        return said


@dataclass
class Site:
    """Vault, the API server, and a namespace of bootstrap Secrets."""

    server: Server
    root_token: str = field(repr=False)
    unseal_key: str = field(repr=False)
    kubeconfig: Path
    namespace: str
    # What Git's encrypted files hold, by secret.
    git: dict[str, dict[str, bytes]] = field(default_factory=dict)

    @property
    def api(self) -> Api:
        return Api.from_kubeconfig(self.kubeconfig)

    @property
    def root(self) -> Vault:
        return self.server.api.with_token(self.root_token)

    def engine_token(self) -> str:
        """A token with the engine's own policy: the drills run with its rights and no more."""
        body = {"policies": [ENGINE_ACCOUNT], "no_default_policy": True, "ttl": "2h", "no_parent": True}
        return str(self.root.write("auth/token/create", body)["auth"]["client_token"])

    def unseal(self) -> None:
        self.server.api.write("sys/unseal", {"key": self.unseal_key})
        wait_for(lambda: self.server.api.health() == 200, "Vault is active again")

    def make(self, name: str, values: Mapping[str, bytes], **more: object) -> None:
        """Git has the value, and Flux has created the Secret."""
        self.git[name] = dict(values)
        data = {key: base64.b64encode(value).decode() for key, value in values.items()}
        labels = {"secret-authority.dev/class": "bootstrap"}
        body = {"metadata": {"name": name, "labels": labels}, "type": "Opaque", "data": data, **more}
        self.api.create(collection("secrets", self.namespace), body)

    def entry(self, name: str, keys: Sequence[str] = ("password",)) -> dict[str, object]:
        """A catalogue entry of a bootstrap secret that the site holds."""
        return {
            "name": name,
            "class": "bootstrap",
            "owner": "team-drill",
            "bootstrap": {"namespace": self.namespace, "secret": name, "keys": list(keys)},
            "binary": [key for key in keys if not _is_text(self.git.get(name, {}).get(key, b""))],
            "vault": {"datasource": "drill", "consumer": name},
            "rotation": {"type": "static"},
        }

    def catalogue(self, entries: Sequence[Mapping[str, object]]) -> Any:
        document = {
            "apiVersion": "secret-authority.dev/v1",
            "kind": "SecretCatalogue",
            "bootstrapNamespaces": [self.namespace],
            "secrets": list(entries),
        }
        return parse_catalogue(document, "catalogue.yaml")

    def revision(self, entries: Sequence[Mapping[str, object]], key: bytes) -> GitState:
        """Git, with the files of these entries."""
        catalogue = self.catalogue(entries)
        known = {
            entry.name: InGit(value_digest(key, entry.name, str(entry.vault), self.git[entry.name]))
            for entry in catalogue
        }
        return GitState("main@sha1:0", catalogue, known)

    def hand_over(self, entries: Sequence[Mapping[str, object]]) -> Summary:
        """A whole run in this process."""
        vault = self.server.api.with_token(self.engine_token())
        handover = Handover(CLUSTER, self.api, vault, "run-whole", admitted_entries(self.catalogue(entries)))
        key = handover.key()
        return handover.run(self.revision(entries, key), key)

    def child(
        self,
        entries: Sequence[Mapping[str, object]],
        at: int = -1,
        after: bool = False,
        way: str = "kill",
        workers: int = 1,
    ) -> Child:
        """A run in a process of its own that breaks as it is told."""
        task = {
            "address": self.server.address,
            "ca": self.server.ca_file,
            "token": self.engine_token(),
            "root": self.root_token,
            "kubeconfig": str(self.kubeconfig),
            "entries": list(entries),
            "git": {str(entry["name"]): self.git[str(entry["name"])] for entry in entries},
            "namespace": self.namespace,
            "at": at,
            "after": after,
            "way": way,
            "workers": workers,
        }
        return Child(task)

    def state(self, name: str) -> dict[str, object]:
        """All that a handover leaves of one secret, without the time and the name of the run.

        The digest is made with a key of each secret's own, so it is compared with what it has to be
        for the value in Vault.
        """
        found = self.root.read(f"platform-data/data/drill/{name}") or {"data": {"data": None, "metadata": {}}}
        metadata = found["data"]["metadata"]
        custom = dict(metadata.get("custom_metadata") or {})
        at = custom.pop("handover_at", None)
        custom.pop("handover_run", None)
        custom.pop("handover_id", None)
        digest = custom.pop("handover_digest", None)
        wanted = None
        if (texts := found["data"]["data"]) is not None:
            values = decode_values(texts, (custom.get(BASE64_KEYS) or "").split())
            wanted = value_digest(digest_key(self.root), name, f"platform-data/drill/{name}", values).current
        held = self.api.get(named("secrets", self.namespace, name)) or {"metadata": {}}
        annotations = held["metadata"].get("annotations") or {}
        events = list(read_trail(self.root, name).events)
        return {
            "values": found["data"]["data"],
            "version": metadata.get("version"),
            "metadata": {key: value for key, value in custom.items() if key not in ("secret",)},
            "data": held.get("data"),
            "state": (held["metadata"].get("labels") or {}).get("secret-authority.dev/state"),
            "times agree": at is not None
            and annotations.get("secret-authority.dev/handover-at") == at
            and [event.at for event in events] == [at],
            "events": len(events),
            "digest fits": digest == wanted,
        }

    def events(self) -> list[Event]:
        return list(read_trail(self.root).events)


def end_of(child: Child) -> str:
    """How a child ended: killed, or the state it says."""
    return child.end()


@contextlib.contextmanager
def site(folder: Path, kubeconfig: Path) -> Iterator[Site]:
    """A configured Vault and an empty namespace; both are gone afterwards."""
    api = Api.from_kubeconfig(kubeconfig)
    namespace = f"drill-{secrets.token_hex(3)}"
    api.create("api/v1/namespaces", {"metadata": {"name": namespace}})
    try:
        with servers(folder) as (server,):
            wait_for(lambda: _answers(server), "Vault answers")
            made = server.api.write("sys/init", {"secret_shares": 1, "secret_threshold": 1})
            found = Site(server, made["root_token"], made["keys_base64"][0], kubeconfig, namespace)
            found.unseal()
            nobody = ("none", "none")
            ca = Path(server.ca_file).read_text()
            first = FirstConfiguration(Identities(nobody, nobody, nobody), str(server.audit_file), kubernetes_ca=ca)
            configure(found.root, first)
            found.root.write("sys/mounts/platform-data", {"type": "kv", "options": {"version": "2"}})
            wait_for(lambda: _takes(found.root), "the mount takes its configuration")
            yield found
    finally:
        api.delete(f"api/v1/namespaces/{namespace}")


def _answers(server: Server) -> bool:
    with contextlib.suppress(Unavailable):
        return server.api.health() in (200, 501, 503)
    return False


def _takes(root: Vault) -> bool:
    with contextlib.suppress(VaultRefusedError, Unavailable):
        root.write("platform-data/config", {"cas_required": True})
        return True
    return False


class Watcher:
    """Looks from outside, all the time, at Secret and Vault, and notes what no instant may show.

    The Secret is read first: a Secret that is seen empty must have its record in Vault in the look after it.
    While Vault is sealed or a system is away nothing can be said, and nothing is noted.
    """

    def __init__(self, place: Site, names: Sequence[str]) -> None:
        self._site, self._names = place, names
        self.looks = 0
        self.wrong: list[str] = []
        self.seen: dict[str, Authority] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        api, vault = self._site.api, self._site.root
        while not self._stop.is_set():
            for name in self._names:
                with contextlib.suppress(Unavailable, VaultRefusedError):
                    self._look(api, vault, name)

    def _look(self, api: Api, vault: Vault, name: str) -> None:
        entry = self._site.catalogue([self._site.entry(name)]).secrets[0]
        nothing = InGit(unknown=Reason.GIT_AWAY)
        adapter = ClusterAdapter(entry, api, vault, b"w" * 32, RunInfo("watcher"), nothing)
        plan = plan_for(CLUSTER, entry)
        held = adapter.observe_bootstrap(plan)
        found = adapter.observe_vault(plan)
        if held is None:
            return  # the secret of this case is not made yet
        self.looks += 1
        authority = authority_seen(found)
        if found.broken:
            self.wrong.append(f"{name}: half a record")
        if self.seen.get(name) is Authority.VAULT and authority is Authority.GIT:
            self.wrong.append(f"{name}: authority moved back")
        if authority is Authority.GIT and not held.holds_data:
            self.wrong.append(f"{name}: nobody has the value while Git is the authority")
        if authority is Authority.VAULT and found.digest is None:
            self.wrong.append(f"{name}: Vault is the authority without a value")
        self.seen[name] = authority


def run_child(task: dict[str, Any], told: Connection) -> None:
    """A run that breaks as it is told, and says how it ended; in a process of its own."""
    fault = Fault(task["at"], task["after"], task["way"], task["root"], task["address"], task["ca"])
    vault = Vault(task["address"], task["ca"]).with_token(task["token"])
    api = Api.from_kubeconfig(Path(task["kubeconfig"]))
    key = digest_key(vault)
    server = Server("", Path(), 0, task["ca"])
    here = Site(server, task["root"], "", Path(task["kubeconfig"]), task["namespace"], task["git"])
    git = here.revision(task["entries"], key)
    handover = Handover(CLUSTER, api, vault, f"run-{os.getpid()}", admitted_entries(git.catalogue), task["workers"])
    strike_requests(fault, task["address"])
    summary = handover.run(git, key)
    ends = {"done" if isinstance(result.end, Done) else f"open: {result.end}" for result in summary.results}
    told.send(f"{'; '.join(sorted(ends))} {fault.count}")
