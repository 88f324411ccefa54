"""Three Vault servers on Raft with values of every kind, workloads' Secrets beside them, and ways to damage storage."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.consumption.external_secret import external_secret_spec
from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.core.catalogue.schema import DATA_MOUNT, CatalogueSecret
from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.engine.runtime_authority.initial_configuration import generate_root, revoke_every_root
from secret_authority.engine.runtime_authority.seal import Seal
from secret_authority.engine.runtime_authority.unseal_shares import open_shares
from tests.support.delivery_site import NAMESPACE, entry, made, synced, write
from tests.support.flux_process import Flux
from tests.support.odd_values import is_text, odd_value
from tests.support.seal_site import Site
from tests.support.vault_process import Server, wait_for

NUMBER = 40
# How long servers may take on a machine that is busy with other things.
SECONDS = 120.0
_POLICY = f'path "{DATA_MOUNT}/*" {{ capabilities = ["create", "read", "update", "list"] }}'
_AUTOPILOT = 'path "sys/storage/raft/*" { capabilities = ["read"] }'


@dataclass
class Servers:
    """The servers, the engine that unseals them, and what Vault has to hold, by path."""

    site: Site
    token: str
    engine: Seal
    values: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def all(self) -> list[Server]:
        return self.site.vaults

    def through(self, server: Server) -> Vault:
        return server.api.with_token(self.token)

    def active(self, among: list[Server] | None = None) -> Server:
        """The one that serves, awaited."""
        looked = self.all if among is None else among
        found: list[Server] = []

        def seen() -> bool:
            found[:] = [one for one in looked if health(one) == 200]
            return bool(found)

        wait_for(seen, "a server is active", SECONDS)
        return found[0]

    def write(
        self, path: str, data: dict[str, str], among: list[Server] | None = None, after: int | None = None
    ) -> None:
        """A new value, written by way of the active server; a change of leaders is waited for.

        `after`: the version that the path's only writer has written before. A request whose answer was lost, and that
        arrives late, then overwrites nothing.
        """
        body = {"data": data} if after is None else {"data": data, "options": {"cas": after}}

        def written() -> bool:
            try:
                self.through(self.active(among)).write(f"{DATA_MOUNT}/data/{path}", body)
            except Unavailable:
                return False
            except LostRace:
                assert after is not None, f"{path} wants to know the version before"
            return True  # also when it had arrived before, and its answer was lost

        wait_for(written, f"{path} is written", SECONDS)
        self.values[path] = data

    def unseal(self, among: list[Server]) -> None:
        """What the engine does, until these serve."""

        def served() -> bool:
            with contextlib.suppress(Unavailable, VaultRefusedError):
                self.engine.reconcile()
            found = [health(one) for one in among]
            return found.count(200) == 1 and found.count(429) == len(among) - 1

        wait_for(served, f"{', '.join(one.name for one in among)} serve", SECONDS)

    def three_voters(self) -> None:
        """Wait until another one may be lost."""

        def healthy() -> bool:
            try:
                state = self.through(self.active()).read("sys/storage/raft/autopilot/state") or {}
            except (Unavailable, VaultRefusedError):
                return False
            found = state["data"]
            reached = [int(one["last_index"]) for one in found["servers"].values()]
            voters = len(found.get("voters") or ())
            # A leader may still say healthy of a server that has just come back empty.
            return bool(found["healthy"]) and voters == len(self.all) and max(reached) - min(reached) < 10

        wait_for(healthy, "all are voters", SECONDS)

    def differences(self, among: list[Server] | None = None) -> list[str]:
        """The paths whose value is not byte for byte what it has to be, by each server that answers."""
        wrong: list[str] = []
        for server in self.all if among is None else among:
            wrong += [f"{server.name}: {path}" for path in self.values if self.read(server, path) != self.values[path]]
        return wrong

    def read(self, server: Server, path: str) -> dict[str, str] | None:
        """A value by way of this server; a change of leaders is waited for."""
        answers: list[dict[str, Any] | None] = []

        def answered() -> bool:
            with contextlib.suppress(Unavailable):
                answers.append(self.through(server).read(f"{DATA_MOUNT}/data/{path}"))
            return bool(answers)

        wait_for(answered, f"{server.name} answers", SECONDS)
        return ((answers[0] or {}).get("data") or {}).get("data")

    def replace_volume(self, server: Server) -> None:
        """An empty volume, and the server on it."""
        lose_volume(server)
        server.start()


def health(server: Server) -> int | None:
    with contextlib.suppress(Unavailable):
        return server.api.health()
    return None


def lose_volume(server: Server) -> None:
    server.kill()
    shutil.rmtree(server.folder / "raft")
    (server.folder / "raft").mkdir()


def cluster_address(server: Server) -> str:
    """Where other servers reach it."""
    config = json.loads((server.folder / "config.json").read_text())
    return str(config["cluster_addr"]).removeprefix("https://")


def serving(site: Site) -> Servers:
    """The servers in service, with values of every kind; the client's token reads and writes values alone."""
    engine = site.engine()
    site.in_service(engine)
    found = Servers(site, "", engine)
    active = found.active()
    root = active.api.with_token(generate_root(active.api, open_shares(site.store.load(), str(site.root))))
    root.write(f"sys/mounts/{DATA_MOUNT}", {"type": "kv", "options": {"version": "2"}})
    root.write("sys/policies/acl/values", {"policy": f"{_POLICY}\n{_AUTOPILOT}"})
    body = {"policies": ["values"], "no_default_policy": False, "period": "24h"}
    found.token = str(root.write("auth/token/create-orphan", body)["auth"]["client_token"])
    revoke_every_root(root)
    wait_for(lambda: _mounted(found.through(active)), "the mount is upgraded", SECONDS)
    for number in range(NUMBER):
        value = odd_value(number)
        text = value.decode() if is_text(value) else base64.b64encode(value).decode()
        found.write(f"odd/value-{number}", {"key": text})
    return found


def _mounted(vault: Vault) -> bool:
    with contextlib.suppress(Unavailable, VaultRefusedError):
        vault.list(f"{DATA_MOUNT}/metadata")
        vault.write(f"{DATA_MOUNT}/data/ready", {"data": {"key": "x"}})
        return True
    return False


@dataclass
class Workloads:
    """Secrets that External Secrets has made, and a watcher of every one of them."""

    api: Flux
    wanted: Mapping[str, Mapping[str, bytes]]
    seen: list[str] = field(default_factory=list)
    looks: int = 0
    _end: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Until the end: note each Secret that is not there, or is not what it was."""
        while not self._end.wait(0.2):
            for name, wanted in self.wanted.items():
                found = self.api.secret(NAMESPACE, name)
                if found != wanted:
                    self.seen.append(f"{name} was {'missing' if found is None else 'changed'}")
            self.looks += 1

    def unchanged(self) -> None:
        """It has looked, also at this moment, and nothing was ever different."""
        now = self.looks
        wait_for(lambda: self.looks > now + 1, "the watcher looks", SECONDS)
        assert not self.seen

    def noticed(self, status: str) -> None:
        """External Secrets has tried, and said so."""
        wait_for(lambda: all(synced(self.api, name)[0] == status for name in self.wanted), f"Ready {status}", SECONDS)

    def end(self) -> None:
        self._end.set()


@contextlib.contextmanager
def workloads(api: Flux, vault: Vault) -> Iterator[Workloads]:
    """Two Secrets, of texts and of bytes, which External Secrets reads again every second."""
    wanted: dict[str, dict[str, bytes]] = {}
    for name, numbers in (("texts", (1, 2, 4)), ("bytes", (3, 6, 9))):
        values = {f"key-{number}": odd_value(number) for number in numbers}
        secret = entry(name, list(values), [key for key, value in values.items() if not is_text(value)])
        write(vault, secret, values)
        made(api, name, _spec(secret))
        wanted[name] = values
    running = Workloads(api, wanted)
    for name in wanted:
        assert api.secret(NAMESPACE, name) == wanted[name]
    thread = threading.Thread(target=running.watch, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        running.end()
        thread.join()


def _spec(secret: CatalogueSecret) -> dict[str, Any]:
    (consumer,) = secret.consumers
    return external_secret_spec(secret, consumer, "1s")


def damaged(server: Server, file: str, size: int = 65536) -> Path:
    """The server is ended and the beginning of a file of its storage is zeros."""
    server.kill()
    path = server.folder / "raft" / file
    with path.open("r+b") as content:
        content.write(bytes(size))
    return path
