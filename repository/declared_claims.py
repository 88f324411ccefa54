"""The claims that Git declares: the encrypted files, and what the catalogue says External Secrets will do."""

from __future__ import annotations

from collections.abc import Iterator

from authority.catalogue import Catalogue
from authority.claims import Claim, Claimant, System
from authority.places import Keys, KubernetesSecret, VaultSecret


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
    """What the catalogue declares: each secret's hold on its Vault path, and each consumer's cache.

    A cache is claimed as a whole: External Secrets owns the objects that it makes.
    """
    for entry in catalogue:
        path = VaultSecret(cluster, entry.vault.mount, entry.vault.path)
        yield Claim(Claimant(System.VAULT, f"secret {entry.name}"), path, Keys.all(), secret=entry.name)
        for consumer in entry.consumers:
            cache = f"{consumer.namespace}/{consumer.secret}"
            yield Claim(
                Claimant(System.EXTERNAL_SECRETS, f"ExternalSecret {cache} of secret {entry.name}"),
                KubernetesSecret(cluster, consumer.namespace, consumer.secret),
                Keys.all(),
                source=path,
                secret=entry.name,
            )
