"""`secret-authority rotate` on a real node: a new value reaches its pods, and the four questions have answers."""

from __future__ import annotations

import base64
import subprocess
import sys
import time

import pytest

from tests.support.recorded_stack import RecordedStack
from toolchain.local_stack import CHECKOUT

pytestmark = pytest.mark.cluster

NAME = "session-key"


def command(stack: RecordedStack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`secret-authority`, as a person runs it."""
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments, f"--kubeconfig={stack.kubeconfig}"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def value(stack: RecordedStack) -> bytes:
    found = stack.objects.secret("shop", NAME)
    assert found is not None
    return base64.b64decode(found["data"]["SESSION_KEY"])


def test_a_generated_value_is_rotated_delivered_and_on_record(complete: RecordedStack) -> None:
    before, begun = value(complete), time.monotonic()
    done = command(complete, "rotate", NAME, "--why", "tried on a node")
    complete.measured.append(("rotate session-key, until every pod has it", time.monotonic() - begun))
    assert done.returncode == 0, done.stdout + done.stderr
    after = value(complete)
    assert after != before and before.decode() not in done.stdout and after.decode() not in done.stdout
    assert "accepted as ro-" in done.stdout and f"{NAME}: done" in done.stdout
    history = command(complete, "rotation", "history", NAME)
    assert "rotation (manual): tried on a node" in history.stdout and "done" in history.stdout, history.stderr
    status = command(complete, "rotation", "status", NAME)
    assert NAME in status.stdout and "idle" in status.stdout, status.stderr


def test_what_is_held_is_not_rotated(complete: RecordedStack) -> None:
    before = value(complete)
    assert command(complete, "rotation", "hold", NAME, "--why", "a test").returncode == 0
    refused = command(complete, "rotate", NAME, "--why", "not now")
    assert refused.returncode == 1 and "refused" in refused.stdout
    assert command(complete, "rotation", "resume", NAME, "--why", "a test").returncode == 0
    assert value(complete) == before
