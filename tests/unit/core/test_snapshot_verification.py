"""What is known from verifications: which snapshot is proved, for how long, and what is not believed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from secret_authority.core.snapshots.naming import BundleName
from secret_authority.core.snapshots.retention import not_needed
from secret_authority.core.snapshots.verification import VERIFIED_AT_MOST, Report, Verification, Verifications

START = datetime(2026, 11, 27, tzinfo=UTC)


def bundle(hour: float) -> BundleName:
    return BundleName("dev", START + timedelta(hours=hour), 1, "0123abcd")


def done(of: float, at: float, problem: str = "") -> Verification:
    """A verification of the bundle of one hour, ended at another."""
    return Verification(Report(bundle(of).folder, problem, 3, 1.5), START + timedelta(hours=at))


def after(*given: Verification) -> Verifications:
    state = Verifications()
    for one in given:
        state = state.and_then(one)
    return state


def test_a_verified_snapshot_is_good_until_it_is_too_old() -> None:
    state = after(done(0, 6))
    assert state.problem(START + VERIFIED_AT_MOST) == ""
    late = state.problem(START + VERIFIED_AT_MOST + timedelta(seconds=1))
    assert late == "the newest verified snapshot is 32 hours old"
    # How old it is counts, not when it was looked at last.
    assert after(done(0, 6), done(0, 33)).problem(START + timedelta(hours=33)) != ""


def test_nothing_is_proved_without_a_verification() -> None:
    assert Verifications().problem(START) == "no snapshot is verified yet"


def test_a_failure_is_a_problem_and_the_good_one_stays_known() -> None:
    state = after(done(0, 1), done(2, 3, "it is damaged"))
    assert state.problem(START) == f"{bundle(2).folder}: it is damaged"
    assert state.verified == done(0, 1)
    assert after(done(0, 1), done(2, 3, "it is damaged"), done(4, 5)).problem(START + timedelta(hours=5)) == ""


def test_an_older_report_changes_nothing_and_an_older_bundle_is_not_the_newest() -> None:
    state = after(done(2, 3))
    assert state.and_then(done(2, 3, "late")) == state == state.and_then(done(4, 2))
    assert after(done(2, 3), done(0, 4)).verified == done(2, 3)


def test_what_is_known_goes_there_and_back() -> None:
    for state in (Verifications(), after(done(0, 1)), after(done(0, 1), done(2, 3, "damaged"))):
        assert Verifications.from_json(state.to_json(), "dev") == state
    assert Verifications.from_json("", "dev") == Verifications()


@pytest.mark.parametrize(
    "text",
    ["x", "[]", "{}", "null", '{"snapshot": "", "problem": "", "paths": 0, "seconds": 0}']
    + [json.dumps({"snapshot": name, "problem": "", "paths": 1, "seconds": 1}) for name in ("a", bundle(0).folder)],
)
def test_a_report_that_is_none_or_of_another_cluster_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Report.from_json(text, "prod")


def test_a_failed_verification_is_never_the_verified_one() -> None:
    bad = done(0, 1, "damaged")
    fields = {"verified": {"at": bad.at.isoformat(), "report": bad.report.to_json()}}
    with pytest.raises(ValueError, match="failed"):
        Verifications.from_json(json.dumps(fields), "dev")


def test_a_report_fits_into_a_termination_message() -> None:
    text = Report(bundle(0).folder, "x" * 10_000).to_json()
    assert len(text) < 4000 and Report.from_json(text, "dev").problem


def test_retention_keeps_the_newest_verified_whatever_else_was_verified() -> None:
    """Also when an older one was verified by hand: nothing from it on is deleted."""
    every = [bundle(hour / 4) for hour in range(1000)]
    for proved in (every[600], every[999]):
        gone = not_needed(every, [proved])
        assert gone and proved not in gone and max(gone) < proved
    assert every[600] not in not_needed(every, [every[10], every[600]])
