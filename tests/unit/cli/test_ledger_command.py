"""`ledger`: what it prints, and that it refuses to guess. The cluster is what each test says it is."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from cli.main import main
from secret_authority.access import cluster_state
from secret_authority.access.cluster_state import UNREACHABLE, ClusterState
from secret_authority.access.kubeconfig import ClusterConnection
from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.phases import Phase
from tests.support.fleets import Fleet, new_fleet

# The files of the example repository are committed before these.
LATER = datetime(2100, 1, 1, tzinfo=UTC)
EVENT = Event(
    "2100-01-02T00:00:00.000+00:00",
    "orders-db",
    "authority git -> vault",
    "handover",
    "run-1",
    "done",
    "ho-1",
    "platform-data/orders/api",
    "d",
)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return new_fleet(tmp_path_factory.mktemp("ledger"))


def at(phase: Phase, events: tuple[Event, ...] | None) -> ClusterState:
    since = {reached: LATER for reached in Phase if Phase.ROOT_OF_TRUST < reached <= phase}
    return ClusterState(True, bool(since), since, events=events)


def run(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, cluster: ClusterState | None, *more: str, verb: str = "ledger"
) -> int:
    def read(_: ClusterConnection) -> ClusterState:
        assert cluster is not None, "the cluster must not be asked"
        return cluster

    monkeypatch.setattr(cluster_state, "read_cluster_state", read)
    return main([verb, "--repository", str(fleet.repository), "--cluster", "dev", *more])


@pytest.mark.parametrize("phase", [Phase.RUNTIME_AUTHORITY, Phase.CONSUMPTION])
@pytest.mark.parametrize("more", [(), ("--history",), ("--format", "json")])
def test_without_the_trail_it_refuses_to_guess(
    fleet: Fleet,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    phase: Phase,
    more: tuple[str, ...],
) -> None:
    assert run(fleet, monkeypatch, at(phase, None), *more) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert f"has reached phase {phase.value}, but ConfigMap audit-trail in namespace secret-authority" in said.err
    assert "within a minute" in said.err and "`secret-authority audit` asks Vault itself" in said.err


def test_an_empty_trail_is_an_answer(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(fleet, monkeypatch, at(Phase.RUNTIME_AUTHORITY, ()), "--format", "json") == 0
    found = {entry["secret"]: entry["authority"] for entry in json.loads(capsys.readouterr().out)}
    assert found["orders-db"] == "git" and "vault" not in found.values()


def test_below_phase_3_no_trail_is_needed(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(fleet, monkeypatch, at(Phase.BOOTSTRAP, None)) == 0
    assert "Flux materialises" in capsys.readouterr().out


def test_a_secret_on_the_trail_belongs_to_vault(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(fleet, monkeypatch, at(Phase.CONSUMPTION, (EVENT,)), "--format", "json") == 0
    (entry,) = (entry for entry in json.loads(capsys.readouterr().out) if entry["secret"] == "orders-db")
    assert (entry["authority"], entry["phase"], entry["since"]) == ("vault", 4, "2100-01-02T00:00:00+00:00")


def test_history_covers_all_phases(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = at(Phase.CONSUMPTION, (EVENT,))
    assert run(fleet, monkeypatch, cluster, "--history", "--format", "json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    told = [event["change"] for event in events if event["secret"] == "orders-db"]
    changes = ["authority none -> offline-root", "authority offline-root -> git", "authority git -> vault"]
    assert told == changes
    assert run(fleet, monkeypatch, cluster, "--history") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "  orders-db  " in line]
    assert [change for line, change in zip(lines, changes, strict=True) if change not in line] == []


def test_history_below_phase_3(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(fleet, monkeypatch, at(Phase.GITOPS, None), "--history") == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("authority offline-root -> git" in line and "2100-01-01" in line for line in lines) == 12


def test_offline_and_history_exclude_each_other(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(fleet, monkeypatch, None, "--offline", "--history") == 2
    said = capsys.readouterr()
    assert said.out == "" and "Give --offline or --history, not both" in said.err
    assert run(fleet, monkeypatch, None, "--offline") == 0
    assert "offline-root" in capsys.readouterr().out


def test_a_cluster_that_does_not_answer_is_no_empty_cluster(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(fleet, monkeypatch, UNREACHABLE) == 1
    assert "does not answer" in capsys.readouterr().err


def test_tombstones_are_not_written_from_a_guess(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(fleet, monkeypatch, at(Phase.RUNTIME_AUTHORITY, None), verb="tombstone") == 1
    assert "what Vault took over is not known" in capsys.readouterr().err
