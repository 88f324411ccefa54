"""The Git server's command on a machine where the node was never made."""

from __future__ import annotations

import sys

import pytest

from toolchain.gitserver.__main__ import main


def test_stopping_what_was_never_started_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["gitserver", "stop", "--name", "never-made"])
    assert main() == 0


def test_starting_without_a_node_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gitserver", "start", "--name", "never-made"])
    assert main() == 1
    assert "toolchain.node up" in capsys.readouterr().err
