"""A lost cluster does not silently come back with Git's older values."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secret_authority.core.phases import Phase
from secret_authority.core.restore.rebuild import WITHOUT, Ask, Await, Proceed, RebuildFacts, decide
from secret_authority.core.restore.report import Line, Outcome, Report

OLD, NEW = "dev/2026/11/20261126T180000Z-40-0badcafe", "dev/2026/11/20261127T180000Z-60-0badcafe"
LOST = Report((Line("payment-api", Outcome.ENTER, "it was entered into Vault alone"), Line("a", Outcome.SAME)))
NOTHING_LOST = Report((Line("a", Outcome.SAME),))
FIRST = RebuildFacts(Phase.BOOTSTRAP, "", "", False, (), LOST)


def asked(facts: RebuildFacts) -> Ask:
    found = decide(facts)
    assert isinstance(found, Ask)
    return found


def test_the_first_vault_of_a_cluster_is_built_without_a_question() -> None:
    assert decide(FIRST) == Proceed()
    assert decide(replace(FIRST, snapshots=None)) == Proceed(), "a store that was named for the future"


def test_a_store_with_snapshots_asks_for_a_decision() -> None:
    found = asked(replace(FIRST, snapshots=(OLD, NEW)))
    assert "2 snapshots" in found.message and f"restore {NEW}`" in found.fix and WITHOUT in found.fix


def test_evidence_in_git_asks_when_the_store_cannot_be_listed() -> None:
    found = asked(replace(FIRST, was_there=True, snapshots=None))
    assert "cannot be listed from here" in found.message and "snapshot list" in found.fix


def test_without_a_store_what_is_lost_is_said_before_anything_is_built() -> None:
    found = asked(replace(FIRST, was_there=True))
    assert "payment-api: enter again" in found.message and WITHOUT in found.fix
    assert decide(replace(FIRST, was_there=True, alone=NOTHING_LOST)) == Proceed()
    said = decide(replace(FIRST, was_there=True, wanted=WITHOUT))
    assert isinstance(said, Proceed) and "payment-api: enter again" in said.warning


def test_a_named_snapshot_is_awaited_until_it_is_restored() -> None:
    named = replace(FIRST, wanted=NEW, snapshots=(OLD, NEW), was_there=True)
    assert decide(named) == Await(NEW)
    assert decide(replace(named, restored=OLD)) == Await(NEW)
    assert decide(replace(named, restored=NEW)) == Proceed()
    assert decide(replace(named, restored=NEW, wanted="")) == Proceed()


@pytest.mark.parametrize("phase", [Phase.RUNTIME_AUTHORITY, Phase.CONSUMPTION])
def test_a_cluster_that_has_its_vault_is_never_asked(phase: Phase) -> None:
    for wanted in ("", NEW, WITHOUT):
        assert decide(replace(FIRST, reached=phase, wanted=wanted, was_there=True, snapshots=(NEW,))) == Proceed()


@given(
    st.builds(
        RebuildFacts,
        st.sampled_from([None, Phase.ROOT_OF_TRUST, Phase.GITOPS, Phase.BOOTSTRAP]),
        st.sampled_from(["", WITHOUT, OLD, NEW]),
        st.sampled_from(["", OLD, NEW]),
        st.just(True),
        st.sampled_from([None, (), (OLD,), (OLD, NEW)]),
        st.just(LOST),
    )
)
def test_nobody_loses_a_value_without_a_word(facts: RebuildFacts) -> None:
    """Where there was a Vault, an empty one is built only after somebody wrote `without-snapshot`."""
    if isinstance(decide(facts), Proceed):
        assert facts.wanted == WITHOUT or facts.restored
