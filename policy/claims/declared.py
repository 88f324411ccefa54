"""Declared claims: what layer components and the catalogue say, beside what the resources do.

A declaration that is also observed counts once, as the observation. A declaration of something that cannot
be seen here (Git's files in a Pulumi stack, the engine's handover) is kept as it was declared.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from secret_authority.core.catalogue.schema import SecretClass
from secret_authority.core.claims.conflicts import Claim, System
from secret_authority.core.claims.from_catalogue import catalogue_claims
from secret_authority.core.claims.locations import Location, VaultSecret

if TYPE_CHECKING:
    from policy.inventory.inventory import World
    from policy.inventory.layers import Layer

# Systems whose resources stand in a Pulumi stack, so that a declaration can be held against them.
VISIBLE_IN_STACK = frozenset({System.EXTERNAL_SECRETS, System.PUSH_SECRET, System.GENERATOR})


def declared_claims(world: World) -> list[tuple[Claim, Layer]]:
    """The claims of all layer components, with cluster and server names as the stack's resources have them."""
    return [(localise(claim, world), layer) for layer in world.layers for claim in layer.claims]


def localise(claim: Claim, world: World) -> Claim:
    """Layer components call the one Vault of a cluster by the cluster's name; so do the identities of a stack."""
    source = _localise(claim.source, world) if claim.source is not None else None
    return replace(claim, location=_localise(claim.location, world), source=source)


def _localise(location: Location, world: World) -> Location:
    if isinstance(location, VaultSecret):
        return VaultSecret(world.identities.home(location.server), location.mount, location.path)
    return location


def unseen_claims(world: World) -> list[Claim]:
    """Declared claims that no resource of this world makes."""
    found: dict[Claim, None] = {}
    for claim, _ in declared_claims(world):
        found[claim] = None
    if not found:
        for cluster, catalogue in world.catalogues.items():
            for claim in catalogue_claims(cluster, catalogue, world.phase):
                found[localise(claim, world)] = None
    return [claim for claim in found if not _counted(claim, world)]


def _counted(claim: Claim, world: World) -> bool:
    for other in world.observed_at.get(claim.location, ()):
        if other.claimant.system is claim.claimant.system:
            return True
        # A catalogued internal secret is born by its create-only push: that push is its hold on the path. The
        # first value of any other class comes from elsewhere (RFC §2).
        if claim.claimant.system is System.VAULT and other.create_only and _is_internal(claim.location, world):
            return True
    return False


def _is_internal(location: Location, world: World) -> bool:
    """Whether a catalogue says that the secret at a location is born in the cluster.

    A stack with one catalogue may name its cluster in another way there than in its claims.
    """
    only = len(world.catalogues) == 1
    return any(
        location.parts()[1:] == (entry.vault.mount, entry.vault.path)
        and (only or location == _localise(VaultSecret(cluster, entry.vault.mount, entry.vault.path), world))
        for cluster, catalogue in world.catalogues.items()
        for entry in catalogue.of_class(SecretClass.INTERNAL)
    )
