"""Fetches official releases and checks them against the checksums that are pinned in this repository.

`toolchain/releases.lock` has them, one line for each download, as sha256sum(1) writes it. `python3 -m toolchain
lock-releases` takes them from the checksum files of the publishers, once, for a person to compare and commit. What the
publisher says later counts no more, and a download without a pinned checksum is not used: the program is built.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterable
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from toolchain.errors import ToolchainError
from toolchain.programs.pins import HERE, Program, Release

LOCK = HERE / "releases.lock"
ARCHITECTURES = ("amd64", "arm64")
_SHA256 = re.compile(r"[0-9a-f]{64}")
PROBE_SECONDS = 4
FETCH_SECONDS = 120

unreachable: set[str] = set()  # hosts that did not answer in this run


def fetch(program: Program, work: Path) -> Path | None:
    """Fetch every file of the program's release.

    Gives the folder with the files, or None where the program has no release for this machine, none whose
    checksum is pinned, or the host cannot be reached. Raises ToolchainError when a checksum is wrong: that is
    never passed over.
    """
    if not program.release:
        return None
    pinned = read_lock()
    if any(url not in pinned for release in program.release for url, _, _ in _downloads(program, release)):
        return None
    ready = work / "release"
    ready.mkdir()
    for release in program.release:
        for url, _, name in _downloads(program, release):
            if not _answers(url):
                return None
            content = _read(url)
            _check(url, content, pinned[url])
            if release.members:
                for member in release.members:
                    _place(ready, Path(member).name, _extract(url, content, program.fill(member)))
            else:
                _place(ready, name, content)
    return ready


def lock_releases(programs: Iterable[Program]) -> int:
    """Pin the checksums that the publishers' checksum files have now; returns how many are pinned.

    A checksum that is pinned already does not change: a release is published once. Raises ToolchainError for one that
    does, for a file that does not name the download, and for a host that does not answer; nothing is written then.
    """
    lock, pinned = LOCK, read_lock()
    wanted: dict[str, str] = {}
    for program in programs:
        for release in program.release:
            for arch in ARCHITECTURES:
                for url, sums, _ in _downloads(program, release, arch):
                    wanted[url] = _published(url, _read(sums).decode())
                    if pinned.get(url, wanted[url]) != wanted[url]:
                        raise ToolchainError(
                            f"{url}: the publisher's checksum is {wanted[url]}, {lock.name} has {pinned[url]}: the "
                            "release was replaced. Find out why before you remove the line"
                        )
    pinned |= wanted
    fresh = lock.with_suffix(".new")
    fresh.write_text("".join(f"{pinned[url]}  {url}\n" for url in sorted(pinned)))
    fresh.replace(lock)
    return len(wanted)


def read_lock() -> dict[str, str]:
    """The pinned checksums by URL. Raises ToolchainError for a line that is none."""
    found: dict[str, str] = {}
    for number, line in enumerate(LOCK.read_text().splitlines() if LOCK.exists() else (), start=1):
        digest, _, url = line.partition("  ")
        if not _SHA256.fullmatch(digest) or not url or url in found:
            raise ToolchainError(f"{LOCK.name}:{number}: is not a checksum and a URL; restore the file from Git")
        found[url] = digest
    return found


def _downloads(program: Program, release: Release, arch: str = "") -> list[tuple[str, str, str]]:
    """URL, URL of its checksum file, and name of each download of a release."""
    names = program.called if "{name}" in release.url else (program.name,)
    return [(program.fill(release.url, name, arch), program.fill(release.sums, name, arch), name) for name in names]


def _published(url: str, sums: str) -> str:
    """The checksum in a publisher's file: a lone hash, or the line of the file in a list."""
    name = urlsplit(url).path.rsplit("/", 1)[-1]
    lines = [line.split() for line in sums.splitlines() if line.strip()]
    wanted = [words[0] for words in lines if words[-1].lstrip("*").rsplit("/", 1)[-1] == name]
    if not wanted and len(lines) == 1:
        wanted = [lines[0][0]]
    if len(set(wanted)) != 1 or not _SHA256.fullmatch(wanted[0].lower()):
        raise ToolchainError(f"{url}: the publisher's checksum file does not name it; the release cannot be pinned")
    return wanted[0].lower()


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


def _check(url: str, content: bytes, wanted: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != wanted:
        raise ToolchainError(f"{url}: checksum is {found}, {LOCK.name} says {wanted}; do not use this download")


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
