"""The one set of claims that Git declares for a cluster: its encrypted files, and what its catalogue says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from secret_authority.core.catalogue.schema import Catalogue
from secret_authority.core.claims.conflicts import Claim, Claimant, System
from secret_authority.core.claims.from_catalogue import catalogue_claims
from secret_authority.core.claims.locations import Keys, KubernetesSecret
from secret_authority.repository.bootstrap.encrypted_secrets import EncryptedSecret


def declared_claims(cluster: str, catalogue: Catalogue, encrypted: Iterable[EncryptedSecret]) -> tuple[Claim, ...]:
    """Every claim of Git. Over a bootstrap Secret the encrypted files speak for their catalogue entries."""
    files = [claim for secret in encrypted for claim in _file_claims(cluster, catalogue, secret)]
    return (*files, *(c for c in catalogue_claims(cluster, catalogue) if c.claimant.system is not System.GIT))


def _file_claims(cluster: str, catalogue: Catalogue, file: EncryptedSecret) -> Iterator[Claim]:
    """The claim of one encrypted Secret; where several entries name it, one for each of them.

    Two entries are two transactions that each take the whole value away, so over one key they are two claimants.
    """
    location = KubernetesSecret(cluster, file.namespace, file.name)
    targets = {entry.name: entry.bootstrap for entry in catalogue if entry.bootstrap}
    keys = {n: t.keys for n, t in targets.items() if (t.namespace, t.secret) == (file.namespace, file.name)}
    if len(keys) < 2:
        yield Claim(Claimant(System.GIT, file.file), location, Keys(file.keys), secret=next(iter(keys), None))
        return
    for name, wanted in keys.items():
        claimant = Claimant(System.GIT, f"{file.file} for catalogue entry {name}")
        yield Claim(claimant, location, Keys(file.keys & frozenset(wanted)), secret=name)
