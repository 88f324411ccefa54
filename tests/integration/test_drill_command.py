"""`secret-authority drill` with a real Vault, repository and store: what it says is so, and it changes nothing.

Only the way through the API server is replaced by the server's own address.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from pyrage import x25519

from cli.main import main
from secret_authority.access.cluster_state import UNREACHABLE, ClusterState
from secret_authority.clients.age import Identity, write_identity
from secret_authority.clients.object_store.folder import MARKER, FolderStore
from secret_authority.clients.snapshot_bundle import write_bundle
from secret_authority.clients.vault import Vault
from secret_authority.contract.names import (
    CONSUMPTION_STATUS,
    ENGINE_NAMESPACE,
    HANDOVER_STATUS,
    ROTATION_STATUS,
    SNAPSHOT_ROLE,
    UNSEAL_SHARES,
    VAULT_NAMESPACE,
)
from secret_authority.contract.vault_policies import snapshot_policy
from secret_authority.core.catalogue.schema import DATA_MOUNT, SecretClass
from secret_authority.core.conditions import Condition
from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.ledger.published_trail import PublishedTrail
from secret_authority.core.phases import Phase
from secret_authority.core.recipients import TrustRecord
from secret_authority.core.snapshots.naming import BundleName
from secret_authority.engine.runtime_authority.unseal_shares import seal_shares
from secret_authority.engine.snapshots.metadata import read_metadata
from secret_authority.repository.trust.share_export import export_file, exported_text
from tests.support.fleets import Fleet, new_fleet
from tests.support.restore_site import CANARY, Cluster, cluster, fill_catalogue, taken
from tests.support.vault_process import vault_program

PROGRAM = vault_program()
pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(PROGRAM is None, reason="no vault program: run `make tools`"),
]
SETTINGS = "secret-authority/dev/snapshots.yaml"
SHARES = f"api/v1/namespaces/{VAULT_NAMESPACE}/secrets/{UNSEAL_SHARES}"
CONDITIONS = {
    HANDOVER_STATUS: ("VaultInService", "VaultConfigured", "CertificatesValid"),
    CONSUMPTION_STATUS: ("StoresTrustVault", "Delivered"),
    ROTATION_STATUS: ("RotationRunning", "RotationWorks"),
}
Drill = Callable[..., int]


@dataclass
class Running:
    """A cluster at phase 4 with two snapshots, one of two hours and one of an hour ago, and all of it in order."""

    fleet: Fleet
    store: Path
    cluster: Cluster
    newest: BundleName
    state: ClusterState

    def everything(self) -> str:
        """What a drill must not change: the cluster's objects, Vault's metadata, the store, the repository."""
        root = self.cluster.as_root()
        files = [path for home in (self.store, self.fleet.repository) for path in home.rglob("*") if path.is_file()]
        parts = [
            json.dumps(self.cluster.api.objects, sort_keys=True),
            repr(read_metadata(root)),
            repr(sorted((str(path), hashlib.sha256(path.read_bytes()).hexdigest()) for path in files)),
        ]
        return hashlib.sha256("".join(parts).encode()).hexdigest()


def observe(running: Running) -> None:
    """The engines have published just now that all is well."""
    now = datetime.now(UTC).isoformat()
    for name, conditions in CONDITIONS.items():
        fields = {one: Condition(True, "", now, now).fields() for one in conditions}
        path = f"api/v1/namespaces/{ENGINE_NAMESPACE}/configmaps/{name}"
        running.cluster.api.objects[path] = {"metadata": {"name": name}, "data": {"conditions": json.dumps(fields)}}


def state_of(fleet: Fleet) -> ClusterState:
    """A cluster that is at phase 4, with an event for each secret."""
    trust, now = fleet.read().trust, datetime.now(UTC)
    entry = trust.cluster("dev")
    events = tuple(
        Event(
            now.isoformat(), one.name, "authority git -> vault", "w", "r", "done", f"ho-{one.name}", str(one.vault), ""
        )
        for one in fleet.read().catalogue
        if one.secret_class is not SecretClass.CONFIG
    )
    return ClusterState(
        reachable=True,
        built=True,
        since={phase: now for phase in Phase if phase is not Phase.ROOT_OF_TRUST},
        recipient=entry.recipient,
        recorded_recipient=entry.recipient,
        trust=TrustRecord(entry.recipient, trust.wanted("dev") - {entry.recipient}),
        trail=PublishedTrail(events, "ed25519:key"),
        vault_built=True,
    )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("running")
    fleet, store = new_fleet(home / "git"), home / "store"
    store.mkdir()
    (store / MARKER).touch()
    settings = {"apiVersion": "secret-authority.dev/v1", "kind": "Snapshots", "store": {"folder": str(store)}}
    (fleet.repository / SETTINGS).write_text(yaml.safe_dump(settings))
    identities = [x25519.Identity.from_str(one.secret) for one in (fleet.identity(), fleet.root())]
    recipients = [str(one.to_public()) for one in identities]
    with cluster(home / "vault", cluster=identities[0], root=identities[1]) as source:
        fill_catalogue(root := source.as_root(), fleet)
        bundle = taken(source, root)
        sealed = source.store.load()
        (fleet.repository / export_file("dev")).write_text(exported_text("dev", sealed.ciphertexts, sealed.threshold))
        for hours in (2, 1):
            at = bundle.manifest.taken_at - timedelta(hours=hours)
            older = dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, taken_at=at))
            name = write_bundle(FolderStore(store), older, recipients)
        yield Running(fleet, store, source, name, state_of(fleet))


@pytest.fixture
def drill(running: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[Drill]:
    """The command; whatever it says, it has changed nothing."""
    source, module = running.cluster, "cli.drill_facts"

    @contextlib.contextmanager
    def as_snapshot(_: object) -> Iterator[Vault]:
        root = source.as_root()
        root.write(f"sys/policies/acl/{SNAPSHOT_ROLE}", {"policy": snapshot_policy()})
        made = root.write("auth/token/create-orphan", {"policies": [SNAPSHOT_ROLE], "no_default_policy": True})
        yield source.server.api.with_token(made["auth"]["client_token"])

    monkeypatch.setattr(
        f"{module}.connection", lambda _: SimpleNamespace(api=lambda: source.api, kubeconfig="kubeconfig")
    )
    monkeypatch.setattr(f"{module}.read_cluster_state", lambda _: running.state)
    monkeypatch.setattr(f"{module}.snapshot_session", as_snapshot)
    observe(running)

    def run(verb: str, *more: str, root: Path | None = None) -> int:
        before = running.everything()
        where = ["--repository", str(running.fleet.repository), "--cluster", "dev", "--vault", str(PROGRAM)]
        code = main(["drill", verb, *where, "--root-identity", str(root or running.fleet.root_file), *more])
        assert running.everything() == before
        return code

    yield run


def test_a_cluster_in_order_survives_every_domain(
    drill: Drill, running: Running, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert drill("report") == 0
    said = capsys.readouterr()
    assert "NO " not in said.out and "unknown" not in said.out and not said.err
    assert said.out.count(": survived") == 4
    paths = len(read_metadata(running.cluster.as_root()))
    assert f"{running.newest.folder}: {paths} paths" in said.out
    assert "nothing; the newest snapshot is 60 minutes old" in said.out
    assert CANARY not in said.out + said.err + caplog.text


def test_a_change_that_is_not_saved_is_what_would_be_lost(
    drill: Drill, running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    place = "drill/changed"
    running.cluster.as_root().write(f"{DATA_MOUNT}/data/{place}", {"options": {"cas": 0}, "data": {"key": CANARY}})
    try:
        assert drill("snapshot", "--format", "json") == 1
    finally:
        running.cluster.as_root().delete(f"{DATA_MOUNT}/metadata/{place}")
    said = capsys.readouterr().out
    (found,) = json.loads(said)
    whole, lost = found["answers"]
    assert whole["holds"] is True and lost["holds"] is False
    assert lost["why"].startswith(f"1 changes, of {DATA_MOUNT}/{place}; ") and CANARY not in said


def lines(said: str, word: str) -> list[str]:
    return [line.split(maxsplit=1)[1] for line in said.splitlines() if line.startswith(f"  {word} ")]


def test_shares_that_open_another_vault_are_found(
    drill: Drill, running: Running, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = seal_shares(["a", "b", "c", "d", "e"], 3, running.cluster.recipients)
    stored = running.cluster.api.objects[SHARES]
    data = {name: _base64(text) for name, text in other.as_fields().items()}
    monkeypatch.setitem(running.cluster.api.objects, SHARES, {**stored, "data": data})
    with pytest.MonkeyPatch.context() as patch:
        # As root in the comparison before and after; the stored shares open nothing here.
        patch.setattr(Running, "everything", lambda self: json.dumps(self.cluster.api.objects, sort_keys=True))
        assert drill("report") == 1
    said = capsys.readouterr()
    wrong = lines(said.out, "NO")
    assert any("with other unseal shares than those that are known" in line for line in wrong)
    assert any("holds other unseal shares than the cluster" in line for line in wrong)
    assert "Vault is sealed or killed: NOT SURVIVED" in said.out and "the cluster is lost: NOT SURVIVED" in said.out
    assert "not every domain is known to be survived" in said.err


def _base64(text: str) -> str:

    return base64.b64encode(text.encode()).decode()


def test_a_stranger_cannot_open_and_it_is_said_where_it_counts(
    drill: Drill, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_identity(Identity.generate(), tmp_path / "stranger")
    assert drill("report", root=tmp_path / "stranger") == 1
    said = capsys.readouterr().out
    assert "Git is away: survived" in said and "the cluster is lost: NOT SURVIVED" in said


def test_nothing_that_was_not_seen_is_survived(
    drill: Drill, running: Running, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.drill_facts.read_cluster_state", lambda _: UNREACHABLE)
    assert drill("report") == 1
    said = capsys.readouterr().out
    assert ": survived" not in said
    assert said.count(": UNKNOWN") == 4


def test_without_a_store_a_lost_cluster_is_not_survived(
    drill: Drill, running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = running.fleet.repository / SETTINGS
    text = settings.read_text()
    settings.unlink()
    try:
        assert drill("report") == 1
    finally:
        settings.write_text(text)
    said = capsys.readouterr().out
    assert f"nothing is saved: {SETTINGS} does not exist" in said and "the cluster is lost: NOT SURVIVED" in said


def test_the_list_says_what_is_never_tried(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drill", "list"]) == 0
    said: Any = capsys.readouterr().out
    assert "drill report: " in said and "Never tried on a running cluster" in said
