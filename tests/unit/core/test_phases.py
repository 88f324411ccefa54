"""Phases: who holds authority, and which moves are allowed."""

from __future__ import annotations

import pytest

from secret_authority.core.phases import Authority, Phase, PhaseRefusedError, check_transition, parse_phase


def test_authority_by_phase() -> None:
    wanted = [Authority.OFFLINE_ROOT, Authority.GIT, Authority.GIT, Authority.VAULT, Authority.VAULT]
    assert [phase.authority for phase in Phase] == wanted


@pytest.mark.parametrize("wanted", list(Phase))
def test_a_new_cluster_builds_every_phase_in_order(wanted: Phase) -> None:
    assert check_transition(None, wanted) == tuple(Phase)[: wanted + 1]


@pytest.mark.parametrize("phase", list(Phase))
def test_the_same_phase_again_builds_nothing(phase: Phase) -> None:
    assert check_transition(phase, phase) == ()


def test_a_jump_builds_what_lies_between() -> None:
    assert check_transition(Phase.GITOPS, Phase.CONSUMPTION) == (
        Phase.BOOTSTRAP,
        Phase.RUNTIME_AUTHORITY,
        Phase.CONSUMPTION,
    )


def test_authority_never_flows_up() -> None:
    with pytest.raises(PhaseRefusedError, match="from vault back to git") as refused:
        check_transition(Phase.RUNTIME_AUTHORITY, Phase.BOOTSTRAP)
    assert "docs/runbooks/rebuild.md" in str(refused.value)


def test_a_lower_phase_of_the_same_authority_is_refused_too() -> None:
    with pytest.raises(PhaseRefusedError, match="taken away"):
        check_transition(Phase.BOOTSTRAP, Phase.GITOPS)


@pytest.mark.parametrize("value", [5, -1, "x", None, True, 1.5])
def test_what_is_no_phase(value: object) -> None:
    with pytest.raises(PhaseRefusedError, match=r"0 \(root of trust\), 1 \(gitops\)"):
        parse_phase(value)


def test_phases_come_from_configuration_as_text() -> None:
    assert parse_phase("2") is Phase.BOOTSTRAP
