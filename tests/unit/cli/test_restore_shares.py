"""`cluster restore-shares`: the copy of Git goes back where nothing is, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli import shares_cluster
from cli.commands import restore_shares as command
from cli.main import main
from secret_authority.access.cluster_state import UNREACHABLE, ClusterState
from secret_authority.access.kubeconfig import ClusterConnection
from secret_authority.contract.names import SHARES_CHANGE, SHARES_PERSON, UNSEAL_SHARES
from secret_authority.engine.runtime_authority.seal_store import ClusterSealStore
from secret_authority.engine.runtime_authority.unseal_shares import open_shares, seal_shares
from secret_authority.repository.trust.share_export import export_file, exported_text
from tests.fakes.kubernetes import FakeApi
from tests.support.fleets import Fleet, new_fleet

SHARES = ("one", "two", "three")
SECRET = f"api/v1/namespaces/vault/secrets/{UNSEAL_SHARES}"


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return new_fleet(tmp_path)


def restore(fleet: Fleet, patch: pytest.MonkeyPatch, cluster: ClusterState, api: FakeApi) -> int:
    patch.setattr(shares_cluster, "read_cluster_state", lambda _: cluster)
    patch.setattr(ClusterConnection, "api", lambda _: api)
    patch.setattr(command, "kubernetes_user", lambda _: "ada@example.org")
    kubeconfig = fleet.root_file.with_name("kubeconfig")
    kubeconfig.write_text("{current-context: here, contexts: [{name: here}]}")
    where = ["--repository", str(fleet.repository), "--kubeconfig", str(kubeconfig)]
    return main(["cluster", "restore-shares", "dev", *where])


def export(fleet: Fleet) -> None:
    sealed = seal_shares(SHARES, 2, [fleet.identity().recipient])
    file = fleet.repository / export_file("dev")
    file.write_text(exported_text("dev", sealed.ciphertexts, sealed.threshold))


def test_what_git_has_opens_vault_again(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    api, identity = FakeApi(), fleet.identity()
    export(fleet)
    assert restore(fleet, monkeypatch, ClusterState(True, recipient=identity.recipient), api) == 0
    marks = api.objects[SECRET]["metadata"]["annotations"]
    assert marks[SHARES_PERSON] == "ada@example.org" and "restore-shares" in marks[SHARES_CHANGE]
    store = ClusterSealStore(api, "vault", "run", "configuration")
    assert open_shares(store.load(), identity.secret) == SHARES[:2]


def test_shares_that_are_there_stay(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api, recipient = FakeApi(), fleet.identity().recipient
    ClusterSealStore(api, "vault", "run", "c").store(seal_shares(("other",), 1, [recipient]), placeholder=None)
    before = dict(api.objects)
    export(fleet)
    assert restore(fleet, monkeypatch, ClusterState(True, recipient=recipient), api) == 1
    assert api.objects == before and "is there; nothing was changed" in capsys.readouterr().err


@pytest.mark.parametrize("case", ["no export", "another cluster", "no cluster"])
def test_nothing_is_written_where_it_does_not_belong(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    api = FakeApi()
    if case != "no export":
        export(fleet)
    recipient = fleet.root().recipient if case == "another cluster" else fleet.identity().recipient
    cluster = UNREACHABLE if case == "no cluster" else ClusterState(True, recipient=recipient)
    assert restore(fleet, monkeypatch, cluster, api) in (1, 2)
    assert SECRET not in api.objects and capsys.readouterr().err
