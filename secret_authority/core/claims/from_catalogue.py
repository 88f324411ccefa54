"""What a catalogue claims, and which of its secrets that gives two authorities.

The program, the policy pack and the engine all take it from here, so that they cannot read a catalogue
differently. RFC-SECOPS-0001 §3.3 (one authority) and §3.2 (which phase brings which claim).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from secret_authority.core.catalogue.schema import Catalogue, SecretClass
from secret_authority.core.claims.conflicts import Claim, Claimant, Conflict, System, find_conflicts
from secret_authority.core.claims.locations import Keys, KubernetesSecret, VaultSecret
from secret_authority.core.phases import Phase


def catalogue_claims(cluster: str, catalogue: Catalogue, phase: Phase | None = None) -> Iterator[Claim]:
    """Each secret's hold on its bootstrap Secret, on its Vault path, and on each consumer's cache.

    `phase` is the phase of the cluster: what a later phase brings is left out. None takes all phases.
    A cache is claimed as a whole: External Secrets owns the objects that it makes.
    """
    for entry in catalogue:
        path = VaultSecret(cluster, entry.vault.mount, entry.vault.path)
        target = entry.bootstrap
        if target is not None:
            yield Claim(
                Claimant(System.GIT, f"catalogue entry {entry.name}"),
                KubernetesSecret(cluster, target.namespace, target.secret),
                Keys(frozenset(target.keys)),
                secret=entry.name,
            )
        if phase is None or phase >= Phase.RUNTIME_AUTHORITY or entry.secret_class is not SecretClass.BOOTSTRAP:
            yield Claim(Claimant(System.VAULT, f"secret {entry.name}"), path, Keys.all(), secret=entry.name)
        for consumer in entry.consumers if phase is None or phase >= Phase.CONSUMPTION else ():
            cache = f"{consumer.namespace}/{consumer.secret}"
            yield Claim(
                Claimant(System.EXTERNAL_SECRETS, f"ExternalSecret {cache} of secret {entry.name}"),
                KubernetesSecret(cluster, consumer.namespace, consumer.secret),
                Keys.all(),
                source=path,
                secret=entry.name,
            )


def conflicts_by_secret(cluster: str, catalogue: Catalogue) -> Mapping[str, Conflict]:
    """Name of a secret -> the first conflict over it that the catalogue holds, whatever its class."""
    found: dict[str, Conflict] = {}
    for conflict in find_conflicts(catalogue_claims(cluster, catalogue)):
        for claim in (conflict.first, conflict.second):
            if claim.secret is not None:
                found.setdefault(claim.secret, conflict)
    return found
