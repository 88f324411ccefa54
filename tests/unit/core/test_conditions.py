"""What a reader may believe of a condition, and for how long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from secret_authority.core.conditions import STALE_SECONDS, Condition, read_conditions

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("status", [True, False])
def test_a_condition_is_known_for_a_while_and_then_unknown(status: bool) -> None:
    condition = Condition(status, "", "", NOW.isoformat())
    assert condition.known(NOW) is status
    assert condition.known(NOW + timedelta(seconds=STALE_SECONDS)) is status
    assert condition.known(NOW + timedelta(seconds=STALE_SECONDS + 1)) is None


def test_a_time_that_has_not_come_yet_says_nothing() -> None:
    """A clock that is far ahead, or somebody who wants to be believed for long."""
    ahead = Condition(True, "", "", (NOW + timedelta(seconds=STALE_SECONDS)).isoformat())
    assert ahead.known(NOW) is True and ahead.known(NOW - timedelta(seconds=1)) is None


@pytest.mark.parametrize("when", ["", "yesterday", "2026-01-01T00:00:00"])
def test_without_a_time_that_can_be_read_it_is_unknown(when: str) -> None:
    assert Condition(True, "", "", when).known(NOW) is None


@pytest.mark.parametrize("text", ["[]", "3", '{"A": 1}', "no JSON"])
def test_what_is_no_mapping_of_conditions_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_conditions(text)


def test_what_is_published_is_read() -> None:
    assert read_conditions("") == {}
    (found,) = read_conditions('{"A": {"status": true, "message": "m", "since": "s", "observedAt": "o"}}').values()
    assert found == Condition(True, "m", "s", "o")
    assert read_conditions('{"A": {"status": "yes"}}')["A"].status is False
