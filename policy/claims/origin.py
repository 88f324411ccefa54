"""Tells two objects of one kind and name apart by where they were found.

Two Kustomizations that bring one ExternalSecret, or two Pulumi resources of one object, are two claimants.
One file that one applier reaches twice is one.
"""

from __future__ import annotations

from policy.inventory.inventory import Inventory
from policy.inventory.resource import Origin, Resource
from secret_authority.core.claims.conflicts import Claimant, System


def claimant(
    inventory: Inventory, system: System, resource: Resource, subject: str | None = None, shown: str = ""
) -> Claimant:
    """The claimant behind a resource; `subject` is its label when none is given."""
    return Claimant(system, subject or resource.label, _origin(inventory, resource), shown)


def _origin(inventory: Inventory, resource: Resource) -> str:
    """A URN, or a file with its applier and its cluster."""
    if resource.origin is Origin.STACK:
        return resource.where.urn
    applier = f" by {resource.applied_by.applier}" if resource.applied_by.applier else ""
    return f"{resource.where.file}{applier} for {inventory.identities.cluster(resource)}"
