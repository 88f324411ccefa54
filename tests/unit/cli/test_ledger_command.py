"""`ledger`: what it prints, and that it refuses to guess. The cluster is what each test says it is."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli import cluster_answers
from cli.commands import ledger
from cli.main import main
from components.preflight import exported_shares
from secret_authority.access.cluster_state import UNREACHABLE, ClusterState
from secret_authority.access.kubeconfig import ClusterConnection
from secret_authority.access.published_status import PublishedStatus
from secret_authority.core.handover.state_machine import Notice
from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.ledger.published_trail import PublishedTrail
from secret_authority.core.phases import Phase
from secret_authority.repository.bootstrap.encrypted_secrets import ciphertext_mark
from secret_authority.repository.intent.tombstones import (
    Tombstone,
    changed_after_handover,
    read_tombstones,
    read_trail_key,
    tombstone_file,
    write_tombstones,
)
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


KEY = "ed25519:the key of the fleet's engine"
# Stands for the recipient that root-of-trust.yaml names.
RECIPIENT = "recipient of the fleet"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return new_fleet(tmp_path_factory.mktemp("ledger"))


def at(phase: Phase, events: tuple[Event, ...] | None) -> ClusterState:
    """The cluster of the fleet, at a phase."""
    since = {reached: LATER for reached in Phase if Phase.ROOT_OF_TRUST < reached <= phase}
    return ClusterState(
        True,
        bool(since),
        since,
        trail=None if events is None else PublishedTrail(events, KEY),
        vault_built=phase >= Phase.RUNTIME_AUTHORITY,
        recorded_recipient=RECIPIENT if since else None,
        status=PublishedStatus(),
    )


def run(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, cluster: ClusterState | None, *more: str, verb: str = "ledger"
) -> int:
    def read(_: ClusterConnection) -> ClusterState:
        assert cluster is not None, "the cluster must not be asked"
        return cluster

    if cluster is not None and cluster.recorded_recipient == RECIPIENT:
        recipient = fleet.read().trust.cluster("dev").recipient
        cluster = replace(cluster, recorded_recipient=recipient)
    monkeypatch.setattr(cluster_answers, "read_cluster_state", read)
    monkeypatch.setattr(exported_shares, "exported_shares", lambda *_: exported_shares.ExportedShares("are in Git"))
    monkeypatch.setattr(ledger, "connection", lambda _: ClusterConnection(Path("none")))
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


def test_it_says_whether_git_has_the_unseal_shares(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(fleet, monkeypatch, at(Phase.RUNTIME_AUTHORITY, ()), "--format", "json") == 0
    said = capsys.readouterr()
    assert said.err == "unseal shares: are in Git\n" and json.loads(said.out)
    for cluster, more in ((at(Phase.BOOTSTRAP, None), ()), (None, ("--offline",))):
        assert run(fleet, monkeypatch, cluster, *more) == 0
        assert "unseal shares" not in capsys.readouterr().err


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
    assert sum("authority offline-root -> git" in line and "2100-01-01" in line for line in lines) == 13


def test_offline_and_history_exclude_each_other(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(fleet, monkeypatch, None, "--offline", "--history") == 2
    said = capsys.readouterr()
    assert said.out == "" and "Give --offline or --history, not both" in said.err


def test_offline_says_what_it_cannot_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = new_fleet(tmp_path)
    assert run(fleet, monkeypatch, None, "--offline", "--format", "json") == 0
    said = capsys.readouterr()
    assert "only Git speaks" in said.err and "are not known" in said.err
    holders = {entry["secret"]: entry["authority"] for entry in json.loads(said.out)}
    assert holders["orders-db"] is None and "no cluster yet" not in said.out
    assert {entry["known"] for entry in json.loads(said.out) if entry["class"] != "config"} == {False}
    write_tombstones(fleet.read(), {"orders-db": Tombstone("orders-db", FILE, "ho-1", EVENT.at, "d")}, KEY)
    assert run(fleet, monkeypatch, None, "--offline", "--format", "json") == 0
    (entry,) = (entry for entry in json.loads(capsys.readouterr().out) if entry["secret"] == "orders-db")
    assert (entry["authority"], entry["known"]) == ("vault", True) and "ho-1 (tombstone)" in entry["why"]


def test_a_cluster_that_does_not_answer_is_no_empty_cluster(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(fleet, monkeypatch, UNREACHABLE) == 1
    assert "does not answer" in capsys.readouterr().err


FILE = "clusters/dev/bootstrap/orders-db.yaml"
BUILT = at(Phase.CONSUMPTION, (EVENT,))


@pytest.mark.parametrize("verb", ["ledger", "tombstone"])
@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        (replace(BUILT, recorded_recipient="age1ofanothercluster"), "has the identity of age1ofanothercluster"),
        (replace(BUILT, recorded_recipient=None), "ConfigMap cluster-identity"),
        (replace(BUILT, since={}), "no record of a phase"),
        (replace(BUILT, since={}, trail=None), "no record of a phase"),
        (replace(BUILT, since={Phase.GITOPS: LATER, Phase.BOOTSTRAP: LATER}, trail=None), "has a Vault, but"),
        (replace(BUILT, strange_records=("ConfigMap x/y",)), "ConfigMap x/y is labelled"),
        (replace(BUILT, status=PublishedStatus(trail_problem="the trail lacks 3 events")), "the trail lacks 3 events"),
    ],
)
def test_a_cluster_that_contradicts_itself_or_git_gets_no_answer(
    fleet: Fleet,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    verb: str,
    cluster: ClusterState,
    words: str,
) -> None:
    assert run(fleet, monkeypatch, cluster, verb=verb) == 1
    said = capsys.readouterr()
    assert said.out == "" and words in said.err
    assert not tombstone_file(fleet.read()).exists()


def test_what_git_has_buried_is_in_the_trail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An old copy, validly signed, or one that another key has signed."""
    fleet = new_fleet(tmp_path)
    write_tombstones(fleet.read(), {"orders-db": Tombstone("orders-db", FILE, "ho-1", EVENT.at, "d")}, KEY)
    assert run(fleet, monkeypatch, BUILT) == 0
    capsys.readouterr()
    assert run(fleet, monkeypatch, at(Phase.CONSUMPTION, ())) == 1
    assert "lacks the handover ho-1 of orders-db" in capsys.readouterr().err
    forged = replace(BUILT, trail=PublishedTrail((EVENT,), "ed25519:forged"))
    assert run(fleet, monkeypatch, forged) == 1
    assert "is signed with ed25519:forged" in capsys.readouterr().err
    assert run(fleet, monkeypatch, ClusterState(True)) == 1
    assert "nothing of this program" in capsys.readouterr().err


def test_a_failing_secret_shows_why(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = PublishedStatus(failing={"orders-db": "Vault refused POST x (403): permission denied"})
    assert run(fleet, monkeypatch, replace(BUILT, status=failing)) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("orders-db "))
    assert line.endswith("FAILING: Vault refused POST x (403): permission denied")


def compared(fleet: Fleet, *notices: str) -> ClusterState:
    """The engine has compared the file that is checked out."""
    ciphertext = ciphertext_mark(fleet.repository, fleet.read().file_of("orders-db"))
    status = PublishedStatus("main@sha1:1", {"orders-db": ciphertext}, {"orders-db": notices})
    return replace(BUILT, status=status)


def test_a_tombstone_says_who_and_pins_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = new_fleet(tmp_path)
    assert run(fleet, monkeypatch, compared(fleet), verb="tombstone") == 0
    assert "1 tombstones" in capsys.readouterr().out
    (stone,) = read_tombstones(fleet.read()).values()
    assert (stone.secret, stone.file, stone.handover, stone.at) == ("orders-db", FILE, "ho-1", EVENT.at)
    assert stone.by == "Example <example@secret-authority.dev>"
    assert read_trail_key(fleet.read()) == KEY and changed_after_handover(fleet.read()) == []
    assert run(fleet, monkeypatch, compared(fleet), "orders-db", verb="tombstone") == 0


def change(fleet: Fleet) -> None:
    def other(document: dict[str, dict[str, str]]) -> None:
        field = "data" if "data" in document else "stringData"
        key = next(iter(document[field]))
        document[field][key] = document[field][key].replace("data:", "data:AAAA", 1)

    fleet.edit(FILE, other)


@pytest.mark.parametrize("case", ["Git says another value", "not committed", "not compared"])
def test_a_file_that_is_not_the_one_handed_over_gets_no_tombstone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    fleet = new_fleet(tmp_path)
    cluster = compared(fleet)
    match case:
        case "Git says another value":
            cluster, words = compared(fleet, Notice.GIT_CHANGED), "holds another value than the one of orders-db"
        case "not committed":
            change(fleet)
            words = "is not the file that the engine has compared"
        case _:
            cluster = replace(cluster, status=PublishedStatus("main@sha1:1"))
            words = "was not compared yet"
    assert run(fleet, monkeypatch, cluster, verb="tombstone") == 2
    assert words in capsys.readouterr().err and not tombstone_file(fleet.read()).exists()


def test_the_wrong_name_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = new_fleet(tmp_path)
    assert run(fleet, monkeypatch, compared(fleet), "orders-db", "nothing", verb="tombstone") == 2
    assert "is no bootstrap secret" in capsys.readouterr().err and not tombstone_file(fleet.read()).exists()
