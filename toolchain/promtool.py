"""promtool, which tests alert rules: out of Debian's package, without installing the server that comes with it.

apt checks the package against the signed index of the archive. The version is the one of the Debian release; any from
`OLDEST` on evaluates the rules in the same way.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from toolchain.errors import ToolchainError
from toolchain.programs.cache import root

PACKAGE = "prometheus"
OLDEST = (2, 42)
_VERSION = re.compile(r"promtool, version (\d+)\.(\d+)")


def promtool() -> Path:
    """The program: of PATH, of the cache, or fetched now. Raises `ToolchainError`."""
    for known in (shutil.which("promtool"), root() / "promtool" / "promtool"):
        if known is not None and version(Path(known)) >= OLDEST:
            return Path(known)
    return _fetch(root() / "promtool" / "promtool")


def version(program: Path) -> tuple[int, ...]:
    """Major and minor; (0,) for a file that is not there or is none."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return (0,)
    found = _VERSION.search(done.stdout + done.stderr)
    return (int(found[1]), int(found[2])) if found else (0,)


def _fetch(into: Path) -> Path:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        wanted = ".".join(map(str, OLDEST))
        raise ToolchainError(f"promtool {wanted} or later is missing and there is no apt-get: put it on PATH")
    with tempfile.TemporaryDirectory() as folder:
        _download(Path(folder))
        (package,) = Path(folder).glob(f"{PACKAGE}_*.deb")
        subprocess.run(["dpkg-deb", "--extract", package, folder], check=True)
        unpacked = Path(folder) / "usr" / "bin" / "promtool"
        if version(unpacked) < OLDEST:
            raise ToolchainError(f"{package.name} has no promtool that can be used: put a later one on PATH")
        into.parent.mkdir(parents=True, exist_ok=True)
        # Moved into its place in one step: another test run may look for it at this moment.
        part = into.with_name(f"{into.name}.{os.getpid()}")
        shutil.move(unpacked, part)
        part.replace(into)
    return into


def _download(folder: Path) -> None:
    # As the caller: the folder belongs to nobody else.
    command = ["apt-get", "-o", "APT::Sandbox::User=", "download", PACKAGE]
    if subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0:
        return
    subprocess.run(["apt-get", "update"], capture_output=True, check=False)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolchainError(f"apt-get download {PACKAGE}: {done.stderr.strip()[-400:]}")
