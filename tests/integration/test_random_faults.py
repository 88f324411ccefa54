"""A long run of random faults of Vault, a database and the engine, while values change, logins rotate and are used.

RANDOM_FAULTS_SECONDS says for how long (default: five minutes; 3600 is the long form), RANDOM_FAULTS_SEED repeats a
run; the seed is printed. Two watchers look from outside. One sees a consumer Secret that the real External Secrets
makes: it is always there, whole, of one version, and never of an older one than before, while one version after
another is written all through each fault. The other logs in to a real PostgreSQL with what two modelled pods have,
which are seconds behind, while the real engine rotates that login with every fault: nobody is denied. After each fault
every value that Vault has confirmed is compared byte for byte on every server, the new login is accepted, and the old
one refused. A server whose liveness probe fails for as long as the pod's may is started again, as the kubelet would:
one that was paused while it was active may never step down by itself.
"""

from __future__ import annotations

import os
import random
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from components.consumption.external_secret import external_secret_spec
from secret_authority.core.catalogue.schema import CatalogueSecret
from secret_authority.core.digest import encode_values
from tests.support.delivery_site import NAMESPACE, delivery_programs, entry, external_secrets, made
from tests.support.flux_process import Flux
from tests.support.liveness import Kubelet
from tests.support.odd_values import is_text, odd_value
from tests.support.postgres_process import PostgresServer, installations, postgres_server
from tests.support.rotation_site import Cluster, Watcher
from tests.support.rotation_site import Site as RotationSite
from tests.support.rotation_under_faults import (
    Authorities,
    Engines,
    ReadyServers,
    ask,
    differences,
    engines,
    rotated,
)
from tests.support.seal_site import Site
from tests.support.storage_losses import SECONDS, Servers, damaged, lose_volume, serving
from tests.support.vault_process import Server, servers, wait_for

pytestmark = [
    pytest.mark.engine,
    pytest.mark.nightly,
    pytest.mark.skipif(not delivery_programs(), reason="no programs of the node: run `make tools`"),
]
DURATION = float(os.environ.get("RANDOM_FAULTS_SECONDS", "300"))
SEED = int(os.environ.get("RANDOM_FAULTS_SEED") or secrets.randbits(32))
NAME, KEYS = "changing", ("one", "two", "three")
# Values are written one after another during a fault, with so much between two: one of them meets it.
CHANGE_SECONDS = 0.05
# For so long each pod has the login before, one after the other. Who revokes it too early is seen.
POD_SECONDS = 1.5
USERS = ["orders_a", "orders_b"]


@dataclass
class Scene:
    """What faults are done to. `generation`: how many rotations were asked for."""

    chance: random.Random
    vault: Servers
    database: PostgresServer
    site: RotationSite
    engines: Engines
    generation: int = 0

    def rotate(self) -> None:
        self.generation += 1
        ask(self.site, f"r{self.generation}")

    def has_rotated(self) -> None:
        wait_for(lambda: rotated(self.site, self.generation), f"rotation {self.generation}", SECONDS)


Fault = Callable[[Scene, Server], None]


def killed(_: Scene, server: Server) -> None:
    server.kill()
    server.start()


def volume_lost(_: Scene, server: Server) -> None:
    lose_volume(server)
    server.start()


def file_damaged(scene: Scene, server: Server) -> None:
    damaged(server, "vault.db")
    server.start()
    process = server.process
    assert process is not None
    wait_for(lambda: process.poll() is not None, "it does not serve what is damaged", SECONDS)
    volume_lost(scene, server)


def paused(_: Scene, server: Server) -> None:
    """Longer than Raft waits for a leader: another one is elected, and this one comes back with its old word."""
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    time.sleep(20)  # what is tried is the pause itself
    server.process.send_signal(signal.SIGCONT)


def sealed(scene: Scene, _: Server) -> None:
    scene.vault.active().api.with_token(scene.site.root.token or "").write("sys/seal", {})


def two_killed(scene: Scene, server: Server) -> None:
    others = [one for one in scene.vault.all if one is not server]
    for one in others:
        one.kill()
    for one in others:
        one.start()


def all_killed(scene: Scene, _: Server) -> None:
    for one in scene.vault.all:
        one.kill()
    for one in scene.vault.all:
        one.start()


def database_killed(scene: Scene, _: Server) -> None:
    scene.database.kill()
    scene.database.start()


def engine_killed(scene: Scene, _: Server) -> None:
    """At any request of the rotation; another engine continues."""
    gate = scene.engines.gate
    gate.killed, gate.passing = True, scene.chance.randint(1, 80)
    wait_for(lambda: gate.passing is None, "the engine is killed", SECONDS)
    scene.engines.start()


def engine_paused(scene: Scene, _: Server) -> None:
    """Another engine finishes the rotation and makes one more before the first finishes the round it was in."""
    gate = scene.engines.gate
    gate.passing = scene.chance.randint(1, 80)
    wait_for(lambda: gate.passing is None, "the engine is paused", SECONDS)
    scene.engines.start()
    scene.has_rotated()
    scene.rotate()
    scene.has_rotated()
    gate.last = True
    gate.opened.set()


def engine_cut_off(scene: Scene, _: Server) -> None:
    """From Vault, from the database or from the API server."""
    gate = scene.engines.gate
    gate.away = {scene.chance.choice(("vault", "target", "api"))}
    time.sleep(scene.chance.uniform(1, 5))  # what is tried is the time without
    gate.away = set()


FAULTS: tuple[Fault, ...] = (
    *(killed, volume_lost, file_damaged, paused, sealed, two_killed, all_killed),
    *(database_killed, engine_killed, engine_paused, engine_cut_off),
)


@dataclass
class Watched:
    """The Secret of a workload, whose value changes. `numbers`: that of each value that was ever written."""

    api: Flux
    secret: CatalogueSecret
    numbers: dict[frozenset[tuple[str, bytes]], int] = field(default_factory=dict)
    newest: int = 0
    looks: int = 0
    wrong: list[str] = field(default_factory=list)
    end: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        while not self.end.wait(0.2):
            found = self.api.secret(NAMESPACE, NAME)
            number = None if found is None else self.numbers.get(frozenset(found.items()))
            if number is None:
                self.wrong.append("missing" if found is None else "not one whole version")
            elif number < self.newest:
                self.wrong.append("an older version than before")
            else:
                self.newest = number
            self.looks += 1

    def change(self, vault: Servers, number: int) -> None:
        """Write the next version; it may arrive before Vault has confirmed it."""
        values = {key: odd_value(number * len(KEYS) + place) + f"-{number}".encode() for place, key in enumerate(KEYS)}
        values = {key: value if is_text(value) else f"text-{number}".encode() for key, value in values.items()}
        self.numbers[frozenset(values.items())] = number
        texts, _ = encode_values(values, ())
        vault.write(self.secret.vault.path, dict(texts), after=number)

    def change_until(self, end: threading.Event, vault: Servers) -> None:
        """Write one version after another, each as soon as the one before is confirmed."""
        while True:
            self.change(vault, len(self.numbers))
            if end.wait(CHANGE_SECONDS):
                return

    def has_the_newest(self) -> bool:
        return self.newest == len(self.numbers) - 1


@contextmanager
def watched(vault: Servers, folder: Path) -> Iterator[Watched]:
    with external_secrets(folder, vault.all[0], vault.token) as api:
        secret = entry(NAME, list(KEYS), [])
        found = Watched(api, secret)
        found.change(vault, 0)
        (consumer,) = secret.consumers
        made(api, NAME, external_secret_spec(secret, consumer, "1s"))
        thread = threading.Thread(target=found.watch, daemon=True)
        thread.start()
        try:
            yield found
        finally:
            found.end.set()
            thread.join()


def handed_over(vault: Servers, database: PostgresServer) -> RotationSite:
    """The login of the database in the mount that the other values are in; their writer knows no versions."""
    root = ReadyServers(vault.all, vault.site.root_token())
    values, vault.values = vault.values, {}
    site = RotationSite(root, database, USERS)
    root.write("platform-data/config", {"cas_required": False})
    for path, value in values.items():
        vault.write(path, value)
    return site


def test_no_value_is_lost_and_no_login_denied(tmp_path: Path) -> None:
    print(f"RANDOM_FAULTS_SEED={SEED}", flush=True)
    chance, done = random.Random(SEED), dict.fromkeys((fault.__name__ for fault in FAULTS), 0)  # noqa: S311
    (tmp_path / "vault").mkdir()
    (tmp_path / "api").mkdir()
    newest = max(installations())
    with (
        servers(tmp_path / "vault", count=3) as vaults,
        postgres_server(installations()[newest]) as database,
    ):
        vault = serving(Site(vaults))
        vault.three_voters()
        site = handed_over(vault, database)
        with (
            watched(vault, tmp_path / "api") as workload,
            Cluster(site.root, pod_lag=POD_SECONDS) as cluster,
            Watcher(database, cluster) as watcher,
            Authorities(site.root.with_token(site.root.token or "")) as authorities,
            engines(site, cluster) as working,
            Kubelet(vault.all) as kubelet,
        ):
            scene = Scene(chance, vault, database, site, working)
            end = time.monotonic() + DURATION
            while time.monotonic() < end:
                fault, server = chance.choice(FAULTS), chance.choice(vault.all)
                shown = f"seed {SEED}, fault {sum(done.values()) + 1}: {fault.__name__} of {server.name}"
                print(f"{shown}, rotation {scene.generation + 1}", flush=True)
                ended = threading.Event()
                writer = threading.Thread(target=workload.change_until, args=(ended, vault), daemon=True)
                writer.start()
                scene.rotate()
                time.sleep(chance.uniform(0, 2))  # the fault comes at any moment of the rotation
                with kubelet.faults:
                    fault(scene, server)
                vault.unseal(vault.all)
                ended.set()
                writer.join()
                vault.three_voters()
                scene.has_rotated()
                assert not vault.differences(), shown
                assert not differences(site, watcher, scene.generation), shown
                wait_for(workload.has_the_newest, f"{shown}: the newest value is delivered", SECONDS)
                assert not workload.wrong and not authorities.wrong and not working.failed, shown
                done[fault.__name__] += 1
    print(
        f"seed {SEED}: {done}, {scene.generation} rotations, {watcher.logins} logins, {len(watcher.denied)} denied, "
        f"{workload.looks} looks at the Secret, {authorities.looks} at the authority, restarted: {kubelet.restarts}",
        flush=True,
    )
    assert sum(done.values()) and workload.looks and watcher.logins and authorities.looks
