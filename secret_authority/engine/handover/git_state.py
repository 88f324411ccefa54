"""What Git says, as the cluster has it: the catalogue and the digests of what its ciphertext decrypts to.

Read from the artifact that Flux fetched. Decrypted values are in memory only until they are digested.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from secret_authority.clients.flux_artifact import Artifact, ArtifactError, fetch
from secret_authority.clients.kubernetes import Api
from secret_authority.contract.engine_settings import GitPlaces
from secret_authority.core.catalogue.schema import Catalogue, SecretClass
from secret_authority.core.digest import value_digest
from secret_authority.core.errors import InvalidInputError, Problem, Unavailable
from secret_authority.core.handover.state_machine import InGit, Reason
from secret_authority.repository.bootstrap.encrypted_secrets import ciphertext_mark, read_encrypted
from secret_authority.repository.bootstrap.opened_secrets import open_secrets, values_of
from secret_authority.repository.catalogue.catalogue_file import read_good_entries

# When a revision is read again, in seconds: one that could not be had, and one whose catalogue is wrong.
AGAIN_SECONDS, WRONG_SECONDS = 10.0, 60.0


@dataclass(frozen=True)
class GitState:
    """One revision. `values` by secret; a secret without an encrypted file is not in it."""

    revision: str
    catalogue: Catalogue
    values: Mapping[str, InGit] = field(default_factory=dict)
    # Marks of the encrypted values, by secret: Git shows them anyway.
    ciphertexts: Mapping[str, str] = field(default_factory=dict)
    # Why files cannot be decrypted, or are not ones that Flux applies as they are, by secret. An entry of the catalogue
    # that is wrong is here and not in the catalogue.
    unreadable: Mapping[str, Problem] = field(default_factory=dict)
    # Why the present revision could not be read: what is here is that of an earlier one. Empty when it was.
    away: str = ""

    @property
    def wrong_entries(self) -> tuple[Problem, ...]:
        """What is wrong with entries of the catalogue that are left out of it."""
        known = {secret.name for secret in self.catalogue}
        return tuple(problem for name, problem in self.unreadable.items() if name not in known)

    def value_of(self, secret: str) -> InGit:
        """What is known of Git's value of a secret."""
        found = self.values.get(secret) or InGit(unknown=Reason.NOT_IN_GIT, detail=f"revision {self.revision}")
        return InGit(found.digest, Reason.GIT_AWAY, self.away) if self.away else found


# Reads a revision: artifact, places, key of the digests, text of the identity file.
Reading = Callable[[Artifact, GitPlaces, bytes, str], GitState]


@dataclass
class GitStateReader:
    """Reads each revision once for each identity. `identity` reads the cluster's age identity, `key` digests.

    `reading` does it: in a process of its own in the cluster (git_process.py), so that no artifact fills or ends the
    process that unseals Vault. A revision that is wrong is not read each second.
    """

    api: Api
    places: GitPlaces
    identity: Callable[[], str]
    reading: Reading
    _last: GitState | None = field(default=None, init=False)
    # Hash of the identity that read it: a new identity may open what the old one could not.
    _read_with: int = field(default=0, init=False)
    # What is wrong with a revision, with which identity, and until when that is believed.
    _wrong: tuple[tuple[str, int], float, InvalidInputError | ArtifactError] | None = field(default=None, init=False)

    def read(self, key: bytes) -> GitState:
        """The present revision; the last one read, marked as `away`, while the source cannot be read.

        Raises `Unavailable` when nothing was ever read, `InvalidInputError` for a catalogue that is wrong.
        """
        try:
            path = f"apis/source.toolkit.fluxcd.io/v1/namespaces/{self.places.namespace}/gitrepositories"
            artifact = Artifact.of(self.api.get(f"{path}/{self.places.source}") or {})
            if artifact is None:
                raise Unavailable("the Git source has fetched nothing yet")
            identity = self.identity()
            read_with = hash(identity)
            if self._last is None or self._last.revision != artifact.revision or self._read_with != read_with:
                self._last = self._read(artifact, key, identity, read_with)
                self._read_with = read_with
        except (ArtifactError, Unavailable) as error:
            if self._last is None:
                raise Unavailable(str(error)) from None
            return replace(self._last, away=str(error))
        return self._last

    def _read(self, artifact: Artifact, key: bytes, identity: str, read_with: int) -> GitState:
        this = (artifact.revision, read_with)
        if self._wrong is not None and self._wrong[0] == this and time.monotonic() < self._wrong[1]:
            raise self._wrong[2]
        try:
            return self.reading(artifact, self.places, key, identity)
        except (InvalidInputError, ArtifactError) as error:
            rest = AGAIN_SECONDS if isinstance(error, ArtifactError) else WRONG_SECONDS
            self._wrong = (this, time.monotonic() + rest, error)
            raise


def read_artifact(artifact: Artifact, places: GitPlaces, key: bytes, identity: str) -> GitState:
    """Fetch a revision and read it, in this process. Raises `ArtifactError`, and `InvalidInputError` for a catalogue
    that is wrong.
    """
    with tempfile.TemporaryDirectory() as folder:
        fetch(artifact, Path(folder), [places.catalogue, *places.bootstrap])
        return _read(Path(folder), places, artifact.revision, key, identity)


def _read(folder: Path, places: GitPlaces, revision: str, key: bytes, identity: str) -> GitState:
    catalogue, wrong = read_good_entries(folder, places.catalogue)
    encrypted = read_encrypted(folder, places.bootstrap, fetched=True)
    values: dict[str, InGit] = {}
    unreadable: dict[str, Problem] = dict(wrong)
    ciphertexts: dict[str, str] = {}
    files = {one.place: one for one in encrypted.found}
    identities = [line for line in identity.splitlines() if line and not line.startswith("#")]
    opened = open_secrets(folder, encrypted.found, identities)
    for secret in catalogue.of_class(SecretClass.BOOTSTRAP):
        assert secret.bootstrap is not None  # noqa: S101  the class has one
        found, problem = values_of(secret, encrypted, opened)
        if problem:
            unreadable[secret.name] = problem
            values[secret.name] = InGit(unknown=Reason.UNREADABLE, detail=str(problem))
            continue
        if found is None:
            continue
        file = files[secret.bootstrap.namespace, secret.bootstrap.secret]
        missing = sorted(set(secret.bootstrap.keys) - set(found))
        if missing:
            detail = f"{file.file}: {', '.join(missing)}"
            values[secret.name] = InGit(unknown=Reason.KEYS_NOT_IN_GIT, detail=detail)
            continue
        ciphertexts[secret.name] = ciphertext_mark(folder, file)
        wanted = {name: found[name] for name in secret.bootstrap.keys}
        values[secret.name] = InGit(value_digest(key, secret.name, str(secret.vault), wanted))
    return GitState(revision, catalogue, values, ciphertexts, unreadable)
