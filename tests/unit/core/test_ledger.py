"""The ledger: one authority for each secret at each phase, with since and why."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secret_authority.core.ledger.ledger import Facts, GitFact, VaultRecord, ledger, summary, table, vault_records
from secret_authority.core.phases import Authority, Phase
from tests.support.documents import BORN_IN_GIT, CATALOGUE, NAMES

EARLY, LATER = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)


def facts(phase: Phase, handed_over: set[str] = frozenset()) -> Facts:  # type: ignore[assignment]
    return Facts(
        phase,
        {Phase.GITOPS: LATER},
        {name: GitFact(f"{name}.yaml", EARLY) for name in BORN_IN_GIT},
        {name: VaultRecord("run-1", LATER) for name in handed_over},
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


@given(st.sampled_from([Phase.RUNTIME_AUTHORITY, Phase.CONSUMPTION]), st.sets(st.sampled_from(NAMES)))
def test_authority_moves_secret_by_secret_with_its_record(phase: Phase, handed_over: set[str]) -> None:
    for entry in ledger(CATALOGUE, facts(phase, handed_over)):
        if entry.secret in handed_over:
            assert entry.authority is Authority.VAULT
            assert "run-1" in entry.why
        else:
            assert entry.authority is (Authority.GIT if entry.secret in BORN_IN_GIT else None)


def test_the_summary_counts_every_secret() -> None:
    counts = summary(ledger(CATALOGUE, facts(Phase.CONSUMPTION, {"orders-db", "session-key"})))
    assert counts == {"git": 11, "unborn": 2, "vault": 2}


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
    assert {(entry.authority, entry.since) for entry in entries} == {(None, None)}
    assert "unknown" in table(entries) and "git" not in table(entries)
    empty = Facts(reached, {Phase.GITOPS: EARLY, reached: LATER}, git, vault_records(()))
    assert not empty.trail_missing
    assert summary(ledger(CATALOGUE, empty)) == {"git": len(BORN_IN_GIT), "unborn": len(NAMES) - len(BORN_IN_GIT)}


def test_a_preview_of_phase_3_claims_nothing_of_a_cluster_that_does_not_answer() -> None:
    assert Facts(Phase.RUNTIME_AUTHORITY).trail_missing
    assert not Facts(Phase.RUNTIME_AUTHORITY, {Phase.BOOTSTRAP: EARLY}).trail_missing, "it is at phase 2 yet"
    assert not Facts(Phase.BOOTSTRAP).trail_missing
