"""Waiting for conditions: what is awaited is named when it does not come, and each has its own time."""

from __future__ import annotations

import pytest

from tests.support.waiting import until, until_all


def test_what_did_not_come_is_named() -> None:
    with pytest.raises(AssertionError, match="not within 0 s: the moon"):
        until(lambda: False, "the moon", 0)
    with pytest.raises(AssertionError, match=r"not within 0 s: the moon$"):
        until_all({"the sun": lambda: True, "the moon": lambda: False}, 0)


def test_a_condition_that_held_once_is_not_asked_again() -> None:
    """Several are awaited at once; that the first has ended meanwhile does not matter."""
    early, late = iter([True]), iter([False, False, True])
    held = until_all({"early": lambda: next(early), "late": lambda: next(late)}, 10)
    assert held["early"] < held["late"]
