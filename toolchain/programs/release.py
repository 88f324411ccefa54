"""Fetches official releases and checks them against the checksums that the release publishes."""

from __future__ import annotations

import hashlib
import io
import tarfile
import urllib.error
import urllib.request
import zipfile
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from toolchain.errors import ToolchainError
from toolchain.programs.pins import Program

PROBE_SECONDS = 4
FETCH_SECONDS = 120

unreachable: set[str] = set()  # hosts that did not answer in this run


def fetch(program: Program, work: Path) -> Path | None:
    """Fetch every file of the program's release.

    Gives the folder with the files, or None where the program has no release for this machine or the
    host cannot be reached. Raises ToolchainError when a checksum is wrong: that is never passed over.
    """
    if not program.release:
        return None
    ready = work / "release"
    ready.mkdir()
    for release in program.release:
        for name in program.called if "{name}" in release.url else (program.name,):
            url, sums = program.fill(release.url, name), program.fill(release.sums, name)
            if not _answers(url):
                return None
            content = _read(url)
            _check(url, content, _read(sums).decode())
            if release.members:
                for member in release.members:
                    _place(ready, Path(member).name, _extract(url, content, program.fill(member)))
            else:
                _place(ready, name, content)
    return ready


def _place(ready: Path, name: str, content: bytes) -> None:
    (ready / name).write_bytes(content)
    (ready / name).chmod(0o755)


def _answers(url: str) -> bool:
    """Whether the release can be fetched; a host that does not answer is asked once in a run."""
    host = urlsplit(url).netloc
    if host in unreachable:
        return False
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PROBE_SECONDS):  # noqa: S310
            return True
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != HTTPStatus.NOT_FOUND:
            unreachable.add(host)
    except OSError:
        unreachable.add(host)
    return False


def _read(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=FETCH_SECONDS) as answer:  # noqa: S310
            content: bytes = answer.read()
            return content
    except OSError as error:
        raise ToolchainError(f"{url}: {error}; try again, or take the host off the network to build") from error


def _check(url: str, content: bytes, sums: str) -> None:
    """Compare with the published sum: a lone hash, or the line of the file in a list."""
    name = urlsplit(url).path.rsplit("/", 1)[-1]
    lines = [line.split() for line in sums.splitlines() if line.strip()]
    wanted = [words[0] for words in lines if words[-1].lstrip("*").rsplit("/", 1)[-1] == name]
    if not wanted and len(lines) == 1:
        wanted = [lines[0][0]]
    if not wanted:
        raise ToolchainError(f"{url}: the release's checksum file does not name it; the release cannot be trusted")
    found = hashlib.sha256(content).hexdigest()
    if found != wanted[0].lower():
        raise ToolchainError(f"{url}: checksum is {found}, the release says {wanted[0]}; do not use this download")


def _extract(url: str, content: bytes, member: str) -> bytes:
    """One file of an archive, in memory: no path of the archive reaches the disk."""
    try:
        if url.endswith(".zip"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                return archive.read(member)
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            for entry in tar:
                if entry.isfile() and entry.name.removeprefix("./") == member:
                    file = tar.extractfile(entry)
                    assert file is not None  # noqa: S101 - isfile() says so
                    return file.read()
    except KeyError:
        pass
    raise ToolchainError(f"{url}: the archive has no file {member}; correct `members` in toolchain/pins.toml")
