"""The claims that Git declares: the encrypted files, and what the catalogue says External Secrets will do."""

from __future__ import annotations

from collections.abc import Iterator

from secret_authority.core.catalogue.schema import Catalogue
from secret_authority.core.claims.conflicts import Claim, Claimant, System
from secret_authority.core.claims.from_catalogue import catalogue_claims as catalogue_claims_of
from secret_authority.core.claims.locations import Keys, KubernetesSecret


def file_claim(cluster: str, namespace: str, name: str, keys: frozenset[str], file: str, catalogue: Catalogue) -> Claim:
    """Git's claim over the keys of one encrypted Secret."""
    owners = [
        entry.name
        for entry in catalogue
        if entry.bootstrap and (entry.bootstrap.namespace, entry.bootstrap.secret) == (namespace, name)
    ]
    return Claim(
        Claimant(System.GIT, file),
        KubernetesSecret(cluster, namespace, name),
        Keys(keys),
        secret=", ".join(owners) or None,
    )


def catalogue_claims(cluster: str, catalogue: Catalogue) -> Iterator[Claim]:
    """What the catalogue declares beside the encrypted files, which speak for Git themselves."""
    return (claim for claim in catalogue_claims_of(cluster, catalogue) if claim.claimant.system is not System.GIT)
