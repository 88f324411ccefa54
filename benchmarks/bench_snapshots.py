"""How long a snapshot takes, how large it is, and how long its verification takes, by number of secrets.

    .venv/bin/python -m benchmarks.bench_snapshots 15 1000 10000

A real Vault with one version of each secret, on the loopback device; the bundle is written to a folder.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

from secret_authority.clients.object_store.folder import MARKER, FolderStore
from secret_authority.clients.snapshot_bundle import read_bundle, write_bundle
from secret_authority.core.catalogue.schema import DATA_MOUNT
from secret_authority.engine.snapshots.take import take
from secret_authority.engine.snapshots.verify import verify
from tests.support.snapshot_site import SnapshotSite, snapshot_site
from tests.support.vault_process import vault_program

WRITERS = 8
_HEAD = ("secrets", "snapshot kB", "bundle kB", "Vault's part s", "take s", "write s", "verify s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("secrets", nargs="*", type=int, default=[15, 1000, 10000], help="numbers of secrets")
    numbers = parser.parse_args().secrets
    print(" ".join(f"{name:>15}" for name in _HEAD))
    for number in numbers:
        with tempfile.TemporaryDirectory() as folder:
            print(" ".join(f"{value:>15}" for value in measure(Path(folder), number)), flush=True)


def measure(folder: Path, number: int) -> list[str]:
    program = vault_program()
    if program is None:
        raise SystemExit("no vault program: run `make tools`")
    (folder / "store").mkdir()
    (folder / "store" / MARKER).touch()
    store = FolderStore(folder / "store")
    with snapshot_site(folder / "vault", 0) as site:
        fill(site, number)
        vault = site.snapshot_identity()
        times = [time.monotonic()]
        vault.content("sys/storage/raft/snapshot", 300)
        times.append(time.monotonic())
        bundle = take(vault, "dev", site.sealed, site.audit)
        times.append(time.monotonic())
        name = write_bundle(store, bundle, site.recipients)
        times.append(time.monotonic())
        known = site.sealed
        done = verify(read_bundle(store, name, [str(site.root)]), "dev", known, str(site.root), program)
        sizes = len(bundle.snapshot), sum(one.size for one in store.list("dev/"))
    spent = [after - before for before, after in pairwise(times)]
    return [str(number), *(f"{size / 1000:.0f}" for size in sizes), *(f"{s:.2f}" for s in spent), f"{done.seconds:.1f}"]


def fill(site: SnapshotSite, number: int) -> None:
    with site.as_root() as root, ThreadPoolExecutor(WRITERS) as pool:

        def write(one: int) -> None:
            data = {"username": f"user-{one}", "password": f"{one:032x}"}
            root.write(f"{DATA_MOUNT}/data/team-{one % 50}/secret-{one}", {"options": {"cas": 0}, "data": data})

        list(pool.map(write, range(number)))


if __name__ == "__main__":
    main()
