"""Declared claims: what layer components and the catalogue say, beside what the resources do.

A declaration that is also observed counts once, as the observation. A declaration of something that cannot
be seen here (Git's files in a Pulumi stack, the engine's handover) is kept as it was declared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from policy.inventory.inventory import Inventory
from policy.inventory.layers import Layer
from secret_authority.core.catalogue.schema import SecretClass
from secret_authority.core.claims.conflicts import Claim, System
from secret_authority.core.claims.from_catalogue import catalogue_claims
from secret_authority.core.claims.locations import Location, VaultSecret

# Systems whose resources stand in a Pulumi stack, so that a declaration can be held against them.
VISIBLE_IN_STACK = frozenset({System.EXTERNAL_SECRETS, System.PUSH_SECRET, System.GENERATOR})


def declared_claims(inventory: Inventory) -> list[tuple[Claim, Layer]]:
    """The claims of all layer components, with cluster and server names as the stack's resources have them."""
    return [(localise(claim, inventory), layer) for layer in inventory.layers for claim in layer.claims]


def localise(claim: Claim, inventory: Inventory) -> Claim:
    """Layer components call the one Vault of a cluster by the cluster's name; so do the identities of a stack."""
    source = _localise(claim.source, inventory) if claim.source is not None else None
    location = _localise(claim.location, inventory)
    if location is claim.location and source is claim.source:
        return claim
    return replace(claim, location=location, source=source)


def _localise(location: Location, inventory: Inventory) -> Location:
    if isinstance(location, VaultSecret):
        home = inventory.identities.home(location.server)
        return location if home is location.server else VaultSecret(home, location.mount, location.path)
    return location


def unseen_claims(inventory: Inventory, observed_at: Mapping[Location, list[Claim]]) -> list[Claim]:
    """Declared claims that no resource of this inventory makes."""
    declared = [claim for claim, _ in declared_claims(inventory)] or [
        claim
        for cluster, catalogue in inventory.catalogues.items()
        for claim in catalogue_claims(cluster, catalogue, inventory.phase)
    ]
    unseen = (claim for claim in declared if not _counted(claim, inventory, observed_at))
    return list(dict.fromkeys(localise(claim, inventory) for claim in unseen))


def _counted(claim: Claim, inventory: Inventory, observed_at: Mapping[Location, list[Claim]]) -> bool:
    location = _localise(claim.location, inventory)
    for other in observed_at.get(location, ()):
        if other.claimant.system is claim.claimant.system:
            return True
        # A catalogued internal secret is born by its create-only push: that push is its hold on the path. The
        # first value of any other class comes from elsewhere (RFC §2).
        if claim.claimant.system is System.VAULT and other.create_only and _is_internal(location, inventory):
            return True
    return False


def _is_internal(location: Location, inventory: Inventory) -> bool:
    """Whether a catalogue says that the secret at a location is born in the cluster.

    A stack with one catalogue may name its cluster in another way there than in its claims.
    """
    only = len(inventory.catalogues) == 1
    return any(
        location.parts()[1:] == (entry.vault.mount, entry.vault.path)
        and (only or location == _localise(VaultSecret(cluster, entry.vault.mount, entry.vault.path), inventory))
        for cluster, catalogue in inventory.catalogues.items()
        for entry in catalogue.of_class(SecretClass.INTERNAL)
    )
