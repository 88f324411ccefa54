"""A long run of random faults of three real Vault servers, while values change and workloads have their Secrets.

RANDOM_FAULTS_SECONDS says for how long (default: an hour), RANDOM_FAULTS_SEED repeats a run; the seed is printed. An
outside watcher sees each Secret five times a second: it is always there, whole, of one version, and never of an older
one than before. After each fault every value that Vault has confirmed is compared byte for byte on every server.
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
from tests.support.odd_values import is_text, odd_value
from tests.support.seal_site import Site
from tests.support.storage_losses import SECONDS, Servers, damaged, lose_volume, serving
from tests.support.vault_process import Server, servers, wait_for

pytestmark = [
    pytest.mark.engine,
    pytest.mark.nightly,
    pytest.mark.skipif(not delivery_programs(), reason="no programs of the node: run `make tools`"),
]
DURATION = float(os.environ.get("RANDOM_FAULTS_SECONDS", "3600"))
SEED = int(os.environ.get("RANDOM_FAULTS_SEED") or secrets.randbits(32))
NAME, KEYS = "changing", ("one", "two", "three")
Fault = Callable[[Servers, Server], None]


def killed(_: Servers, server: Server) -> None:
    server.kill()
    server.start()


def volume_lost(_: Servers, server: Server) -> None:
    lose_volume(server)
    server.start()


def file_damaged(vault: Servers, server: Server) -> None:
    damaged(server, "vault.db")
    server.start()
    process = server.process
    assert process is not None
    wait_for(lambda: process.poll() is not None, "it does not serve what is damaged", SECONDS)
    volume_lost(vault, server)


def paused(_: Servers, server: Server) -> None:
    """Longer than Raft waits for a leader: another one is elected, and this one comes back with its old word."""
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    time.sleep(20)  # what is tried is the pause itself
    server.process.send_signal(signal.SIGCONT)


def two_killed(vault: Servers, server: Server) -> None:
    others = [one for one in vault.all if one is not server]
    for one in others:
        one.kill()
    for one in others:
        one.start()


def all_killed(vault: Servers, _: Server) -> None:
    for one in vault.all:
        one.kill()
    for one in vault.all:
        one.start()


FAULTS: tuple[Fault, ...] = (killed, volume_lost, file_damaged, paused, two_killed, all_killed)


@dataclass
class Watched:
    """The Secret of a workload, whose value changes. `versions`: each value that was ever written, in order."""

    api: Flux
    secret: CatalogueSecret
    versions: list[dict[str, bytes]] = field(default_factory=list)
    newest: int = 0
    looks: int = 0
    wrong: list[str] = field(default_factory=list)
    end: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        while not self.end.wait(0.2):
            known = list(self.versions)
            found = self.api.secret(NAMESPACE, NAME)
            if found not in known:
                self.wrong.append("missing" if found is None else "not one whole version")
            elif known.index(found) < self.newest:
                self.wrong.append("an older version than before")
            else:
                self.newest = known.index(found)
            self.looks += 1

    def change(self, vault: Servers, number: int) -> None:
        """Write the next version; it may arrive before Vault has confirmed it."""
        values = {key: odd_value(number * len(KEYS) + place) + f"-{number}".encode() for place, key in enumerate(KEYS)}
        values = {key: value if is_text(value) else f"text-{number}".encode() for key, value in values.items()}
        self.versions.append(values)
        texts, _ = encode_values(values, ())
        vault.write(self.secret.vault.path, dict(texts))

    def has_the_newest(self) -> bool:
        return self.newest == len(self.versions) - 1


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


def test_no_confirmed_value_is_ever_lost(tmp_path: Path) -> None:
    print(f"RANDOM_FAULTS_SEED={SEED}", flush=True)
    chance, done = random.Random(SEED), dict.fromkeys((fault.__name__ for fault in FAULTS), 0)  # noqa: S311
    (tmp_path / "vault").mkdir()
    (tmp_path / "api").mkdir()
    with servers(tmp_path / "vault", count=3) as vaults:
        vault = serving(Site(vaults))
        vault.three_voters()
        with watched(vault, tmp_path / "api") as workload:
            end = time.monotonic() + DURATION
            while time.monotonic() < end:
                fault, server = chance.choice(FAULTS), chance.choice(vault.all)
                told = f"seed {SEED}, fault {sum(done.values()) + 1}: {fault.__name__} of {server.name}"
                print(told, flush=True)
                writer = threading.Thread(target=workload.change, args=(vault, len(workload.versions)), daemon=True)
                writer.start()
                fault(vault, server)
                vault.unseal(vault.all)
                writer.join()
                vault.three_voters()
                assert not vault.differences(), told
                wait_for(workload.has_the_newest, f"{told}: the newest value is delivered", SECONDS)
                assert not workload.wrong, told
                done[fault.__name__] += 1
    print(f"seed {SEED}: {done}, {workload.looks} looks", flush=True)
    assert sum(done.values()) and workload.looks
