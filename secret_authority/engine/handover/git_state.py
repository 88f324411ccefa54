"""What Git says, as the cluster has it: the catalogue and the digests of what its ciphertext decrypts to.

Read from the artifact that Flux fetched. Decrypted values are in memory only until they are digested.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from secret_authority.clients.flux_artifact import Artifact, ArtifactError, fetch
from secret_authority.clients.kubernetes import Api
from secret_authority.contract.engine_settings import GitPlaces
from secret_authority.core.catalogue.schema import Catalogue, SecretClass
from secret_authority.core.digest import value_digest
from secret_authority.core.errors import Problem, Unavailable
from secret_authority.core.handover.state_machine import InGit, Reason
from secret_authority.repository.catalogue_file import read_catalogue
from secret_authority.repository.encrypted_secrets import (
    ciphertext_mark,
    open_secrets,
    read_encrypted,
    values_of,
)


@dataclass(frozen=True)
class GitState:
    """One revision. `values` by secret; a secret without an encrypted file is not in it."""

    revision: str
    catalogue: Catalogue
    values: Mapping[str, InGit] = field(default_factory=dict)
    # Marks of the encrypted values, by secret: Git shows them anyway.
    ciphertexts: Mapping[str, str] = field(default_factory=dict)
    # Why files cannot be decrypted, or are not ones that Flux applies as they are, by secret.
    unreadable: Mapping[str, Problem] = field(default_factory=dict)
    # Why the present revision could not be read: what is here is that of an earlier one. Empty when it was.
    away: str = ""

    def value_of(self, secret: str) -> InGit:
        """What is known of Git's value of a secret."""
        found = self.values.get(secret) or InGit(unknown=Reason.NOT_IN_GIT, detail=f"revision {self.revision}")
        return InGit(found.digest, Reason.GIT_AWAY, self.away) if self.away else found


@dataclass
class GitStateReader:
    """Reads each revision once for each identity. `identity` reads the cluster's age identity, `key` digests."""

    api: Api
    places: GitPlaces
    identity: Callable[[], str]
    _last: GitState | None = field(default=None, init=False)
    # Hash of the identity that read it: a new identity may open what the old one could not.
    _read_with: int = field(default=0, init=False)

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
                with tempfile.TemporaryDirectory() as folder:
                    fetch(artifact, Path(folder), [self.places.catalogue, *self.places.bootstrap])
                    self._last = self._read(Path(folder), artifact.revision, key, identity)
                self._read_with = read_with
        except (ArtifactError, Unavailable) as error:
            if self._last is None:
                raise Unavailable(str(error)) from None
            return replace(self._last, away=str(error))
        return self._last

    def _read(self, folder: Path, revision: str, key: bytes, identity: str) -> GitState:
        catalogue = read_catalogue(folder, self.places.catalogue)
        encrypted = read_encrypted(folder, self.places.bootstrap, fetched=True)
        values: dict[str, InGit] = {}
        unreadable: dict[str, Problem] = {}
        ciphertexts: dict[str, str] = {}
        places = {one.place: one for one in encrypted.found}
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
            file = places[secret.bootstrap.namespace, secret.bootstrap.secret]
            missing = sorted(set(secret.bootstrap.keys) - set(found))
            if missing:
                detail = f"{file.file}: {', '.join(missing)}"
                values[secret.name] = InGit(unknown=Reason.KEYS_NOT_IN_GIT, detail=detail)
                continue
            ciphertexts[secret.name] = ciphertext_mark(folder, file)
            wanted = {name: found[name] for name in secret.bootstrap.keys}
            values[secret.name] = InGit(value_digest(key, secret.name, str(secret.vault), wanted))
        return GitState(revision, catalogue, values, ciphertexts, unreadable)
