"""Rotation: a sweep over many policies against the bare reads, and one rotation against its unavoidable parts.

    python -m benchmarks.bench_rotation [--secrets 10000] [--rotations 10]

It starts a Vault of its own, and a PostgreSQL where one is installed. The sweep is the engine's full look at every
secret, which happens every five minutes; beside it the same documents and metadata are read with nothing else done. A
rotation is taken from its request to the revoked login, with one consumer that has each version at once; beside it the
same writes of Vault, logins and statements are made one after another. Ratios carry over to other machines, seconds do
not.
"""

from __future__ import annotations

import argparse
import gc
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

from secret_authority.clients.vault import Vault
from secret_authority.contract.rotation_settings import RotationSettings
from secret_authority.contract.vault_policies import rotation_looks_policy, rotation_policy
from secret_authority.engine.common.status import Status
from secret_authority.engine.rotation.controller import FULL_LOOK_SECONDS, QUIET_SECONDS, RotationController
from secret_authority.engine.rotation.rotators.postgresql import scram_verifier
from tests.support.postgres_process import PostgresServer, installations, postgres_server
from tests.support.rotation_herd import hand_over, herd_catalogue, name_of
from tests.support.rotation_site import DATA, DOCS, Cluster, Site, done, login, unsealed_vault, work
from tests.support.vault_process import wait_for

SWEEPS, ROUNDS = 5, 20
MOUNTS = ("platform-data", "platform-authority", "platform-rotation")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--secrets", type=int, default=10_000)
    parser.add_argument("--rotations", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, unsealed_vault(Path(folder)) as (vault, _):
        sweep(vault, options.secrets)
    if installations():
        # In a Vault of its own: to unmount ten thousand secrets takes longer than a request may.
        with (
            tempfile.TemporaryDirectory() as folder,
            unsealed_vault(Path(folder)) as (vault, _),
            postgres_server(installations()[max(installations())]) as server,
        ):
            rotate(vault, server, options.rotations)
    return 0


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def memory() -> float:
    """What this process uses now, in MiB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


class Nobody:
    """An API server with nothing on it."""

    def get(self, path: str) -> None:
        return None

    def create(self, path: str, body: Any) -> Any:
        return body

    def merge(self, path: str, body: Any) -> Any:
        return body


class ManyWriters:
    """Fills Vault over several connections: eight requests at a time."""

    def __init__(self, vault: Vault) -> None:
        self._vault, self._pool = vault, ThreadPoolExecutor(8)
        self._data: list[Any] = []
        self._metadata: list[Any] = []

    def write(self, path: str, body: Any) -> None:
        self._data.append((path, body))

    def patch(self, path: str, body: Any) -> None:
        self._metadata.append((path, body))

    def flush(self) -> None:
        list(self._pool.map(lambda one: self._vault.write(*one), self._data))
        list(self._pool.map(lambda one: self._vault.patch(*one), self._metadata))


def as_role(vault: Vault, name: str, policy: str) -> Vault:
    vault.write(f"sys/policies/acl/{name}", {"policy": policy})
    made = vault.write("auth/token/create", {"policies": [name], "no_default_policy": True})
    return vault.with_token(made["auth"]["client_token"])


def sweep(vault: Vault, count: int) -> None:
    for mount in MOUNTS:
        vault.write(f"sys/mounts/{mount}", {"type": "kv", "options": {"version": "2"}})
    wait_for(lambda: _mounted(vault), "the mounts are ready")
    catalogue, writers = herd_catalogue(count, "8760h"), ManyWriters(vault)
    hand_over(writers, catalogue, timedelta(hours=1))
    print(f"filling Vault with {count} secrets: {timed(writers.flush):.1f} s")
    looks = as_role(vault, "looks", rotation_looks_policy(catalogue))
    engine = RotationController(
        RotationSettings("dev", catalogue),
        Nobody(),  # type: ignore[arg-type]
        vault,
        "ns",
        "run",
        Status(),
        looks=looks,
    )

    def bare(reader: Vault = looks, count: int = count) -> None:
        for number in range(count):
            reader.read(f"platform-rotation/data/docs/herd/{name_of(number)}")
            reader.read(f"platform-data/metadata/herd/{name_of(number)}")

    # Why there is a role for looks: Vault builds the rules of a token for each request.
    few, some = min(count, 100), min(count, 1000)
    writes = as_role(vault, "writes", rotation_policy(herd_catalogue(some, "8760h")))
    slow, quick = timed(lambda: bare(writes, few)), timed(lambda: bare(looks, few))
    print(f"reads as the role that writes {some} secrets: {slow / quick:.1f} times those as the role for looks")

    first = timed(engine.reconcile)
    bases = [timed(bare)]
    sweeps, used = [], []
    for _ in range(SWEEPS):
        engine.look_again()
        spent = time.process_time()
        sweeps.append(timed(engine.reconcile))
        cores = (time.process_time() - spent) / FULL_LOOK_SECONDS
        bases.append(timed(bare))
        used.append(memory())
    spent = time.process_time()
    resting = statistics.median(timed(engine.reconcile) for _ in range(ROUNDS))
    cores += (time.process_time() - spent) / ROUNDS / QUIET_SECONDS
    base, full = statistics.median(bases), statistics.median(sweeps)
    print(f"first sweep {first:.2f} s, later {full:.2f} s, bare reads {base:.2f} s: {full / base:.2f} times")
    print(f"memory after each of {SWEEPS} sweeps: {', '.join(f'{one:.1f}' for one in used)} MiB")
    print(f"a round at rest: {resting:.3f} s; at rest, with a sweep every five minutes, {cores:.3f} cores", flush=True)


def _mounted(vault: Vault) -> bool:
    try:
        for mount in MOUNTS:
            vault.read(f"{mount}/config")
    except Exception:
        return False
    return True


def rotate(vault: Vault, server: PostgresServer, count: int) -> None:
    whole: list[float] = []
    parts: list[float] = []
    for _ in range(count):
        site = Site(vault, server, ["orders_a", "orders_b"])
        with Cluster(vault, lag=0.0) as cluster:
            engine = site.engine(cluster)
            engine.reconcile()
            begun = time.perf_counter()
            site.ask("r1")
            work(engine, lambda site=site: done(site), "the rotation")  # type: ignore[misc]
            whole.append(time.perf_counter() - begun)
        parts.append(timed(lambda site=site: unavoidable(site)))  # type: ignore[misc]
    one, other = statistics.median(whole), statistics.median(parts)
    print(f"request to revoked: {one:.3f} s, its parts one after another {other:.3f} s: {one / other:.2f} times")


def unavoidable(site: Site) -> None:
    """What no order of steps can spare: the durable value, the change of the target, the version, the end."""
    vault, value = site.root, site.value()
    version = int((vault.read(DATA) or {})["data"]["metadata"]["version"])
    document = int((vault.read(DOCS) or {})["data"]["metadata"]["version"])
    with_password = {**value, "password": "a-value-of-this-benchmark"}
    vault.write("platform-rotation/data/rotation-requests/orders-db/bench", {"options": {"cas": 0}, "data": {"a": "b"}})
    for number in range(4):  # prepared, published, delivered, done
        vault.write("platform-rotation/data/docs/postgres/orders", _body(document + number, {"a": "b"}))
    admin = site.server.superuser()
    admin.run(f"ALTER ROLE {value['username']} PASSWORD '{scram_verifier(with_password['password'])}'")
    login(site.server, with_password).close()
    vault.write(DATA, _body(version, with_password))
    vault.patch("platform-data/metadata/postgres/orders", {"custom_metadata": {"rotated_at": "now"}})
    admin.run(f"ALTER ROLE {value['username']} PASSWORD NULL")
    vault.write("platform-authority/data/events/orders-db/bench", {"options": {"cas": 0}, "data": {"a": "b"}})
    admin.close()


def _body(cas: int, data: dict[str, str]) -> dict[str, Any]:
    return {"options": {"cas": cas}, "data": data}


if __name__ == "__main__":
    sys.exit(main())
