"""What a restore means for each secret is said before it is done."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from secret_authority.core.catalogue.schema import Catalogue, parse_catalogue
from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.restore.report import Outcome, Report, Witnesses, of_snapshot, text, without_snapshot
from secret_authority.core.snapshots.manifest import Manifest, SavedSecret, SealFacts

TAKEN = datetime(2026, 11, 27, 18, 0, tzinfo=UTC)


def entry(name: str, kind: str, **more: Any) -> dict[str, Any]:
    born = {"bootstrap": {"namespace": "boot", "secret": name, "keys": ["password"]}} if kind == "bootstrap" else {}
    reads = {"consumers": [{"namespace": "shop", "secret": name, "keys": {"P": "password"}}]}
    vault = {"datasource": "data", "consumer": name}
    return {
        **{"name": name, "class": kind, "owner": "team", "vault": vault, "rotation": {"type": "static"}},
        **reads,
        **born,
        **more,
    }


def catalogue() -> Catalogue:
    rotated = {"rotation": {"type": "time-based", "ttl": "720h"}, "rotator": {"kind": "generated"}}
    secrets = [
        entry("plain", "bootstrap"),
        entry("rotated", "bootstrap", **rotated),
        entry("entered", "external"),
        entry("made", "internal"),
    ]
    return parse_catalogue(
        {
            "apiVersion": "secret-authority.dev/v1",
            "kind": "SecretCatalogue",
            "bootstrapNamespaces": ["boot"],
            "secrets": secrets,
        },
        "catalogue.yaml",
    )


def manifest(*names: str, at: datetime = TAKEN, version: int = 1) -> Manifest:
    saved = tuple(SavedSecret(f"platform-data/data/{name}", version, f"{version}-{name}", "sha256:0") for name in names)
    seal = SealFacts(5, 3, "sha256:0")
    return Manifest("dev", "id", at, 60, 3, "1.21.1", "vault-0", "sha256:0", 1, seal, (), saved)


def event(secret: str, change: str, at: datetime) -> Event:
    return Event(at.isoformat(timespec="milliseconds"), secret, change, "why", "run", "done", "id", "place", "")


ALL = ("plain", "rotated", "entered", "made")


def outcomes(report: Report) -> dict[str, Outcome]:
    return {line.secret: line.outcome for line in report.lines}


def test_nothing_is_lost_when_nothing_changed_after_the_snapshot() -> None:
    events = tuple(event(name, "value, generation 1", TAKEN - timedelta(seconds=1)) for name in ALL)
    report = of_snapshot(catalogue(), manifest(*ALL), Witnesses(events))
    assert set(outcomes(report).values()) == {Outcome.SAME} and not report.losses and not report.notes


def test_what_changed_after_the_snapshot_is_named_with_its_way_back() -> None:
    later = TAKEN + timedelta(minutes=4)
    events = tuple(event(name, "value, generation 2", later) for name in ALL)
    report = of_snapshot(catalogue(), manifest(*ALL), Witnesses(events))
    assert outcomes(report) == {
        "plain": Outcome.LOST,
        "rotated": Outcome.OLDER,
        "entered": Outcome.ENTER,
        "made": Outcome.LOST,
    }
    assert f"value, generation 2 at {later.isoformat(timespec='milliseconds')}" in "\n".join(text(report))


def test_a_newer_bundle_is_a_witness_too() -> None:
    newer = manifest(*ALL, at=TAKEN + timedelta(hours=1), version=2)
    same = manifest("plain", "rotated", "made", at=TAKEN + timedelta(hours=2))
    assert len(of_snapshot(catalogue(), manifest(*ALL), Witnesses(None, (newer,))).losses) == 4
    assert not of_snapshot(catalogue(), manifest(*ALL), Witnesses(None, (same,))).losses


def test_what_the_snapshot_lacks_says_where_its_value_comes_from() -> None:
    report = of_snapshot(catalogue(), manifest("plain"), Witnesses(()))
    assert outcomes(report) == {
        "plain": Outcome.SAME,
        "rotated": Outcome.FROM_GIT,
        "entered": Outcome.ENTER,
        "made": Outcome.MINTED,
    }


def test_without_any_witness_the_report_does_not_promise_that_nothing_is_lost() -> None:
    report = of_snapshot(catalogue(), manifest(*ALL), Witnesses())
    assert "nothing outside of Vault says what changed" in report.notes[0] and report.notes[0] in text(report)[-1]


def test_a_path_that_no_entry_names_is_reported() -> None:
    assert of_snapshot(catalogue(), manifest(*ALL, "gone"), Witnesses(())).strangers == ("platform-data/data/gone",)


def test_a_rebuild_from_git_alone_names_what_it_cannot_give_back() -> None:
    assert outcomes(without_snapshot(catalogue(), ALL)) == {
        "plain": Outcome.SAME,
        "rotated": Outcome.FROM_GIT,
        "entered": Outcome.ENTER,
        "made": Outcome.MINTED,
    }
    entered = event("plain", "value replaced, version 2", TAKEN)
    assert outcomes(without_snapshot(catalogue(), ALL, [entered]))["plain"] is Outcome.FROM_GIT


@given(
    st.sets(st.sampled_from(ALL)),
    st.dictionaries(st.sampled_from(ALL), st.integers(-1000, 1000).filter(bool), max_size=4),
)
def test_same_is_said_only_of_what_is_in_the_snapshot_and_was_not_changed_later(
    saved: set[str], changed: dict[str, int]
) -> None:
    events = tuple(event(name, "value", TAKEN + timedelta(seconds=by)) for name, by in changed.items())
    report = of_snapshot(catalogue(), manifest(*saved), Witnesses(events))
    assert [line.secret for line in report.lines] == list(ALL)
    for line in report.lines:
        whole = line.secret in saved and changed.get(line.secret, -1) < 0
        assert (line.outcome is Outcome.SAME) == whole


def test_an_event_without_a_readable_time_counts_as_newer() -> None:
    strange = replace(event("plain", "value", TAKEN), at="yesterday")
    assert of_snapshot(catalogue(), manifest(*ALL), Witnesses((strange,))).losses
