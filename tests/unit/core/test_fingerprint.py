"""The demo workload's proof: keyed, equal for equal values, and nothing of the values in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from secret_authority.core.digest import keyed_digest

ROOT = Path(__file__).parents[3]
VALUES = {"DB_USER": "u5er-name", "DB_PASSWORD": "p4ss-w0rd"}


def mounted(home: Path, values: dict[str, str]) -> Path:
    """A folder as the kubelet lays it out: links to files of a version's folder."""
    folder = home / "orders-db"
    version = folder / "..2026_01_01"
    version.mkdir(parents=True)
    (folder / "..data").symlink_to(version.name)
    for name, value in values.items():
        (version / name).write_text(value)
        (folder / name).symlink_to(f"..data/{name}")
    return folder


def run(key: Path, *folders: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "secret_authority.engine",
        "fingerprint",
        "--once",
        f"--key={key}",
        *map(str, folders),
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_bytes(b"k" * 43)
    return file


def test_the_fingerprint_is_what_the_holder_of_key_and_values_computes(tmp_path: Path, key: Path) -> None:
    done = run(key, mounted(tmp_path, VALUES))
    wanted = keyed_digest(b"k" * 43, {name: value.encode() for name, value in VALUES.items()})
    assert (done.returncode, json.loads(done.stdout)) == (0, {"orders-db": wanted})
    assert not any(value in done.stdout + done.stderr for value in VALUES.values())


def test_another_value_has_another_fingerprint(tmp_path: Path, key: Path) -> None:
    folder = mounted(tmp_path, VALUES)
    first = run(key, folder).stdout
    (folder / "..data" / "DB_PASSWORD").write_text("rotated")
    assert run(key, folder).stdout != first


def test_a_secret_that_is_not_there_is_said(tmp_path: Path, key: Path) -> None:
    done = run(key, tmp_path / "away")
    assert done.returncode == 1 and "No such file" in done.stderr
