"""Fetches what Flux fetched from Git, at one revision, from source-controller.

Upstream: fluxcd source API, GitRepository.status.artifact (url, revision, digest).
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

_TIMEOUT = (5.0, 30.0)  # seconds to connect, to read


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
    """The artifact could not be had, or is not what its digest says."""


def fetch(artifact: Artifact, into: Path) -> None:
    """Download, check the digest and unpack. Raises `ArtifactError`; safe to repeat."""
    try:
        answer = requests.get(artifact.url, timeout=_TIMEOUT)
        answer.raise_for_status()
    except requests.RequestException as error:
        raise ArtifactError(f"{artifact.url}: {type(error).__name__}") from None
    algorithm, _, wanted = artifact.digest.partition(":")
    if algorithm != "sha256" or hashlib.sha256(answer.content).hexdigest() != wanted:
        raise ArtifactError(f"{artifact.url}: the content does not have the digest {artifact.digest}")
    with tarfile.open(fileobj=io.BytesIO(answer.content), mode="r:gz") as archive:
        for member in archive:
            # Regular files below `into` only: no links, no devices, no way out.
            path = (into / member.name).resolve()
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None and path.is_relative_to(into.resolve()):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read())
