"""A Raft snapshot of Vault as bytes: taken from the active node, and checked without any key.

It is a gzipped tar of meta.json, state.bin, SHA256SUMS and SHA256SUMS.sealed (hashicorp/raft-snapshot; vault#15258 is a
snapshot without the last of them, taken through a standby). What is in state.bin is encrypted under Vault's own keys;
SHA256SUMS.sealed only Vault can check, with the unseal keys of the snapshot.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

_FILES = {"meta.json", "state.bin", "SHA256SUMS", "SHA256SUMS.sealed"}
_SMALL = 1 << 20  # bytes; meta.json and the sums are some hundred
_CHUNK = 1 << 20


class SnapshotError(Exception):
    """These bytes are no snapshot that could be restored."""


@dataclass(frozen=True)
class RaftFacts:
    """What meta.json says: Raft's index and term, and the ids of the nodes."""

    index: int
    term: int
    nodes: tuple[str, ...]


def check_snapshot(content: bytes) -> RaftFacts:
    """Check the sums inside a snapshot. Raises `SnapshotError` for a truncated, damaged or foreign file."""
    small: dict[str, bytes] = {}
    sums: dict[str, str] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                if file is None or member.name not in _FILES or member.name in sums:
                    raise SnapshotError("the snapshot holds something else than Vault puts into one")
                sums[member.name] = _digest(file, member, small)
        # The rest of the stream, whose checksum comes last.
        for _ in _chunks(io.BytesIO(content)):
            pass
    except (tarfile.TarError, OSError, EOFError, zlib.error):
        raise SnapshotError("the snapshot is truncated or damaged") from None
    if missing := sorted(_FILES - set(sums)):
        raise SnapshotError(f"the snapshot lacks {', '.join(missing)}: was it taken from the active node?")
    expected = _read_sums(small["SHA256SUMS"])
    if expected != {name: sums[name] for name in ("meta.json", "state.bin")}:
        raise SnapshotError("the sums inside the snapshot do not fit its content")
    return _read_meta(small["meta.json"])


def _chunks(raw: IO[bytes]) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=raw) as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _digest(file: IO[bytes], member: tarfile.TarInfo, small: dict[str, bytes]) -> str:
    if member.name != "state.bin":
        if member.size > _SMALL:
            raise SnapshotError(f"{member.name} of the snapshot is too large")
        small[member.name] = file.read()
        return hashlib.sha256(small[member.name]).hexdigest()
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _read_sums(text: bytes) -> dict[str, str]:
    pairs = [line.split() for line in text.decode(errors="replace").splitlines() if line.strip()]
    return {pair[1]: pair[0] for pair in pairs if len(pair) == 2}


def _read_meta(text: bytes) -> RaftFacts:
    try:
        meta = json.loads(text)
        nodes = tuple(str(server["ID"]) for server in meta["Configuration"]["Servers"])
        return RaftFacts(int(meta["Index"]), int(meta["Term"]), nodes)
    except (ValueError, KeyError, TypeError):
        raise SnapshotError("meta.json of the snapshot cannot be read") from None
