"""What resources claim: one extraction for each system, and one list of claims as the result."""

from __future__ import annotations

from collections.abc import Iterator

from policy.claims import (
    by_request,
    chart_passwords,
    external_secrets,
    kubernetes,
    operators,
    push_secrets,
    vault,
    vault_operators,
)
from policy.inventory.inventory import Inventory
from policy.inventory.resource import Resource
from secret_authority.core.claims.conflicts import Claim

EXTRACTIONS = (
    kubernetes.claims,
    external_secrets.claims,
    push_secrets.claims,
    operators.claims,
    by_request.claims,
    chart_passwords.claims,
    vault.claims,
    vault_operators.claims,
)


def observed_claims(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    """Every claim that the resources make, with the resource that makes it."""
    for extract in EXTRACTIONS:
        yield from extract(inventory)
