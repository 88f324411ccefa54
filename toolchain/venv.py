"""Makes the virtual environment from requirements.lock; every package is checked against its hash."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from toolchain.errors import ToolchainError
from toolchain.programs.pins import CHECKOUT

# The environment's interpreter. It has pip, which the system's Python may lack (Debian splits it off).
PYTHON = CHECKOUT / ".venv/bin/python"


def provide(lock: Path = CHECKOUT / "requirements.lock", venv: Path = CHECKOUT / ".venv") -> None:
    """Make the environment, or do nothing when it was made from this lock by this Python.

    Raises ToolchainError when pip fails; the environment then counts as not made.
    """
    if not lock.is_file():
        raise ToolchainError(f"{lock} is missing; check out the whole repository")
    stamp = venv / ".made-from"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest() + " " + sys.version.split()[0]
    if stamp.is_file() and stamp.read_text() == wanted and (venv / "bin" / "python").exists():
        return
    print("making the Python environment .venv", file=sys.stderr)
    if venv.is_dir():
        shutil.rmtree(venv)
    _run([sys.executable, "-m", "venv", str(venv)])
    pip = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    _run([*pip, "--require-hashes", "--no-deps", "--requirement", str(lock)])
    _run([str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "check"])
    if (lock.parent / "pyproject.toml").is_file():
        # The project itself, as it lies here, with its command `secret-authority`.
        _run([*pip, "--no-deps", "--no-build-isolation", "--editable", str(lock.parent)])
    stamp.write_text(wanted)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        end = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise ToolchainError(f"{' '.join(command)} failed:\n{end}")
