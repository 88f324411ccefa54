"""A verification as the pod does it: a server beside it, the newest bundle of a real S3 server, and the report."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pyrage import x25519

from secret_authority.clients.object_store import ObjectStore
from secret_authority.clients.snapshot_bundle import Bundle, write_bundle
from secret_authority.core.snapshots.manifest import seal_digest
from secret_authority.core.snapshots.naming import COMPLETE, MANIFEST, SNAPSHOT, SUMS, BundleName
from secret_authority.core.snapshots.verification import Report
from secret_authority.engine.snapshots.in_cluster import VerificationError, prepare, verify_prepared
from secret_authority.engine.snapshots.take import take
from secret_authority.engine.snapshots.throwaway import MEMORY
from tests.support.object_store_process import ObjectServer, object_server, weed_program
from tests.support.snapshot_site import PATH_CANARY, SnapshotSite, snapshot_site
from tests.support.vault_process import free_ports, vault_program

PROGRAM = vault_program()
pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(PROGRAM is None or weed_program() is None, reason="no programs: run `make tools`"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SnapshotSite]:
    with snapshot_site(tmp_path_factory.mktemp("vault"), 3) as made:
        yield made


@pytest.fixture(scope="module")
def bundle(site: SnapshotSite) -> Bundle:
    return take(site.snapshot_identity(), "dev", site.sealed, site.audit)


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    with object_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@dataclasses.dataclass
class Pod:
    """Its mounts: the cluster's identity, the digest of its sealed shares, and memory that it shares with a server."""

    store: ObjectStore
    folder: Path
    identity: Path
    seal: Path

    def run(self, cluster: str) -> Report:
        """What the pod's containers do, one after another."""
        assert PROGRAM is not None
        try:
            ports = free_ports(2)
            prepare(lambda: self.store, cluster, self.identity, self.folder, (ports[0], ports[1]))
            command = [PROGRAM, "server", f"-config={self.folder}/config.json"]
            silent = subprocess.DEVNULL
            with subprocess.Popen(command, cwd=self.folder, stdout=silent, stderr=silent) as server:
                try:
                    return verify_prepared(lambda: self.store, cluster, self.identity, self.seal, self.folder, ports[0])
                finally:
                    server.kill()
        except VerificationError as error:
            return error.report


@contextlib.contextmanager
def pod(store: ObjectStore, identity: x25519.Identity, seal: str) -> Iterator[Pod]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as shared, tempfile.TemporaryDirectory() as mounts:
        places = Path(mounts) / "age.agekey", Path(mounts) / "seal"
        places[0].write_text(f"# created: today\n{identity}\n")
        places[1].write_text(seal)
        yield Pod(store, Path(shared), *places)


def write(store: ObjectStore, bundle: Bundle, cluster: str, recipients: tuple[str, ...], later: int = 0) -> BundleName:
    """The bundle as one of `cluster`, taken so many hours later."""
    taken_at = bundle.manifest.taken_at + timedelta(hours=later)
    manifest = dataclasses.replace(bundle.manifest, cluster=cluster, taken_at=taken_at)
    return write_bundle(store, dataclasses.replace(bundle, manifest=manifest), recipients)


def test_the_newest_is_restored_and_reported(site: SnapshotSite, bundle: Bundle, s3: ObjectServer) -> None:
    writer, reader = s3.store("writer"), s3.store("reader")
    write(writer, bundle, "good", site.recipients)
    newest = write(writer, bundle, "good", site.recipients, later=1)
    # One that was interrupted is nothing.
    writer.put_new(dataclasses.replace(newest, taken_at=newest.taken_at + timedelta(hours=1)).part(SNAPSHOT), b"x")
    with pod(reader, site.cluster, bundle.manifest.seal.digest) as made:
        found = made.run("good")
    assert (found.snapshot, found.problem, found.paths) == (newest.folder, "", len(bundle.manifest.secrets))
    assert found.seconds > 0
    assert Report.from_json(found.to_json(), "good").snapshot == newest.folder


def damaged(s3: ObjectServer, name: BundleName, part: str, cut: bool) -> None:
    """The part is replaced in the store by one that is damaged, or half as long."""
    whole = s3.store("reader").get(name.part(part))
    s3.store("deleter").delete(name.part(part))
    half = len(whole) // 2
    s3.store("writer").put_new(name.part(part), whole[:half] if cut else whole[:half] + b"\0" + whole[half + 1 :])


@pytest.mark.parametrize(
    ("part", "cut", "words"),
    [
        (SNAPSHOT, False, "snapshot.age of .* is damaged"),
        (SNAPSHOT, True, "snapshot.age of .* is damaged"),
        (MANIFEST, False, "manifest.json.age of .* is damaged"),
        (SUMS, True, "manifest.sha256 of .* is damaged"),
        (COMPLETE, True, "complete has another sum"),
    ],
)
def test_a_damaged_bundle_is_reported_with_its_name(
    site: SnapshotSite, bundle: Bundle, s3: ObjectServer, part: str, cut: bool, words: str
) -> None:
    cluster = f"damaged-{part.replace('.', '-')}-{int(cut)}"
    name = write(s3.store("writer"), bundle, cluster, site.recipients)
    damaged(s3, name, part, cut)
    with pod(s3.store("reader"), site.cluster, bundle.manifest.seal.digest) as made:
        found = made.run(cluster)
    assert found.snapshot == name.folder and re.search(words, found.problem), found.problem


def test_a_bundle_of_another_vault_is_reported(site: SnapshotSite, bundle: Bundle, s3: ObjectServer) -> None:
    """Encrypted to the right recipients, which are public: the shares tell it."""
    shares = site.sealed
    seal = dataclasses.replace(bundle.manifest.seal, digest=seal_digest(shares.ciphertexts, shares.threshold))
    foreign = dataclasses.replace(
        bundle, shares=shares.ciphertexts, manifest=dataclasses.replace(bundle.manifest, seal=seal)
    )
    name = write(s3.store("writer"), foreign, "foreign", site.recipients)
    with pod(s3.store("reader"), site.cluster, bundle.manifest.seal.digest) as made:
        found = made.run("foreign")
    assert found.snapshot == name.folder and "other unseal shares than the cluster has" in found.problem


def test_a_difference_is_reported_without_the_name_of_a_secret(
    site: SnapshotSite, bundle: Bundle, s3: ObjectServer
) -> None:
    first, *rest = bundle.manifest.secrets
    secrets = (dataclasses.replace(first, metadata="sha256:0"), *rest)
    other = dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, secrets=secrets))
    write(s3.store("writer"), other, "differs", site.recipients)
    with pod(s3.store("reader"), site.cluster, bundle.manifest.seal.digest) as made:
        found = made.run("differs")
    assert "is not what the manifest says: 1 differences" in found.problem
    assert PATH_CANARY not in found.to_json() and first.location not in found.to_json()


def test_what_is_missing_is_said(site: SnapshotSite, bundle: Bundle, s3: ObjectServer) -> None:
    reader = s3.store("reader")
    with pod(reader, site.cluster, "") as made:
        assert made.run("empty") == Report("", "no complete snapshot is in the store")
    name = write(s3.store("writer"), bundle, "missing", site.recipients)
    with pod(reader, x25519.Identity.generate(), "") as made:
        found = made.run("missing")
        assert found.snapshot == name.folder and "does not open with the given identity" in found.problem
        made.identity.unlink()
        assert "the cluster's age identity is not mounted" in made.run("missing").problem
    with pod(s3.store("writer"), site.cluster, "") as made:
        assert "not finished, so nothing is known" in made.run("missing").problem
    with pod(reader, site.cluster, "") as made:
        made.seal.unlink()
        assert "has not published which unseal shares" in made.run("missing").problem
