"""Commands that ask a cluster read a kubeconfig first; here it is one that leads nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command_line import NOWHERE


@pytest.fixture(autouse=True)
def kubeconfig(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path_factory.mktemp("kubeconfig") / "config"
    file.write_text(NOWHERE)
    monkeypatch.setenv("KUBECONFIG", str(file))
    return file
