"""Prometheus' programs, which try the alert rules: out of Debian's packages, without installing what comes with them.

apt checks a package against the signed index of the archive. The version is the one of the Debian release; any from
`OLDEST` on evaluates and sends alerts in the same way.
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

# The package of each program, and what it is called there.
PACKAGES = {
    "promtool": ("prometheus", "promtool"),
    "prometheus": ("prometheus", "prometheus"),
    "alertmanager": ("prometheus-alertmanager", "prometheus-alertmanager"),
}
OLDEST = {"promtool": (2, 42), "prometheus": (2, 42), "alertmanager": (0, 25)}
_VERSION = re.compile(r", version (\d+)\.(\d+)")


def promtool() -> Path:
    """Tests alert rules. Raises `ToolchainError`."""
    return program("promtool")


def alertmanager() -> list[str | Path]:
    """The command that runs it, without options. Raises `ToolchainError`.

    Debian's has its templates at a fixed place below /usr/share. One that is not installed sees the package's there.
    """
    found = program("alertmanager")
    share = found.parent / "share"
    if not share.exists():
        return [found]
    return ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /usr/share && exec "$@"', share, found]


def program(name: str) -> Path:
    """One of `PACKAGES`: of PATH, of the cache, or fetched now. Raises `ToolchainError`."""
    kept = root() / "prometheus" / name
    for known in (shutil.which(PACKAGES[name][1]), kept):
        if known is not None and version(Path(known)) >= OLDEST[name]:
            return Path(known)
    return _fetch(name, kept)


def version(program: Path) -> tuple[int, ...]:
    """Major and minor; (0,) for a file that is not there or is none."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return (0,)
    found = _VERSION.search(done.stdout + done.stderr)
    return (int(found[1]), int(found[2])) if found else (0,)


def _fetch(name: str, into: Path) -> Path:
    package, program = PACKAGES[name]
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        wanted = ".".join(map(str, OLDEST[name]))
        raise ToolchainError(f"{name} {wanted} or later is missing and there is no apt-get: put it on PATH")
    with tempfile.TemporaryDirectory() as folder:
        _download(package, Path(folder))
        (archive,) = Path(folder).glob(f"{package}_*.deb")
        subprocess.run(["dpkg-deb", "--extract", archive, folder], check=True)
        unpacked = Path(folder) / "usr" / "bin" / program
        if version(unpacked) < OLDEST[name]:
            raise ToolchainError(f"{archive.name} has no {name} that can be used: put a later one on PATH")
        into.parent.mkdir(parents=True, exist_ok=True)
        if name == "alertmanager":
            shutil.copytree(unpacked.parents[1] / "share", into.parent / "share", dirs_exist_ok=True)
        # Moved into its place in one step: another test run may look for it at this moment.
        part = into.with_name(f"{into.name}.{os.getpid()}")
        shutil.move(unpacked, part)
        part.replace(into)
    return into


def _download(package: str, folder: Path) -> None:
    # As the caller: the folder belongs to nobody else.
    command = ["apt-get", "-o", "APT::Sandbox::User=", "download", package]
    if subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0:
        return
    subprocess.run(["apt-get", "update"], capture_output=True, check=False)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolchainError(f"apt-get download {package}: {done.stderr.strip()[-400:]}")
