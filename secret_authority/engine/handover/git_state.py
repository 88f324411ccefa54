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
from secret_authority.clients.sops import SopsError, decrypt
from secret_authority.contract.engine_settings import GitPlaces
from secret_authority.core.catalogue.schema import Catalogue, SecretClass, parse_catalogue
from secret_authority.core.digest import value_digest
from secret_authority.core.errors import InvalidInputError, Problem, Unavailable
from secret_authority.core.handover.state_machine import InGit, Reason
from secret_authority.repository.encrypted_secrets import encrypted_files, secret_values
from secret_authority.repository.yaml_documents import read_documents


@dataclass(frozen=True)
class GitState:
    """One revision. `values` by secret; a secret without an encrypted file is not in it."""

    revision: str
    catalogue: Catalogue
    values: Mapping[str, InGit] = field(default_factory=dict)
    # Why files cannot be decrypted, by secret.
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
                    fetch(artifact, Path(folder))
                    self._last = self._read(Path(folder), artifact.revision, key, identity)
                self._read_with = read_with
        except (ArtifactError, Unavailable) as error:
            if self._last is None:
                raise Unavailable(str(error)) from None
            return replace(self._last, away=str(error))
        return self._last

    def _read(self, folder: Path, revision: str, key: bytes, identity: str) -> GitState:
        documents = read_documents(folder / self.places.catalogue, self.places.catalogue)
        if len(documents) != 1:
            message = f"has {len(documents)} documents"
            fix = "write the catalogue as one document"
            raise InvalidInputError([Problem(self.places.catalogue, "", message, fix)])
        catalogue = parse_catalogue(documents[0], self.places.catalogue)
        files = encrypted_files(folder, self.places.bootstrap)
        values: dict[str, InGit] = {}
        unreadable: dict[str, Problem] = {}
        identities = [line for line in identity.splitlines() if line and not line.startswith("#")]
        for secret in catalogue.of_class(SecretClass.BOOTSTRAP):
            target = secret.bootstrap
            file = files.get((target.namespace, target.secret)) if target else None
            if target is None or file is None:
                continue
            try:
                found = secret_values(decrypt(folder / file, file, identities))
            except SopsError as error:
                unreadable[secret.name] = error.problem
                values[secret.name] = InGit(unknown=Reason.UNREADABLE, detail=str(error.problem))
                continue
            missing = sorted(set(target.keys) - set(found))
            if missing:
                detail = f"{file}: {', '.join(missing)}"
                values[secret.name] = InGit(unknown=Reason.KEYS_NOT_IN_GIT, detail=detail)
                continue
            wanted = {name: found[name] for name in target.keys}
            values[secret.name] = InGit(value_digest(key, secret.name, str(secret.vault), wanted))
        return GitState(revision, catalogue, values, unreadable)
