"""Snapshots of a real Vault in a real S3 server: taken, verified by a restore, and every bad one refused."""

from __future__ import annotations

import dataclasses
import io
import socket
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pyrage import x25519

from secret_authority.clients.object_store import ObjectExistsError, ObjectMissingError, ObjectStore, StoreRefusedError
from secret_authority.clients.object_store.folder import MARKER, FolderStore
from secret_authority.clients.raft_snapshot import SnapshotError, check_snapshot
from secret_authority.clients.snapshot_bundle import Bundle, BundleError, read_bundle, write_bundle
from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.contract.names import ENGINE_NAMESPACE, TRUST_RECORD, UNSEAL_SHARES, VAULT_NAMESPACE
from secret_authority.contract.snapshot_settings import SnapshotEngineSettings
from secret_authority.core.catalogue.schema import DATA_MOUNT
from secret_authority.core.errors import Unavailable
from secret_authority.core.recipients import TrustRecord
from secret_authority.core.snapshots import due
from secret_authority.core.snapshots.manifest import seal_digest
from secret_authority.core.snapshots.naming import PARTS, BundleName, complete_bundles
from secret_authority.engine.common.status import Status
from secret_authority.engine.runtime_authority.seal_store import shares_secret
from secret_authority.engine.snapshots.controller import SnapshotController
from secret_authority.engine.snapshots.take import NotTakenError, take
from secret_authority.engine.snapshots.verify import NotVerifiedError, verify
from tests.fakes.kubernetes import FakeApi
from tests.support.object_store_process import ObjectServer, object_server, weed_program
from tests.support.snapshot_site import CANARY, PATH_CANARY, SnapshotSite, snapshot_site
from tests.support.vault_process import ROOT, vault_program, wait_for

PROGRAM = vault_program()
pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(PROGRAM is None, reason="no vault program: run `make tools`"),
]
SECRETS = 15


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SnapshotSite]:
    with snapshot_site(tmp_path_factory.mktemp("vault"), SECRETS) as made:
        yield made


@pytest.fixture(scope="module")
def bundle(site: SnapshotSite) -> Bundle:
    return take(site.snapshot_identity(), "dev", site.sealed, site.audit)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    (tmp_path / MARKER).touch()
    return FolderStore(tmp_path)


def check(bundle: Bundle, site: SnapshotSite, cluster: str = "dev") -> None:
    assert PROGRAM is not None
    verify(bundle, cluster, site.sealed, str(site.root), PROGRAM)


def test_what_is_taken_is_verified_by_a_restore(site: SnapshotSite, bundle: Bundle, store: FolderStore) -> None:
    name = write_bundle(store, bundle, site.recipients)
    assert complete_bundles("dev", [one.key for one in store.list("dev/")]) == [name]
    audited = site.server.audit_file.stat().st_size
    for identity in (site.root, site.cluster):
        assert read_bundle(store, name, [str(identity)]) == bundle
    check(bundle, site)
    saved = {secret.location for secret in bundle.manifest.secrets}
    assert sum(location.startswith(f"{DATA_MOUNT}/{PATH_CANARY}") for location in saved) == SECRETS
    assert site.server.audit_file.stat().st_size == audited, "the throwaway server wrote to the audit log of this one"


def test_the_identity_can_do_nothing_else(site: SnapshotSite) -> None:
    vault = site.snapshot_identity()
    place = f"{PATH_CANARY}-0/secret-0"
    refused: list[Callable[[], object]] = [
        lambda: vault.read(f"{DATA_MOUNT}/data/{place}"),
        lambda: vault.write(f"{DATA_MOUNT}/data/{place}", {"data": {}}),
        lambda: vault.patch(f"{DATA_MOUNT}/metadata/{place}", {"custom_metadata": {"a": "b"}}),
        lambda: vault.delete(f"{DATA_MOUNT}/metadata/{place}"),
        lambda: vault.upload("sys/storage/raft/snapshot", b"x"),
        lambda: vault.upload("sys/storage/raft/snapshot-force", b"x"),
        lambda: vault.write("auth/token/create", {}),
        lambda: vault.write("auth/token/revoke-accessor", {"accessor": "x"}),
        lambda: vault.read("sys/audit"),
        lambda: vault.read("sys/policies/acl/root"),
    ]
    for ask in refused:
        with pytest.raises(VaultRefusedError, match="403"):
            ask()


def test_nothing_is_taken_while_a_root_token_exists(site: SnapshotSite) -> None:
    vault = site.snapshot_identity()
    with site.as_root(), pytest.raises(NotTakenError, match="a root token exists"):
        take(vault, "dev", site.sealed, site.audit)
    take(vault, "dev", site.sealed, site.audit)


def test_shares_of_another_seal_are_not_saved_with_it(site: SnapshotSite) -> None:
    other = dataclasses.replace(site.sealed, threshold=3)
    with pytest.raises(NotTakenError, match="would not open this snapshot"):
        take(site.snapshot_identity(), "dev", other, site.audit)


def test_what_is_written_meanwhile_is_in_the_manifest(site: SnapshotSite) -> None:
    class Busy(Vault):
        """Somebody writes a secret while the snapshot is taken; the first time, or each time."""

        times = 1

        def content(self, path: str, seconds: float = 15) -> bytes:
            found = super().content(path, seconds)
            if self.times:
                self.times -= 1
                site.write("busy/one", str(self.times))
            return found

    vault = Busy(site.server.address, site.server.ca_file)
    vault.token = site.snapshot_identity().token
    taken = take(vault, "dev", site.sealed, site.audit)
    assert f"{DATA_MOUNT}/busy/one" in {secret.location for secret in taken.manifest.secrets}
    check(taken, site)
    # What was seen before somebody wrote is not believed.
    vault.times = 0
    seen = taken.manifest.secrets
    site.write("busy/two", "x")
    again = take(vault, "dev", site.sealed, site.audit, known=seen)
    assert again.manifest.secrets != seen and f"{DATA_MOUNT}/busy/two" in str(again.manifest.secrets)
    vault.times = 99
    with pytest.raises(Unavailable, match="were written during each"):
        take(vault, "dev", site.sealed, site.audit)


def with_snapshot(bundle: Bundle, content: bytes) -> Bundle:
    return dataclasses.replace(bundle, snapshot=content)


def without_sealed_sums(content: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(content)) as old, tarfile.open(fileobj=made, mode="w:gz") as new:
        for member in old:
            if member.name != "SHA256SUMS.sealed":
                new.addfile(member, old.extractfile(member))
    return made.getvalue()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda content: content[:-1], "truncated"),
        (lambda content: content[: len(content) // 2], "truncated"),
        (lambda _: b"", "truncated"),
        (
            lambda content: content[: len(content) // 2] + b"\0" + content[len(content) // 2 + 1 :],
            "truncated|do not fit",
        ),
        (without_sealed_sums, "lacks SHA256SUMS.sealed"),
    ],
    ids=["a byte less", "half of it", "nothing", "a byte changed", "taken through a standby"],
)
def test_a_damaged_snapshot_is_neither_written_nor_restored(
    site: SnapshotSite, bundle: Bundle, store: FolderStore, damage: Callable[[bytes], bytes], words: str
) -> None:
    bad = with_snapshot(bundle, damage(bundle.snapshot))
    with pytest.raises(SnapshotError, match=words):
        check_snapshot(bad.snapshot)
    with pytest.raises(BundleError, match=words):
        write_bundle(store, bad, site.recipients)
    assert store.list("dev/") == []


@pytest.mark.parametrize("part", PARTS)
def test_a_damaged_or_missing_part_is_refused(
    site: SnapshotSite, bundle: Bundle, store: FolderStore, tmp_path: Path, part: str
) -> None:
    name = write_bundle(store, bundle, site.recipients)
    file = tmp_path / name.part(part)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(BundleError):
        read_bundle(store, name, [str(site.root)])
    file.unlink()
    with pytest.raises(BundleError, match="is missing"):
        read_bundle(store, name, [str(site.root)])


def test_parts_of_two_bundles_are_not_mixed(site: SnapshotSite, bundle: Bundle, store: FolderStore) -> None:
    site.write("mixed/one", "x")
    other = take(site.snapshot_identity(), "dev", site.sealed, site.audit)
    with pytest.raises(BundleError, match="not the one that the manifest describes"):
        with_snapshot(bundle, other.snapshot).check()
    shares = dataclasses.replace(bundle, shares=site.sealed.ciphertexts)
    with pytest.raises(BundleError, match="not those that the manifest describes"):
        shares.check()


def test_a_stranger_opens_nothing(site: SnapshotSite, bundle: Bundle, store: FolderStore) -> None:
    name = write_bundle(store, bundle, site.recipients)
    with pytest.raises(BundleError, match="does not open"):
        read_bundle(store, name, [str(x25519.Identity.generate())])


def test_a_snapshot_of_another_vault_is_refused(site: SnapshotSite, bundle: Bundle, tmp_path: Path) -> None:
    """Also one that says it is of this cluster and is encrypted to its recipients: all of that is public."""
    with snapshot_site(tmp_path / "stranger", 1) as stranger:
        stranger.cluster, stranger.root = site.cluster, site.root
        foreign = take(stranger.snapshot_identity(), "dev", stranger.sealed, stranger.audit)
        with pytest.raises(NotVerifiedError, match="other unseal shares"):
            check(foreign, site)
        # With this Vault's shares beside the foreign snapshot, it does not open.
        manifest = dataclasses.replace(foreign.manifest, seal=bundle.manifest.seal)
        disguised = Bundle(manifest, foreign.snapshot, bundle.shares, bundle.threshold)
        disguised.check()
        with pytest.raises(NotVerifiedError):
            check(disguised, site)
    with pytest.raises(NotVerifiedError, match="of cluster dev, not of prod"):
        check(bundle, site, "prod")


def test_a_manifest_that_does_not_fit_is_found(site: SnapshotSite, bundle: Bundle) -> None:
    first, *rest = bundle.manifest.secrets
    changed = dataclasses.replace(first, metadata="sha256:0")
    manifest = dataclasses.replace(bundle.manifest, secrets=(changed, *rest))
    with pytest.raises(NotVerifiedError, match=f"{first.location} has version"):
        check(dataclasses.replace(bundle, manifest=manifest), site)


@pytest.mark.parametrize(("shares", "threshold"), [(3, 2), (5, 3)])
def test_a_snapshot_from_before_a_rekey_is_refused(tmp_path: Path, shares: int, threshold: int) -> None:
    with snapshot_site(tmp_path / "vault", 1) as site:
        before = take(site.snapshot_identity(), "dev", site.sealed, site.audit)
        site.rekey(shares, threshold)
        with pytest.raises(NotVerifiedError, match="other unseal shares"):
            check(before, site)
        # The new shares beside the old snapshot: what a careless copy of the Secret would make.
        sealed = site.sealed
        digest = seal_digest(sealed.ciphertexts, sealed.threshold)
        seal = dataclasses.replace(before.manifest.seal, shares=shares, threshold=threshold, digest=digest)
        manifest = dataclasses.replace(before.manifest, seal=seal)
        with pytest.raises(NotVerifiedError):
            check(Bundle(manifest, before.snapshot, sealed.ciphertexts, sealed.threshold), site)


@pytest.mark.nightly
def test_the_first_snapshot_after_a_rekey_is_verified(tmp_path: Path) -> None:
    with snapshot_site(tmp_path / "vault", 1) as site:
        site.rekey(5, 3)
        check(take(site.snapshot_identity(), "dev", site.sealed, site.audit), site)


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    if weed_program() is None:
        pytest.skip("no S3 server")
    with object_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


def parts_of(store: ObjectStore, name: BundleName) -> list[str]:
    return sorted(one.key.rpartition("/")[2] for one in store.list(f"{name.folder}/"))


def test_a_bundle_in_s3_is_whole_and_shows_nothing(site: SnapshotSite, bundle: Bundle, s3: ObjectServer) -> None:
    writer, reader = s3.store("writer"), s3.store("reader")
    name = write_bundle(writer, bundle, site.recipients)
    assert parts_of(reader, name) == sorted(PARTS)
    assert read_bundle(reader, name, [str(site.root)]) == bundle
    check(read_bundle(reader, name, [str(site.cluster)]), site)
    disk = s3.contents()
    assert name.folder.rpartition("/")[2].encode() in disk, "this looks at what the server has"
    for canary in (CANARY, PATH_CANARY, *site.shares, *bundle.shares, str(site.root)):
        assert canary.encode() not in disk


def test_the_writer_replaces_reads_and_deletes_nothing(site: SnapshotSite, bundle: Bundle, s3: ObjectServer) -> None:
    writer, reader, deleter = s3.store("writer"), s3.store("reader"), s3.store("deleter")
    name = write_bundle(writer, bundle, site.recipients)
    key = name.part(PARTS[0])
    before = reader.get(key)
    with pytest.raises(ObjectExistsError):
        writer.put_new(key, b"other")
    for ask in (
        lambda: writer.get(key),
        lambda: writer.list("dev/"),
        lambda: writer.delete(key),
        lambda: reader.put_new("dev/x", b""),
        lambda: reader.delete(key),
        lambda: deleter.put_new("dev/x", b""),
    ):
        with pytest.raises(StoreRefusedError):
            ask()
    assert reader.get(key) == before
    deleter.delete(key)
    with pytest.raises(ObjectMissingError):
        reader.get(key)


def test_a_server_that_is_not_known_gets_nothing(s3: ObjectServer) -> None:
    stranger = dataclasses.replace(s3, ca=Path(__file__).read_text().partition("\n")[0])
    with pytest.raises((Unavailable, ValueError)):
        stranger.store("writer").put_new("dev/x", b"")
    with pytest.raises(ValueError, match="https"):
        dataclasses.replace(s3, endpoint=s3.endpoint.replace("https", "http")).store("writer")


class Pod(Vault):
    """The process as a pod of the cluster: its address there is not the one that it has here."""

    def read(self, path: str) -> dict[str, Any] | None:
        found = super().read(path)
        if path == "sys/leader" and found is not None:
            return {**found, "leader_address": "https://vault-0.vault-internal.vault.svc:8200"}
        return found


def test_the_engine_saves_a_change_by_itself(
    site: SnapshotSite, s3: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a write in Vault to a complete bundle that holds it; a round without a change writes nothing."""
    monkeypatch.setattr(due, "DEBOUNCE", timedelta(seconds=1))
    token = site.snapshot_identity().token

    def connect(_: str) -> Vault:
        vault = Pod(site.server.address, site.server.ca_file)
        vault.token = token
        return vault

    api = FakeApi()
    record = TrustRecord(site.recipients[0], frozenset(site.recipients[1:])).as_data()
    trust = {"metadata": {"name": TRUST_RECORD}, "data": record}
    api.store(f"api/v1/namespaces/{ENGINE_NAMESPACE}/configmaps/{TRUST_RECORD}", trust)
    shares = shares_secret(UNSEAL_SHARES, site.sealed)
    api.store(f"api/v1/namespaces/{VAULT_NAMESPACE}/secrets/{UNSEAL_SHARES}", shares)
    settings = SnapshotEngineSettings("engine", site.recipients, s3.endpoint, "snapshots", "us-east-1", s3.ca, True)
    writer, reader, status = s3.store("writer"), s3.store("reader"), Status()
    engine = SnapshotController(settings, api, connect, "service", lambda: writer, ENGINE_NAMESPACE, "run", status)

    def bundles() -> list[BundleName]:
        engine.reconcile()
        return complete_bundles("engine", [one.key for one in reader.list("engine/")])

    assert len(bundles()) == len(bundles()) == 1, status.as_dict()
    site.write("saved/by-itself", "x")
    wait_for(lambda: len(bundles()) == 2, "a second bundle")
    newest = read_bundle(reader, bundles()[-1], [str(site.root)])
    assert f"{DATA_MOUNT}/saved/by-itself" in {secret.location for secret in newest.manifest.secrets}
    assert len(bundles()) == 2


def test_a_verification_that_is_killed_leaves_no_server(site: SnapshotSite) -> None:
    program = f"""
import time
from secret_authority.engine.snapshots.throwaway import throwaway
with throwaway({PROGRAM!r}, "vault-0", 1, 1) as server:
    print(server.vault.address, flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        process.kill()
    port = int(address.rpartition(":")[2])

    def gone() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

    wait_for(gone, "the throwaway server is gone")
