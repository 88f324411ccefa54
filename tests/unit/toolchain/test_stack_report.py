"""The report of `make up`: how long each phase took."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from secret_authority.contract import names
from toolchain.local_stack import PHASE_LABEL, phase_seconds

BEGUN = datetime(2026, 1, 1, 12, 0, 0, 400_000, tzinfo=UTC)


def after(seconds: int) -> datetime:
    """An API server's time: whole seconds."""
    return BEGUN.replace(microsecond=0) + timedelta(seconds=seconds)


def test_each_phase_counts_from_the_one_before() -> None:
    spent = phase_seconds(BEGUN, {2: after(25), 1: after(10), 3: after(60)})
    assert list(spent) == ["  of that to phase 1", "  of that to phase 2", "  of that to phase 3"]
    assert [round(seconds) for seconds in spent.values()] == [10, 15, 35]


def test_phases_of_an_earlier_run_do_not_count() -> None:
    assert list(phase_seconds(BEGUN, {1: after(-60), 2: after(20)})) == ["  of that to phase 2"]
    assert phase_seconds(BEGUN, {}) == {}


def test_it_looks_for_the_programs_own_label() -> None:
    assert PHASE_LABEL == names.PHASE_LABEL
