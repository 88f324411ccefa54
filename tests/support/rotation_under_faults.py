"""A rotation engine that is killed, paused and cut off while three Vault servers, a database and logins are watched."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from secret_authority.clients.vault import TIMEOUT_SECONDS, Vault, VaultRefusedError
from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.engine.rotation.controller import RotationController
from tests.support.background import Background
from tests.support.liveness import READINESS
from tests.support.rotation_faults import FaultyApi, FaultyVault, engine_at
from tests.support.rotation_site import DATA, METADATA, Cluster, Killed, Site, Watcher, done
from tests.support.storage_losses import SECONDS
from tests.support.vault_process import Server, wait_for


class ReadyServers(Vault):
    """Vault by way of a Service: each request reaches a server that was ready, and may fail; then another is taken."""

    def __init__(self, servers: list[Server], token: str | None = None) -> None:
        super().__init__(servers[0].address, servers[0].ca_file)
        self.token = token
        self._servers = servers
        self._ways = [server.api.with_token(token or "") for server in servers]
        self._now = 0

    def with_token(self, token: str) -> Vault:
        return ReadyServers(self._servers, token)

    def request(
        self, method: str, path: str, data: Mapping[str, Any] | None, seconds: float = TIMEOUT_SECONDS
    ) -> dict[str, Any] | None:
        way = self._ways[self._now]
        try:
            return way.request(method, path, data, seconds)
        except Unavailable:
            others = (number for number in range(len(self._ways)) if self._ways[number] is not way)
            self._now = next((one for one in others if READINESS.succeeds(self._servers[one])), self._now)
            raise

    def health(self) -> int:
        return self._servers[self._now].api.health()


@dataclass
class Gate:
    """What one engine's requests pass. Each system in `away` cannot be reached."""

    away: set[str] = field(default_factory=set)
    killed: bool = False
    opened: threading.Event = field(default_factory=threading.Event)
    ended: bool = False
    # It finishes the round that it is in.
    last: bool = False
    # How many requests pass before the engine is killed or paused; None for never.
    passing: int | None = None

    def __call__(self, name: str) -> None:
        if self.passing is not None:
            self.passing -= 1
            if self.passing <= 0:
                self.passing = None
                if self.killed:
                    raise Killed
                self.opened.wait()
        if self.ended:
            raise Killed
        if name.split()[1] in self.away:
            raise Unavailable(f"{name.split()[1]} cannot be reached")


class Engines:
    """Engines of rotation in threads, one after another; a paused one may meet its successor."""

    def __init__(self, site: Site, cluster: Cluster) -> None:
        self._site, self._cluster = site, cluster
        self._gates: dict[int, Gate] = {}
        self._threads: list[threading.Thread] = []
        self.number = 0
        self.failed: list[str] = []
        self.gate = Gate()

    def point(self, name: str) -> None:
        """The rotator's calls too go by the gate of the engine whose thread asks."""
        self._gates[threading.get_ident()](name)

    def _build(self) -> RotationController:
        run = f"run-{self.number}"
        return self._site.engine_of(
            FaultyApi(self._cluster, self.point), FaultyVault(self._site.engine_token, self.point), run
        )

    def start(self) -> Gate:
        """Another engine; the one before is the caller's to end."""
        self.number += 1
        gate = self.gate = Gate()
        begun = threading.Event()

        def run() -> None:
            self._gates[threading.get_ident()] = gate
            begun.set()
            engine = self._build()
            try:
                while not (gate.ended or gate.last):
                    engine.reconcile()
                    threading.Event().wait(0.1)
            except Killed:
                return
            except Exception as error:
                self.failed.append(f"{type(error).__name__}: {error}")

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        begun.wait()
        self._threads.append(thread)
        return gate

    def end(self) -> None:
        for gate in list(self._gates.values()):
            gate.ended = True
            gate.opened.set()
        for thread in self._threads:
            thread.join(60)


@contextlib.contextmanager
def engines(site: Site, cluster: Cluster) -> Iterator[Engines]:
    """With one engine at work."""
    made = Engines(site, cluster)
    points: Any = made.point
    # The patch of the rotators is that of a single engine; this one is not used.
    with engine_at(site, cluster, points):
        made.start()
        try:
            yield made
        finally:
            made.end()


def patiently(do: Callable[[], object], what: str) -> None:
    """Until it succeeds, as a person would who is told that Vault is away."""

    def succeeded() -> bool:
        with contextlib.suppress(Unavailable):
            do()
            return True
        return False

    wait_for(succeeded, what, SECONDS)


def ask(site: Site, name: str) -> None:
    """A request for a rotation. One that arrived without its answer is there already."""

    def asked() -> None:
        with contextlib.suppress(LostRace):
            site.ask(name)

    patiently(asked, f"request {name} is written")


def rotated(site: Site, generation: int) -> bool:
    """Whether the rotation has ended and nothing of it is left."""
    with contextlib.suppress(Unavailable):
        return done(site, generation)
    return False


def differences(site: Site, watcher: Watcher, generation: int) -> list[str]:
    """What is wrong after a rotation: nobody denied, one authority, one event for each, the old login refused."""
    wrong = [f"{len(watcher.denied)} logins denied"] if watcher.denied else []
    seen: dict[str, Any] = {}

    def read() -> None:
        seen["newest"], seen["old"] = site.value(), site.value(version_before(site))
        seen["events"] = site.events()
        seen["custom"] = (site.root.read(METADATA) or {})["data"]["custom_metadata"]

    patiently(read, "Vault answers")
    if not site.accepted(seen["newest"]):
        wrong.append("the newest login is refused")
    if site.accepted({**seen["newest"], **seen["old"]}):
        wrong.append("the login before is accepted")
    if len(seen["events"]) != generation:
        wrong.append(f"{len(seen['events'])} events of {generation} rotations")
    if seen["custom"].get("authority") != "vault":
        wrong.append("Vault is not the authority on record")
    return wrong


def version_before(site: Site) -> int:
    found = (site.root.read(DATA) or {})["data"]["metadata"]
    return int(found["version"]) - 1


@dataclass
class Authorities(Background):
    """Looks at who decides the value: whichever server answers, its record and its versions never go back."""

    vault: Vault
    looks: int = 0
    wrong: list[str] = field(default_factory=list)
    _newest: int = 0

    def _run(self) -> None:
        while not self._stop.wait(0.2):
            with contextlib.suppress(Unavailable):
                self._look()

    def _look(self) -> None:
        try:
            found = (self.vault.read(METADATA) or {}).get("data")
        except VaultRefusedError as error:
            self.wrong.append(str(error))
            return
        if found is None or (found.get("custom_metadata") or {}).get("authority") != "vault":
            self.wrong.append("no authority on record")
            return
        version = int(found["current_version"])
        if version < self._newest:
            self.wrong.append(f"version {version} after {self._newest}")
        self._newest = max(version, self._newest)
        self.looks += 1
