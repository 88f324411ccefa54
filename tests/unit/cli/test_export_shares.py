"""Git has a copy of the unseal shares that open today's Vault, or somebody says so."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import kubernetes
import pytest

from cli import shares_cluster
from cli.main import main
from components.preflight.exported_shares import ExportedShares, exported_shares
from secret_authority.access.cluster_state import UNREACHABLE, ClusterState
from secret_authority.access.kubeconfig import ClusterConnection
from secret_authority.clients.kubernetes import Api, named
from secret_authority.contract.names import UNSEAL_SHARES
from secret_authority.core.errors import InvalidInputError
from secret_authority.engine.runtime_authority.seal_store import ClusterSealStore
from secret_authority.engine.runtime_authority.unseal_shares import SealedShares, open_shares, seal_shares
from secret_authority.repository.trust.share_export import read_export
from tests.fakes.kubernetes import FakeApi
from tests.support.fleets import Fleet, new_fleet

VALUES = [f"share-value-{number}" for number in range(5)]


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return new_fleet(tmp_path)


@pytest.fixture
def api(fleet: Fleet) -> FakeApi:
    made = FakeApi()
    store = ClusterSealStore(made, "vault", "run", "configuration")
    store.store(seal_shares(VALUES, 3, sorted(fleet.read().trust.wanted("dev"))), placeholder=None)
    return made


@pytest.fixture
def export(fleet: Fleet, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(*more: str, cluster: ClusterState | None = None) -> int:
        present = cluster or ClusterState(True, recipient=fleet.identity().recipient)
        monkeypatch.setattr(shares_cluster, "read_cluster_state", lambda _: present)
        monkeypatch.setattr(ClusterConnection, "api", lambda _: cast(Api, api))
        return main(["cluster", "export-shares", "dev", "--repository", str(fleet.repository), *more])

    return run


def test_the_exported_shares_open_with_the_root_and_with_the_cluster(fleet: Fleet, export: Any) -> None:
    assert export("--check") == 1
    assert export() == 0
    exported = read_export(fleet.repository, "dev")
    assert exported
    shares = SealedShares(*exported)
    for identity in (fleet.root(), fleet.identity()):
        assert open_shares(shares, identity.secret) == tuple(VALUES[:3])
    text = (fleet.repository / "clusters/dev/unseal-shares.txt").read_text()
    assert "share-value" not in text and fleet.identity().secret not in text
    assert export("--check") == 0
    fleet.read()  # it is no manifest, and the checks pass it over


def test_shares_of_another_seal_are_said(
    fleet: Fleet, api: FakeApi, export: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export() == 0
    api.delete(named("secrets", "vault", UNSEAL_SHARES))
    again = seal_shares(VALUES, 3, sorted(fleet.read().trust.wanted("dev")))
    ClusterSealStore(api, "vault", "run", "configuration").store(again, placeholder=None)
    assert export("--check") == 1
    assert "holds other unseal shares than the cluster" in capsys.readouterr().out


def test_nothing_is_written_for_another_cluster_or_without_one(fleet: Fleet, export: Any) -> None:
    assert export(cluster=UNREACHABLE) == 1
    assert export(cluster=ClusterState(True, recipient="age1other")) == 2
    assert read_export(fleet.repository, "dev") is None


def test_check_says_whether_git_has_shares(fleet: Fleet, export: Any, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["check", "--repository", str(fleet.repository), "--cluster", "dev"]
    export()
    capsys.readouterr()
    assert main(where) == 0
    assert "unseal shares in Git: 5, 3 of them open the Vault" in capsys.readouterr().out
    (fleet.repository / "clusters/dev/unseal-shares.txt").write_text("# threshold: 3\n")
    with pytest.raises(InvalidInputError, match="does not hold the shares of one Vault"):
        read_export(fleet.repository, "dev")


def warning(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, answer: Any) -> ExportedShares:
    def read(*_: object, **__: object) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(data=answer)

    monkeypatch.setattr(ClusterConnection, "core_api", lambda _: SimpleNamespace(read_namespaced_secret=read))
    return exported_shares(ClusterConnection(Path("none")), fleet.read())


def test_a_run_warns_while_git_lacks_the_shares(
    fleet: Fleet, api: FakeApi, export: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = api.get(named("secrets", "vault", UNSEAL_SHARES))
    assert stored
    said = warning(fleet, monkeypatch, stored["data"])
    assert said.fits is False and "Git has no copy of Vault's unseal shares" in said.text
    assert export() == 0
    said = warning(fleet, monkeypatch, stored["data"])
    assert said.fits and said.text == "clusters/dev/unseal-shares.txt has the 5 shares of the cluster's Vault"
    for status, why in {403: "you may not read", 404: "the cluster has none"}.items():
        said = warning(fleet, monkeypatch, kubernetes.client.ApiException(status))
        assert said.fits is None and why in said.text
    assert warning(fleet, monkeypatch, {"threshold": "eA=="}).fits is None
