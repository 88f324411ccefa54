"""Fetches what Flux fetched from Git, at one revision, from source-controller.

Upstream: fluxcd source API, GitRepository.status.artifact (url, revision, digest).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import tarfile
import time
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

import requests

_TIMEOUT = (5.0, 30.0)  # seconds to connect, to read
# What is unpacked is in memory: the engine's /tmp is. The rest of the repository is read past, so its size costs time
# and no memory; a repository that would take very long is refused as well.
MOST_BYTES = 32 << 20
MOST_FILE_BYTES = 4 << 20
MOST_FILES = 10_000
MOST_ARCHIVE_BYTES = 4 << 30
MOST_SECONDS = 120.0


@dataclass(frozen=True)
class Artifact:
    """A fetched revision. `revision` is Flux's form, for example main@sha1:0123..."""

    revision: str
    url: str
    digest: str

    @classmethod
    def of(cls, repository: dict[str, Any]) -> Artifact | None:
        """The artifact of a GitRepository object; None while it has none."""
        found = repository.get("status", {}).get("artifact")
        return cls(found["revision"], found["url"], found["digest"]) if found else None


class ArtifactError(Exception):
    """The artifact could not be had, is not what its digest says, or is beyond a limit."""


def fetch(artifact: Artifact, into: Path, wanted: Collection[str]) -> None:
    """Download, unpack the `wanted` files and folders, and check the digest. `into` has to be empty.

    Nothing is left in `into` when it raises `ArtifactError`, so nothing unchecked is ever read. Links, devices and
    paths that lead out of `into` are passed over.
    """
    try:
        with requests.get(artifact.url, timeout=_TIMEOUT, stream=True) as answer:
            answer.raise_for_status()
            packed = _Digesting(answer.raw)
            with gzip.GzipFile(fileobj=cast(IO[bytes], io.BufferedReader(packed))) as plain:
                _unpack(_Limited(cast(IO[bytes], plain)), into, [PurePosixPath(path) for path in wanted])
            while packed.read(1 << 16):
                continue
        algorithm, _, digest = artifact.digest.partition(":")
        if algorithm != "sha256" or packed.digest != digest:
            raise ArtifactError(f"the content does not have the digest {artifact.digest}")
    except Exception as error:
        for path in into.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        match error:
            case ArtifactError():
                raise ArtifactError(f"{artifact.url}: {error}") from None
            case tarfile.TarError() | EOFError() | zlib.error() | gzip.BadGzipFile():
                raise ArtifactError(f"{artifact.url}: is not a compressed tar archive") from None
            case requests.RequestException() | OSError():
                raise ArtifactError(f"{artifact.url}: {type(error).__name__}") from None
        raise


def _unpack(archive: _Limited, into: Path, wanted: list[PurePosixPath]) -> None:
    files, left = 0, MOST_BYTES
    with tarfile.open(fileobj=cast(IO[bytes], archive), mode="r|") as tar:
        for member in tar:
            name = PurePosixPath(member.name)
            if not member.isfile() or name.is_absolute() or ".." in name.parts:
                continue
            if not any(name == path or path in name.parents for path in wanted):
                continue
            files, left = files + 1, left - member.size
            if member.size > MOST_FILE_BYTES:
                raise ArtifactError(f"{name} has {member.size} bytes; at most {MOST_FILE_BYTES} are read")
            if files > MOST_FILES:
                raise ArtifactError(f"there are more than {MOST_FILES} files in {', '.join(map(str, wanted))}")
            if left < 0:
                raise ArtifactError(f"{', '.join(map(str, wanted))} have more than {MOST_BYTES} bytes")
            content = tar.extractfile(member)
            if content is None:
                continue
            path = into / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.read())


class _Digesting(io.RawIOBase):
    """Passes bytes on and digests them, as they come over the wire."""

    def __init__(self, source: Any) -> None:
        self._source, self._sha256 = source, hashlib.sha256()

    @property
    def digest(self) -> str:
        return self._sha256.hexdigest()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._source.read(len(buffer))
        buffer[: len(data)] = data
        self._sha256.update(data)
        return len(data)


class _Limited:
    """What is read of an archive, with an end to how much and how long."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source, self._left, self._end = source, MOST_ARCHIVE_BYTES, time.monotonic() + MOST_SECONDS

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise ArtifactError(f"the repository has more than {MOST_ARCHIVE_BYTES} bytes")
        if time.monotonic() > self._end:
            raise ArtifactError(f"the repository cannot be read in {MOST_SECONDS:.0f} seconds")
        return data
