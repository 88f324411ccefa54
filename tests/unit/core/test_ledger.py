"""The ledger: one authority for each secret at each phase, with since and why."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secret_authority.core.catalogue.schema import SecretClass
from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.ledger.ledger import (
    ConsumptionFacts,
    Entry,
    Facts,
    GitFact,
    VaultRecord,
    ledger,
    summary,
    table,
    vault_records,
)
from secret_authority.core.phases import Authority, Phase
from tests.support.documents import BORN_IN_GIT, CATALOGUE, NAMES

PLACES = {secret.name: str(secret.vault) for secret in CATALOGUE}
CONFIG = [secret.name for secret in CATALOGUE.of_class(SecretClass.CONFIG)]
(ENDPOINT,) = CONFIG
EARLY, LATER = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)


def facts(phase: Phase, handed_over: set[str] = frozenset()) -> Facts:  # type: ignore[assignment]
    return Facts(
        phase,
        {Phase.GITOPS: LATER},
        {name: GitFact(f"{name}.yaml", EARLY) for name in BORN_IN_GIT},
        {name: VaultRecord("run-1", LATER, PLACES[name]) for name in handed_over},
    )


@pytest.mark.parametrize(
    ("phase", "wanted", "since"),
    [
        (Phase.ROOT_OF_TRUST, Authority.OFFLINE_ROOT, EARLY),
        (Phase.GITOPS, Authority.GIT, LATER),
        (Phase.BOOTSTRAP, Authority.GIT, LATER),
        (Phase.RUNTIME_AUTHORITY, Authority.GIT, LATER),
    ],
)
def test_a_secret_born_in_git_before_its_handover(phase: Phase, wanted: Authority, since: datetime) -> None:
    entry = ledger(CATALOGUE, facts(phase))[0]
    assert (entry.secret, entry.authority, entry.since) == ("orders-db", wanted, since)
    assert "orders-db.yaml" in entry.why


@pytest.mark.parametrize("phase", [Phase.ROOT_OF_TRUST, Phase.GITOPS, Phase.BOOTSTRAP, Phase.RUNTIME_AUTHORITY])
def test_a_secret_without_a_file_says_so(phase: Phase) -> None:
    entry = ledger(CATALOGUE, replace(facts(phase), git={}))[0]
    assert (entry.secret, entry.known) == ("orders-db", True)
    assert entry.why.endswith((" no file", ", no file"))


@given(st.sampled_from([Phase.RUNTIME_AUTHORITY, Phase.CONSUMPTION]), st.sets(st.sampled_from(NAMES)))
def test_authority_moves_secret_by_secret_with_its_record(phase: Phase, handed_over: set[str]) -> None:
    for entry in ledger(CATALOGUE, facts(phase, handed_over)):
        if entry.secret in handed_over:
            assert entry.authority is Authority.VAULT
            assert "run-1" in entry.why
        else:
            assert entry.authority is (Authority.GIT if entry.secret in BORN_IN_GIT else None)
            assert entry.known or entry.secret in CONFIG


def test_the_summary_counts_every_secret() -> None:
    reached = replace(facts(Phase.CONSUMPTION, {"orders-db", "session-key"}), consumption=ConsumptionFacts())
    counts = summary(ledger(CATALOGUE, replace(reached, config={name: GitFact("c.yaml") for name in CONFIG})))
    assert counts == {"git": 12 + len(CONFIG), "unborn": 2 - len(CONFIG), "vault": 2}


def one(facts: Facts, secret: str) -> Entry:
    return next(entry for entry in ledger(CATALOGUE, facts) if entry.secret == secret)


def test_the_place_is_that_of_the_record_and_not_of_the_catalogue() -> None:
    record = {"orders-db": VaultRecord("run-1", LATER, "platform-data/old/place")}
    entry = one(replace(facts(Phase.CONSUMPTION), vault=record), "orders-db")
    assert entry.why == (
        f"handed over to platform-data/old/place by run run-1; the catalogue names {PLACES['orders-db']}, "
        "which is not applied"
    )
    same = one(facts(Phase.CONSUMPTION, {"orders-db"}), "orders-db")
    assert same.why == f"handed over to {PLACES['orders-db']} by run run-1"


def test_two_transfers_of_one_secret_are_no_answer() -> None:
    def event(number: int, place: str, change: str = "authority git -> vault", result: str = "done") -> Event:
        at = f"2026-01-0{number}T00:00:00+00:00"
        return Event(at, "orders-db", change, "handover", f"run-{number}", result, f"ho-{number}", place, "")

    rotated, failed = event(3, "c", "value rotated"), event(4, "d", result="failed")
    records = vault_records([event(2, "b"), event(1, "a"), rotated, failed])
    assert records == {"orders-db": VaultRecord("run-1", datetime(2026, 1, 1, tzinfo=UTC), "a", ("b",))}
    entry = one(replace(facts(Phase.CONSUMPTION), vault=records), "orders-db")
    assert (entry.authority, entry.holder) == (None, "unknown") and "to a, b:" in entry.why


@pytest.mark.parametrize(
    ("known", "holder", "why"),
    [
        ({"config": {ENDPOINT: GitFact("config/endpoint.yaml", EARLY)}}, "git", "config/endpoint.yaml; copied to"),
        ({}, "unknown", "nothing published says"),
        ({"consumption": ConsumptionFacts()}, "unknown", "nothing published says"),
        ({"consumption": ConsumptionFacts({ENDPOINT: 2})}, "vault", "version 2"),
        ({"consumption": ConsumptionFacts({}, frozenset({ENDPOINT}))}, "unborn", "it is entered to"),
        ({"phase": Phase.RUNTIME_AUTHORITY}, "unborn", "it is entered to"),
        ({"asked": False}, "unknown", "not known without the cluster"),
        ({"asked": False, "config": {ENDPOINT: GitFact("c.yaml")}}, "git", "c.yaml; copied to"),
    ],
)
def test_configuration_is_where_it_is_decided(known: dict[str, Any], holder: str, why: str) -> None:
    entry = one(replace(facts(Phase.CONSUMPTION), **known), ENDPOINT)
    assert entry.holder == holder and why in entry.why
    assert entry.since == (EARLY if "config/endpoint.yaml" in why else None)


def test_a_secret_that_does_not_get_on_is_not_healthy() -> None:
    failing = replace(facts(Phase.CONSUMPTION, {"orders-db"}), failing={"orders-db": "Vault answered 403"})
    entry = one(failing, "orders-db")
    assert entry.failing == "Vault answered 403" and entry.as_dict()["failing"] == "Vault answered 403"
    (line,) = (line for line in table(ledger(CATALOGUE, failing)).splitlines() if line.startswith("orders-db "))
    assert line.endswith("by run run-1. FAILING: Vault answered 403")
    assert "FAILING" not in table(ledger(CATALOGUE, facts(Phase.CONSUMPTION)))


def test_without_the_cluster_only_tombstones_speak() -> None:
    git = {name: GitFact(f"{name}.yaml", EARLY) for name in BORN_IN_GIT}
    stones = {"orders-db": VaultRecord("ho-1 (tombstone)", LATER, PLACES["orders-db"])}
    offline = Facts(Phase.ROOT_OF_TRUST, git=git, vault=stones, asked=False)
    entries = {entry.secret: entry for entry in ledger(CATALOGUE, offline)}
    assert entries["orders-db"].authority is Authority.VAULT and entries["orders-db"].since == LATER
    rest = [entry for name, entry in entries.items() if name != "orders-db"]
    assert {(entry.holder, entry.phase, entry.since) for entry in rest} == {("unknown", None, None)}
    assert all("not known without the cluster" in entry.why for entry in rest)
    other = BORN_IN_GIT[1]
    assert f"{other}.yaml" in entries[other].why
    assert "missing" in one(replace(offline, git={}), other).why
    assert entries[other].as_dict()["phase"] is None
    assert not replace(offline, vault=None).trail_missing


def test_the_table_has_a_line_for_each_secret() -> None:
    lines = table(ledger(CATALOGUE, facts(Phase.BOOTSTRAP))).splitlines()
    assert len(lines) == len(NAMES) + 1
    assert "2026-02-01 00:00:00Z" in lines[1]
    assert "unborn" in lines[-1]


@pytest.mark.parametrize("reached", [Phase.RUNTIME_AUTHORITY, Phase.CONSUMPTION])
def test_without_the_audit_trail_nothing_is_claimed(reached: Phase) -> None:
    """Below phase 3 there is no Vault; from it on, what Vault holds is known from the trail alone."""
    git = {name: GitFact(f"{name}.yaml", EARLY) for name in BORN_IN_GIT}
    unknown = Facts(reached, {Phase.GITOPS: EARLY, reached: LATER}, git, vault_records(None))
    assert unknown.trail_missing
    entries = ledger(CATALOGUE, unknown)
    assert summary(entries) == {"unknown": len(NAMES)}
    said = {entry.why for entry in entries}
    assert said == {"the audit trail cannot be read: it is not known whether Vault holds it"}
    assert {(entry.authority, entry.since) for entry in entries} == {(None, None)}
    assert "unknown" in table(entries) and "git" not in table(entries)
    empty = Facts(reached, {Phase.GITOPS: EARLY, reached: LATER}, git, vault_records(()))
    assert not empty.trail_missing
    unborn = len(NAMES) - len(BORN_IN_GIT)
    unknown = {"unknown": 1, "unborn": unborn - 1} if reached is Phase.CONSUMPTION else {"unborn": unborn}
    assert summary(ledger(CATALOGUE, empty)) == {"git": len(BORN_IN_GIT), **unknown}


def test_a_preview_of_phase_3_claims_nothing_of_a_cluster_that_does_not_answer() -> None:
    assert Facts(Phase.RUNTIME_AUTHORITY).trail_missing
    assert not Facts(Phase.RUNTIME_AUTHORITY, {Phase.BOOTSTRAP: EARLY}).trail_missing, "it is at phase 2 yet"
    assert not Facts(Phase.BOOTSTRAP).trail_missing
