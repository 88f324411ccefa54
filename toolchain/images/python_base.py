"""A base image with Python 3.11 of Debian bookworm, for machines without a container registry.

The packages come from the Debian archive, signatures checked by apt. Programs and files that only serve
package management, documentation and character sets are left out: there is no shell in the image.
"""

from __future__ import annotations

import fnmatch
import hashlib
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from toolchain.images.storage import Storage
from toolchain.node.errors import NodeError
from toolchain.node.progress import Progress

SUITE = "bookworm"
PACKAGES = ("base-files", "netbase", "python3-minimal", "python3.11-minimal", "libpython3.11-stdlib")
LEFT_OUT = (
    "bin/*",
    "sbin/*",
    "usr/sbin/*",
    "usr/bin/dpkg*",
    "usr/bin/mawk",
    "usr/bin/p[dy][!t]*",
    "usr/bin/update-alternatives",
    "usr/lib/dpkg/*",
    "usr/lib/x86_64-linux-gnu/gconv/*",
    "usr/lib/x86_64-linux-gnu/perl-base/*",
    "usr/lib/python3.11/pydoc_data/*",
    "usr/lib/python3.11/test/*",
    "usr/share/doc/*",
    "usr/share/dpkg/*",
    "usr/share/lintian/*",
    "usr/share/locale/*",
    "usr/share/man/*",
    "usr/share/perl5/*",
    "var/cache/*",
    "var/lib/apt/*",
    "var/lib/dpkg/*",
)
# Nobody's files: every file of the image belongs to root and carries one time.
RECIPE = "1"


def reference() -> str:
    """Name of the base image; it changes with the recipe."""
    facts = "\n".join([RECIPE, SUITE, *PACKAGES, *LEFT_OUT])
    return f"localhost/secret-authority/python:3.11-{hashlib.sha256(facts.encode()).hexdigest()[:12]}"


def ensure(storage: Storage, progress: Progress) -> str:
    """Make the base image unless it is there; return its name."""
    name = reference()
    if storage.has(name):
        return name
    progress.say("making the Python base image from Debian packages")
    with tempfile.TemporaryDirectory(dir=storage.folder) as scratch:
        context = Path(scratch)
        extract(PACKAGES, context / "full.tar")
        slim(context / "full.tar", context / "base.tar")
        (context / "full.tar").unlink()
        (context / "Containerfile").write_text("FROM scratch\nADD base.tar /\n")
        storage.build(context, context / "Containerfile", name, {})
    return name


def extract(packages: Sequence[str], target: Path) -> None:
    """Write the files of Debian packages, and of what they depend on, as an archive. Raises NodeError."""
    command = ["mmdebstrap", "--mode=root", "--variant=extract", f"--include={','.join(packages)}"]
    done = subprocess.run([*command, SUITE, str(target)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NodeError(f"Debian packages {', '.join(packages)}: mmdebstrap failed: {done.stderr.strip()[-800:]}")


def slim(source: Path, target: Path) -> None:
    with tarfile.open(source) as old, tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as new:
        for entry in old:
            path = entry.name.removeprefix("./")
            # Devices and foreign owners have no place in the image.
            if any(fnmatch.fnmatchcase(path, pattern) for pattern in LEFT_OUT) or entry.isdev():
                continue
            entry.mtime, entry.pax_headers = 0, {}
            new.addfile(entry, old.extractfile(entry) if entry.isreg() else None)
