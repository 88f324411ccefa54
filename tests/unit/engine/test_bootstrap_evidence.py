"""Evidence of layer 3, over real SOPS files and a cluster made of dicts."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from secret_authority.contract.evidence_task import EvidenceTask
from secret_authority.core.evidence import Evidence, EvidenceResult, Outcome
from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.ledger.published_trail import pieces
from secret_authority.core.phases import Phase
from secret_authority.engine.evidence import bootstrap
from secret_authority.engine.evidence.bootstrap import ClusterView, NotYetError, compare, gather
from secret_authority.repository.bootstrap.opened_secrets import open_all
from secret_authority.repository.intent.digest import intent_digest
from tests.fakes.vault import SIGNER
from tests.support.fleets import Fleet, new_fleet

CATALOGUE = "secret-authority/dev/catalogue.yaml"
FOLDERS = ("clusters/dev/bootstrap",)


class Cluster(ClusterView):
    """A cluster that holds what Git says, until a test changes it."""

    def __init__(self, fleet: Fleet) -> None:
        identity = fleet.identity().secret
        self.secrets: dict[tuple[str, str], dict[str, Any]] = {}
        self.published: Mapping[str, Mapping[str, str]] = {}
        for place, values in open_all(fleet.repository, FOLDERS, [identity]).items():
            labels = {"secret-authority.dev/class": "bootstrap"}
            self.secrets[place] = {"data": dict(values), "labels": labels, "annotations": {}}

    def source(self) -> dict[str, Any]:
        return {}

    def applied_revision(self) -> str:
        return ""

    def secret(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        return self.secrets.get((namespace, name))

    def trail(self) -> Mapping[str, Mapping[str, str]]:
        return self.published


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return new_fleet(tmp_path)


def task(fleet: Fleet) -> EvidenceTask:
    return EvidenceTask(
        "fleet", ("bootstrap-secrets",), CATALOGUE, FOLDERS, intent_digest(fleet.repository, CATALOGUE, FOLDERS), 0
    )


def outcome(fleet: Fleet, cluster: Cluster, secret: str = "orders-db") -> Outcome:
    findings = compare(fleet.repository, task(fleet), cluster, fleet.identity().secret)
    assert len(findings) == 13
    others = [f for f in findings if f.secret != secret]
    assert all(f.outcome is Outcome.MATCHES for f in others)
    return next(f.outcome for f in findings if f.secret == secret)


ORDERS = ("bootstrap-data", "orders-db")


def test_a_cluster_that_holds_what_git_says(fleet: Fleet) -> None:
    assert outcome(fleet, Cluster(fleet)) is Outcome.MATCHES


def test_binary_and_multi_line_values_are_compared_byte_by_byte(fleet: Fleet) -> None:
    cluster = Cluster(fleet)
    stored = cluster.secrets["bootstrap-edge", "edge-tls"]["data"]
    assert stored["tls.key"].count(b"\n") > 5
    stored["tls.key"] = stored["tls.key"].rstrip(b"\n")
    assert outcome(fleet, cluster, "edge-tls") is Outcome.VALUE_DIFFERS


def test_what_differs_is_named(fleet: Fleet) -> None:
    cluster = Cluster(fleet)
    secret = cluster.secrets[ORDERS]
    secret["data"]["password"] += b"x"
    assert outcome(fleet, cluster) is Outcome.VALUE_DIFFERS
    del secret["data"]["password"]
    assert outcome(fleet, cluster) is Outcome.KEYS_DIFFER
    secret["labels"] = {}
    assert outcome(fleet, cluster) is Outcome.UNLABELLED
    del cluster.secrets[ORDERS]
    assert outcome(fleet, cluster) is Outcome.NO_SECRET


def test_a_file_that_was_changed_without_sops_is_no_evidence(fleet: Fleet) -> None:
    cluster = Cluster(fleet)
    fleet.edit(f"{FOLDERS[0]}/orders-db.yaml", lambda doc: doc["metadata"].update(labels={"a": "b"}))
    assert outcome(fleet, cluster) is Outcome.UNREADABLE


def test_evidence_holds_no_value(fleet: Fleet) -> None:
    cluster = Cluster(fleet)
    findings = compare(fleet.repository, task(fleet), cluster, fleet.identity().secret)
    text = Evidence(Phase.BOOTSTRAP, "main@sha1:1", datetime.now(UTC), findings).to_json()
    for secret in cluster.secrets.values():
        for value in secret["data"].values():
            assert base64.b64encode(value).decode() not in text
            assert value.decode("latin-1") not in text


def test_a_source_that_fetched_nothing_is_said_at_the_deadline(fleet: Fleet) -> None:
    with pytest.raises(NotYetError, match="fetched nothing yet"):
        gather(task(fleet), Cluster(fleet), "", lambda _: None)


def test_evidence_comes_back_as_it_was() -> None:
    finding = EvidenceResult("orders-db", Outcome.VALUE_DIFFERS, "Secret a/b")
    evidence = Evidence(Phase.BOOTSTRAP, "main@sha1:1", datetime.now(UTC), (finding,))
    assert Evidence.from_json(evidence.to_json()) == evidence


@pytest.mark.parametrize(
    ("outcome", "names", "lacking"),
    [
        (Outcome.MATCHES, ["a"], []),
        (Outcome.HANDED_OVER, ["a"], []),
        (Outcome.MATCHES, ["a", "b"], ["b: not looked at"]),
        (Outcome.NO_SECRET, ["a"], ["a: no Secret in the cluster (Secret x/a)"]),
    ],
)
def test_the_gate_says_what_is_missing(outcome: Outcome, names: list[str], lacking: list[str]) -> None:
    evidence = Evidence(
        Phase.BOOTSTRAP, "r", datetime(2026, 1, 2, tzinfo=UTC), (EvidenceResult("a", outcome, "Secret x/a"),)
    )
    assert evidence.lacking(names) == lacking


HANDOVER = Event(
    "2026-01-01T00:00:00+00:00", "orders-db", "authority git -> vault", "handover", "run-1", "done", "ho-1", "p", ""
)


def consumed(cluster: Cluster, data: dict[str, bytes], handover: str = "ho-1") -> None:
    """The Secret carries the marks of a handover."""
    found = cluster.secrets[ORDERS]
    cluster.secrets[ORDERS] = {
        "data": data,
        "labels": {**found["labels"], "secret-authority.dev/state": "consumed"},
        "annotations": {"secret-authority.dev/handover-id": handover},
    }


def test_a_secret_that_was_handed_over_needs_no_value(fleet: Fleet) -> None:
    cluster = Cluster(fleet)
    consumed(cluster, {})
    cluster.published = pieces([HANDOVER], SIGNER)
    assert outcome(fleet, cluster) is Outcome.HANDED_OVER
    findings = compare(fleet.repository, task(fleet), cluster, fleet.identity().secret)
    assert Evidence(Phase.BOOTSTRAP, "main@sha1:1", datetime.now(UTC), findings).holds


@pytest.mark.parametrize(
    "trail",
    [
        {},
        pieces([], SIGNER),
        pieces([replace(HANDOVER, id="ho-2")], SIGNER),
        pieces([replace(HANDOVER, secret="mail")], SIGNER),
        pieces([replace(HANDOVER, result="failed")], SIGNER),
        {"audit-trail": {"events": HANDOVER.line(), "total": "1"}},
    ],
)
def test_a_label_alone_is_no_handover(fleet: Fleet, trail: dict[str, dict[str, str]]) -> None:
    cluster = Cluster(fleet)
    consumed(cluster, {})
    cluster.published = trail
    assert outcome(fleet, cluster) is Outcome.NOT_ON_RECORD
    findings = compare(fleet.repository, task(fleet), cluster, fleet.identity().secret)
    assert not Evidence(Phase.BOOTSTRAP, "main@sha1:1", datetime.now(UTC), findings).holds


def test_a_labelled_secret_with_another_value_is_compared(fleet: Fleet) -> None:
    """The label can be in Git's own manifest."""
    cluster = Cluster(fleet)
    data = cluster.secrets[ORDERS]["data"]
    cluster.published = pieces([HANDOVER], SIGNER)
    consumed(cluster, dict.fromkeys(data, b"not Git's value"))
    assert outcome(fleet, cluster) is Outcome.VALUE_DIFFERS
    consumed(cluster, {"anything": b"x"})
    assert outcome(fleet, cluster) is Outcome.KEYS_DIFFER


def test_a_record_that_is_not_published_yet_is_awaited(fleet: Fleet) -> None:
    cluster = Cluster(fleet)
    consumed(cluster, {})
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        cluster.published = pieces([HANDOVER], SIGNER)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap, "serve_copy", lambda _task, _view, folder: copied(fleet, folder))
        evidence = gather(replace(task(fleet), deadline_seconds=60), cluster, fleet.identity().secret, say)
    assert said == ["waiting for Secret bootstrap-data/orders-db"] and evidence.holds


def copied(fleet: Fleet, folder: Path) -> str:
    shutil.copytree(fleet.repository, folder, dirs_exist_ok=True)
    return "main@sha1:1"


def test_a_file_that_flux_cannot_apply_is_no_evidence_and_concerns_its_own_secret(fleet: Fleet) -> None:
    cluster = Cluster(fleet)
    head = "apiVersion: v1\nkind: Secret\nmetadata: {name: orders-db, namespace: bootstrap-data}\n"
    file = f"{FOLDERS[0]}/orders-db.yaml"
    fleet.encrypt(file, head + "data: {username: S3cr3tPlainText, password: YQ==}\n")
    assert outcome(fleet, cluster) is Outcome.NOT_APPLIED
    findings = compare(fleet.repository, task(fleet), cluster, fleet.identity().secret)
    (failed,) = (finding for finding in findings if finding.outcome is not Outcome.MATCHES)
    assert f"{file}: data.username: is not base64" in failed.where and "S3cr3t" not in str(failed)


def test_a_wrong_entry_of_the_catalogue_is_no_evidence_of_its_own_secret(fleet: Fleet) -> None:
    def change(document: Any) -> None:
        next(entry for entry in document["secrets"] if entry["name"] == "orders-db")["owner"] = ""

    cluster = Cluster(fleet)
    fleet.edit(CATALOGUE, change)
    findings = compare(fleet.repository, task(fleet), cluster, fleet.identity().secret)
    assert len(findings) == 12 and "orders-db" not in {finding.secret for finding in findings}
    assert all(finding.outcome is Outcome.MATCHES for finding in findings)
