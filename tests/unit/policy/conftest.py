"""What the tests of the policy pack share."""

from __future__ import annotations

import pytest

from policy.readers.git.helm import template


@pytest.fixture(autouse=True)
def no_helm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verdicts do not depend on whether the machine has helm; tests of charts bring one."""
    monkeypatch.setattr(template, "program", lambda: None)
