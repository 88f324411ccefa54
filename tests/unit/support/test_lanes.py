"""A lane runs all its commands and says how each ended."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator

import pytest

from tests.lanes import NOTHING, Lane
from tests.support.waiting import until


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_command_that_fails_does_not_hide_what_the_next_one_says(capsys: pytest.CaptureFixture[str]) -> None:
    lane = Lane("x", [python("print('== 1 failed =='); raise SystemExit(3)"), python("print('all is well')")])
    assert lane.end() == 3
    assert lane.closing == ["1 failed", "all is well"]
    assert "x| all is well" in capsys.readouterr().out


def test_a_selection_that_leaves_nothing_is_no_failure() -> None:
    assert Lane("x", [python(f"raise SystemExit({NOTHING})")]).end() == 0


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Ctrl-C ends processes, also where the tests run in the background, for which a shell has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
def test_after_a_stop_nothing_more_is_started_and_the_lane_has_not_passed() -> None:
    lane = Lane("x", [python("import signal; signal.pause()"), python("print('more')")])
    until(lambda: lane.running, "the first command runs")
    lane.stop(interrupt=True)
    assert lane.end() != 0 and "more" not in lane.closing
