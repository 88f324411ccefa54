"""Waiting on conditions, and what a failure shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolchain.node.errors import NodeError
from toolchain.node.progress import LOG_LINES, Progress, tail


def test_wait_ends_when_nothing_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    answers = iter(["not yet", "not yet", None])
    Progress("unit").wait("a thing", lambda: next(answers), timeout=60)
    assert "a thing: ready after" in capsys.readouterr().err


def test_wait_names_what_is_missing_and_shows_the_log(tmp_path: Path) -> None:
    log = tmp_path / "part.log"
    log.write_text("".join(f"line {number}\n" for number in range(100)))
    with pytest.raises(NodeError) as failure:
        Progress("unit", quiet=True).wait("a thing", lambda: "the socket is closed", timeout=0.2, log=log)
    message = str(failure.value)
    assert "a thing: not there after 0 s: the socket is closed" in message
    assert "line 99" in message
    assert f"line {99 - LOG_LINES}\n" not in message


def test_a_hopeless_wait_ends_at_once() -> None:
    def missing() -> str | None:
        raise NodeError("it ended")

    with pytest.raises(NodeError, match="it ended"):
        Progress("unit", quiet=True).wait("a thing", missing, timeout=60)


def test_tail_of_no_log_is_empty(tmp_path: Path) -> None:
    assert tail(None) == ""
    assert tail(tmp_path / "absent.log") == ""
