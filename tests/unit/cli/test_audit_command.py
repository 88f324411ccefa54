"""`audit`: what it prints, and that a trail which does not fit is no success. Vault is one in memory."""

from __future__ import annotations

from typing import Any

import pytest

from cli import cluster_answers
from cli.main import main
from secret_authority.access.cluster_state import ClusterState
from secret_authority.access.kubeconfig import ClusterConnection
from secret_authority.clients.vault_trail import read_records, read_trail
from secret_authority.contract.names import AUTHORITY_MOUNT
from secret_authority.core.handover.state_machine import Done
from secret_authority.core.ledger.published_trail import PublishedTrail
from tests.fakes.handover import MemoryVault, catalogue
from tests.support.handover_in_memory import ORDERS, VALUE, Site, in_git

PLACE = ("platform-data", "d/orders-db")


@pytest.fixture
def vault() -> MemoryVault:
    """A Vault that has taken one secret over."""
    given = catalogue(ORDERS)
    site = Site(given, VALUE)
    (result,) = site.run(in_git(given, {"orders-db": VALUE}))
    assert isinstance(result.end, Done)
    return site.vault


def event_path(vault: MemoryVault) -> str:
    return next(path for mount, path in vault.data if mount == AUTHORITY_MOUNT and path.startswith("events/"))


def run(monkeypatch: pytest.MonkeyPatch, vault: MemoryVault, *more: str, published: Any = None) -> int:
    def read(_: ClusterConnection) -> Any:
        return read_trail(vault), read_records(vault)

    monkeypatch.setattr(cluster_answers, "read_vault", read)
    monkeypatch.setattr(cluster_answers, "read_cluster_state", lambda _: ClusterState(True, trail=published))
    return main(["audit", *more])


def test_a_trail_that_fits_is_printed(
    vault: MemoryVault, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    events = read_trail(vault).events
    assert run(monkeypatch, vault, published=PublishedTrail(events, "k")) == 0
    said = capsys.readouterr()
    assert "authority git -> vault" in said.out and said.err == ""


def test_an_event_that_was_cut_out_is_named(
    vault: MemoryVault, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    published = PublishedTrail(read_trail(vault).events, "k")
    del vault.data[AUTHORITY_MOUNT, event_path(vault)]
    assert run(monkeypatch, vault) == 1
    assert "platform-data/d/orders-db has the record ho-" in capsys.readouterr().err
    assert run(monkeypatch, vault, "--format", "json", published=published) == 1
    assert "was published at" in capsys.readouterr().err


def test_a_record_that_is_gone_or_broken_is_named(
    vault: MemoryVault, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del vault.metadata[PLACE]["handover_at"]
    assert run(monkeypatch, vault) == 1
    assert "the record of platform-data/d/orders-db is not whole: handover_at" in capsys.readouterr().err
    vault.metadata[PLACE] = {"owner": "team"}
    assert run(monkeypatch, vault) == 1
    assert "says that Vault holds platform-data/d/orders-db, which has no record" in capsys.readouterr().err
