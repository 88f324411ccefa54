"""The virtual environment is made by the real venv and pip, from hashes alone, and only when the lock has changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolchain import venv
from toolchain.errors import ToolchainError


def test_virtual_environment_is_made_once(tmp_path: Path) -> None:
    lock, place = tmp_path / "requirements.lock", tmp_path / ".venv"
    lock.write_text("# nothing\n")
    venv.provide(lock, place)
    (place / "mine").write_text("kept while the lock is the same")
    venv.provide(lock, place)
    assert (place / "mine").exists()
    lock.write_text("# something else\n")
    venv.provide(lock, place)
    assert not (place / "mine").exists()


def test_package_without_a_hash_is_refused(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("pyyaml==6.0.2\n")
    with pytest.raises(ToolchainError, match="hash"):
        venv.provide(lock, tmp_path / ".venv")
    assert not (tmp_path / ".venv" / ".made-from").exists()
