"""`secret-authority restore` with a real Vault, a real repository and a real store: the commands of the runbook.

Only the way through the API server is replaced by the server's own address.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from pyrage import x25519

from cli.main import main
from secret_authority.access.cluster_state import ClusterState
from secret_authority.clients.age import Identity, write_identity
from secret_authority.clients.object_store.folder import MARKER, FolderStore
from secret_authority.clients.snapshot_bundle import write_bundle
from secret_authority.clients.vault import Vault
from secret_authority.clients.vault_trail import read_trail
from secret_authority.contract.names import (
    ACCESS_KEY_ID,
    ENTRY_ROLE,
    RESTORE_RECORD,
    ROTATION_GIVEN,
    ROTATION_MOUNT,
    ROTATION_REQUESTS,
    SECRET_ACCESS_KEY,
    VAULT_NAMESPACE,
)
from secret_authority.contract.vault_policies import entry_policy
from secret_authority.core.ledger.audit_trail import RESTORE_EVENTS
from secret_authority.core.snapshots.naming import COMPLETE, PARTS, BundleName
from secret_authority.engine.restore.vault_contents import is_empty
from secret_authority.repository.trust.share_export import export_file, exported_text
from tests.support.fleets import Fleet, new_fleet
from tests.support.object_store_process import BUCKET, object_server, weed_program
from tests.support.object_store_process import credentials as identity_of_store
from tests.support.restore_site import CANARY, Cluster, cluster, fill_catalogue, mount, taken
from tests.support.vault_process import vault_program

PROGRAM = vault_program()
pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(PROGRAM is None, reason="no vault program: run `make tools`"),
]
SETTINGS = "secret-authority/dev/snapshots.yaml"
EXTERNAL = "platform-data/data/payment/billing"
Restore = Callable[..., int]


@dataclass
class Saved:
    """A repository, a store with two snapshots of a Vault that is gone, and the Vault's shares."""

    fleet: Fleet
    store: Path
    older: BundleName
    newer: BundleName
    cluster: x25519.Identity
    root: x25519.Identity


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saved]:
    home = tmp_path_factory.mktemp("saved")
    fleet = new_fleet(home / "git")
    store = home / "store"
    store.mkdir()
    (store / MARKER).touch()
    identities = [x25519.Identity.from_str(one.secret) for one in (fleet.identity(), fleet.root())]
    recipients = [str(one.to_public()) for one in identities]
    with cluster(home / "vault", cluster=identities[0], root=identities[1]) as source:
        fill_catalogue(root := source.as_root(), fleet)
        older = write_bundle(FolderStore(store), taken(source, root), recipients)
        root = source.as_root()
        root.write(EXTERNAL, {"options": {"cas": 1}, "data": {"api-key": f"{CANARY}-replaced"}})
        newer = write_bundle(FolderStore(store), taken(source, root), recipients)
        sealed = source.store.load()
    (fleet.repository / export_file("dev")).write_text(exported_text("dev", sealed.ciphertexts, sealed.threshold))
    settings = {"apiVersion": "secret-authority.dev/v1", "kind": "Snapshots", "store": {"folder": str(store)}}
    (fleet.repository / SETTINGS).write_text(yaml.safe_dump(settings))
    yield Saved(fleet, store, older, newer, *identities)


@pytest.fixture
def target(tmp_path: Path, saved: Saved) -> Iterator[Cluster]:
    with cluster(tmp_path / "vault", cluster=saved.cluster, root=saved.root) as made:
        yield made


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory, saved: Saved) -> Iterator[Cluster]:
    """As `target`, for tests in which nothing is changed."""
    with cluster(tmp_path_factory.mktemp("empty") / "vault", cluster=saved.cluster, root=saved.root) as made:
        yield made


@pytest.fixture
def restore(target: Cluster, saved: Saved, monkeypatch: pytest.MonkeyPatch) -> Restore:
    return command(target, saved, monkeypatch)


@pytest.fixture
def refused(empty: Cluster, saved: Saved, monkeypatch: pytest.MonkeyPatch) -> Iterator[Restore]:
    """The command where it has to change nothing."""
    before = json.dumps(empty.api.objects, sort_keys=True)
    yield command(empty, saved, monkeypatch)
    assert json.dumps(empty.api.objects, sort_keys=True) == before and is_empty(empty.as_root())


def command(target: Cluster, saved: Saved, monkeypatch: pytest.MonkeyPatch) -> Restore:
    """The command against the target."""
    way = SimpleNamespace(api=lambda: target.api, kubeconfig="kubeconfig")
    state = ClusterState(reachable=True, built=True, recipient=str(saved.cluster.to_public()))
    module = "cli.commands.restore"

    @contextlib.contextmanager
    def direct(_: object) -> Iterator[Vault]:
        yield target.server.api

    @contextlib.contextmanager
    def as_entry(_: object) -> Iterator[Vault]:
        root = target.as_root()
        root.write(f"sys/policies/acl/{ENTRY_ROLE}", {"policy": entry_policy(saved.fleet.read().catalogue, ())})
        made = root.write("auth/token/create", {"policies": [ENTRY_ROLE], "no_default_policy": True})
        yield target.server.api.with_token(made["auth"]["client_token"])

    monkeypatch.setattr(f"{module}.connection", lambda _: way)
    monkeypatch.setattr(f"{module}.read_cluster_state", lambda _: state)
    monkeypatch.setattr(f"{module}.kubernetes_user", lambda _: "kim")
    monkeypatch.setattr(f"{module}.first_configuration", lambda: target.first)
    monkeypatch.setattr(f"{module}.first_pod", direct)
    monkeypatch.setattr("cli.commands.enter.kubernetes_user", lambda _: "kim")
    monkeypatch.setattr("cli.commands.enter.reading", as_entry)
    monkeypatch.setattr("cli.commands.enter.read_built", lambda _: saved.fleet.built())

    def run(*arguments: str, root: Path | None = None) -> int:
        where = ["--repository", str(saved.fleet.repository), "--cluster", "dev"]
        opens = ["--root-identity", str(root or saved.fleet.root_file), "--vault", str(PROGRAM)]
        return main(["restore", *where, *opens, *arguments])

    return run


def value(target: Cluster, path: str = EXTERNAL) -> Any:
    return ((target.as_root().read(path) or {}).get("data") or {}).get("data")


def untouched(target: Cluster) -> bool:
    """Whether the target is as the engine has made it."""
    return f"api/v1/namespaces/{VAULT_NAMESPACE}/configmaps/{RESTORE_RECORD}" not in target.api.objects


def test_the_plan_is_shown_and_nothing_happens_without_the_word(
    refused: Restore, saved: Saved, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused("--confirm", "prod") == 1
    assert capsys.readouterr().err == "not confirmed: give --confirm dev; nothing was changed\n"
    assert refused("--snapshot", saved.older.folder) == 1
    said = capsys.readouterr()
    assert f"payment-api: enter again (the snapshot of {saved.newer.taken_at:%Y-%m-%dT%H:%M}" in said.out
    assert "not confirmed: give --confirm dev; nothing was changed" in said.err
    assert CANARY not in said.out + said.err


def test_a_confirmed_restore_brings_every_value_back(
    restore: Restore,
    target: Cluster,
    saved: Saved,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert restore("--confirm", "dev") == 0
    said = capsys.readouterr()
    assert "open (" in said.out and f"Vault holds snapshot {saved.newer.folder}" in said.out
    assert value(target) == {"api-key": f"{CANARY}-replaced"}
    for entry in saved.fleet.read().catalogue:
        found = value(target, f"{entry.vault.mount}/data/{entry.vault.path}")
        assert set(found) == set(entry.consumed_keys or ["key"])
    events = [event for event in read_trail(target.as_root()).events if event.secret == RESTORE_EVENTS]
    assert [(event.person, event.place) for event in events] == [("kim", saved.newer.folder)]
    # Again: it is done, and says so.
    assert restore("--confirm", "dev") == 0
    assert "was restored at" in capsys.readouterr().out
    everywhere = said.out + said.err + caplog.text + json.dumps(target.api.objects)
    stored = b"".join(path.read_bytes() for path in saved.store.rglob("*") if path.is_file())
    assert CANARY not in everywhere and CANARY.encode() not in stored


@pytest.mark.skipif(weed_program() is None, reason="no S3 server: run `make tools`")
def test_a_restore_from_s3_needs_the_readers_credentials_alone(
    restore: Restore, target: Cluster, saved: Saved, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, credentials = saved.fleet.repository / SETTINGS, tmp_path / "reader.yaml"
    text, key = settings.read_text(), identity_of_store("reader")
    (tmp_path / "s3").mkdir()
    with object_server(tmp_path / "s3") as s3:
        store = {"s3": {"endpoint": s3.endpoint, "bucket": BUCKET, "ca": s3.ca}}
        for part in PARTS:
            s3.store("writer").put_new(saved.newer.part(part), (saved.store / saved.newer.part(part)).read_bytes())
        fields = {ACCESS_KEY_ID: key.access_key_id, SECRET_ACCESS_KEY: key.secret_access_key}
        credentials.write_text(yaml.safe_dump(fields))
        credentials.chmod(0o600)
        settings.write_text(yaml.safe_dump({**yaml.safe_load(text), "store": store}))
        try:
            assert restore("--confirm", "dev") == 2
            assert "--credentials: is missing: the store asks for credentials" in capsys.readouterr().err
            assert untouched(target)
            assert restore("--confirm", "dev", "--credentials", str(credentials)) == 0
        finally:
            settings.write_text(text)
    said = capsys.readouterr()
    assert f"Vault holds snapshot {saved.newer.folder}" in said.out
    assert value(target) == {"api-key": f"{CANARY}-replaced"}
    assert key.secret_access_key not in said.out + said.err


def test_one_secret_gets_its_older_value_and_no_other_is_touched(
    restore: Restore,
    target: Cluster,
    saved: Saved,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # No engine of rotation runs here, so there is no answer to wait for.
    monkeypatch.setattr("cli.rotation_requests.ANSWER_SECONDS", 1.0)
    fill_catalogue(root := target.as_root(), saved.fleet)
    root.write(EXTERNAL, {"options": {"cas": 1}, "data": {"api-key": "new"}})
    others = {
        str(entry.vault): root.read(f"{entry.vault.mount}/metadata/{entry.vault.path}")
        for entry in saved.fleet.read().catalogue
        if entry.name != "payment-api"
    }
    before = {place: (found or {})["data"] for place, found in others.items()}
    assert restore("--only", "payment-api", "--snapshot", saved.older.folder, "--confirm", "dev") == 0
    assert value(target) == {"api-key": f"{CANARY}-payment-api"}
    looking = target.as_root()
    versions = (looking.read("platform-data/metadata/payment/billing") or {})["data"]["versions"]
    assert sorted(versions) == ["1", "2", "3"]
    for entry in saved.fleet.read().catalogue:
        if entry.name != "payment-api":
            now = looking.read(f"{entry.vault.mount}/metadata/{entry.vault.path}") or {}
            assert now["data"] == before[str(entry.vault)], entry.name
    (event,) = read_trail(looking, "payment-api").events
    assert event.person == "kim" and saved.older.folder in event.why and "version 3" in event.change
    # What has a rotator is given to its engine instead; two writers would meet.
    mount(looking, ROTATION_MOUNT)
    assert restore("--only", "orders-db", "--snapshot", saved.older.folder, "--confirm", "dev", "--wait", "0") == 0
    assert len(looking.list(f"{ROTATION_MOUNT}/metadata/{ROTATION_GIVEN}/orders-db")) == 1
    (asked,) = looking.list(f"{ROTATION_MOUNT}/metadata/{ROTATION_REQUESTS}/orders-db")
    request = looking.read(f"{ROTATION_MOUNT}/data/{ROTATION_REQUESTS}/orders-db/{asked}") or {}
    assert saved.older.folder in request["data"]["data"]["why"] and request["data"]["data"]["given"] is True
    now = looking.read("platform-data/metadata/postgres/orders") or {}
    assert now["data"] == before["platform-data/postgres/orders"]
    said = capsys.readouterr()
    assert "is filed and waits" in said.out
    assert CANARY not in said.out + said.err and untouched(target)


def test_what_is_not_entered_by_hand_cannot_be_set_back(refused: Restore, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused("--only", "billing-db", "--confirm", "dev") == 2
    assert "is born in Git and handed over; rotate it instead" in capsys.readouterr().err


@pytest.fixture
def damaged(saved: Saved, tmp_path: Path) -> Iterator[Path]:
    """The newest bundle's folder; put back afterwards."""
    folder = saved.store / saved.newer.folder
    kept = {path: path.read_bytes() for path in folder.iterdir()}
    yield folder
    for path, content in kept.items():
        path.write_bytes(content)


@pytest.mark.parametrize("part", ["snapshot.age", "seal.age", "manifest.json.age", "manifest.sha256"])
@pytest.mark.parametrize("how", ["corrupt", "truncated", "missing"])
def test_a_damaged_bundle_is_refused(
    refused: Restore, damaged: Path, part: str, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = damaged / part
    content = path.read_bytes()
    match how:
        case "corrupt":
            path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
        case "truncated":
            path.write_bytes(content[: len(content) // 2])
        case _:
            path.unlink()
    assert refused("--confirm", "dev") == 1
    assert "the snapshot is refused" in capsys.readouterr().err


def test_a_bundle_that_was_interrupted_is_passed_over(
    refused: Restore, damaged: Path, saved: Saved, capsys: pytest.CaptureFixture[str]
) -> None:
    (damaged / COMPLETE).unlink()
    assert refused("--plan") == 0
    assert saved.older.folder in capsys.readouterr().out
    assert refused("--plan", "--snapshot", saved.newer.folder) == 2


def test_a_strangers_root_identity_opens_nothing(
    refused: Restore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_identity(Identity.generate(), tmp_path / "stranger")
    assert refused("--confirm", "dev", root=tmp_path / "stranger") == 1
    assert "does not open with the given identity" in capsys.readouterr().err


def test_shares_of_another_seal_in_git_refuse_the_snapshot(
    refused: Restore, empty: Cluster, saved: Saved, capsys: pytest.CaptureFixture[str]
) -> None:
    """A snapshot from before a rekey, or a bundle that somebody else has made and encrypted to the same recipients."""
    file = saved.fleet.repository / export_file("dev")
    kept = file.read_text()
    sealed = empty.store.load()
    try:
        file.write_text(exported_text("dev", sealed.ciphertexts, sealed.threshold))
        assert refused("--confirm", "dev") == 1
        assert "with other unseal shares than those that are known" in capsys.readouterr().err
        file.unlink()
        assert refused("--confirm", "dev") == 2
        assert "nothing shows that a snapshot is of this cluster" in capsys.readouterr().err
    finally:
        file.write_text(kept)


def test_a_cluster_with_another_identity_is_refused(
    refused: Restore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ClusterState(reachable=True, built=True, recipient=str(x25519.Identity.generate().to_public()))
    monkeypatch.setattr("cli.commands.restore.read_cluster_state", lambda _: other)
    assert refused("--confirm", "dev") == 2
    assert "the cluster holds the identity of" in capsys.readouterr().err


def test_a_snapshot_of_another_cluster_is_refused(refused: Restore, saved: Saved) -> None:
    foreign = str(saved.newer.folder).replace("dev/", "prod/", 1)
    assert refused("--confirm", "dev", "--snapshot", foreign) == 2


def test_a_vault_with_values_is_refused_before_the_word_is_asked(
    restore: Restore, target: Cluster, saved: Saved, capsys: pytest.CaptureFixture[str]
) -> None:
    fill_catalogue(target.as_root(), saved.fleet)
    assert restore("--confirm", "dev") == 1
    said = capsys.readouterr().err
    assert "Vault holds values, and a restore would overwrite them" in said and "--only NAME" in said
    assert untouched(target) and value(target) == {"api-key": f"{CANARY}-payment-api"}
