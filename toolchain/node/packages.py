"""Debian packages that the node needs: what is missing, and installing it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from toolchain.node.errors import NodeError
from toolchain.node.progress import Progress

LIST = Path(__file__).with_name("packages.txt")
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def wanted() -> dict[str, str]:
    """Package -> a program or file that shows it is there."""
    pairs = {}
    for line in LIST.read_text().splitlines():
        fields = line.split()
        if fields and not line.startswith("#"):
            pairs[fields[0]] = fields[1]
    return pairs


def missing() -> list[str]:
    """Packages whose program or file is not there."""
    return [package for package, probe in wanted().items() if not _present(probe)]


def _present(probe: str) -> bool:
    return Path(probe).exists() if probe.startswith("/") else shutil.which(probe, path=SEARCH_PATH) is not None


def ensure_debian_packages(progress: Progress) -> list[str]:
    """Install what is missing and return it. Raises NodeError when that is impossible."""
    packages = missing()
    if not packages:
        return []
    if shutil.which("apt-get") is None:
        raise NodeError(f"missing: {', '.join(packages)}; there is no apt-get, install them by hand")
    if os.geteuid() != 0:
        raise NodeError(f"missing: {', '.join(packages)}; run as root, or install these packages by hand")
    progress.say(f"installing {', '.join(packages)}")
    # RUNLEVEL=1 keeps a new package from starting its service: the node starts its own programs.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    if subprocess.run(install, env=environment, capture_output=True, check=False).returncode:
        subprocess.run(["apt-get", "update"], env=environment, capture_output=True, check=False)
        done = subprocess.run(install, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NodeError(f"apt-get install {' '.join(packages)}: {done.stderr.strip()[-800:]}")
    left = missing()
    if left:
        raise NodeError(f"installed, but still missing: {', '.join(left)}")
    return packages
