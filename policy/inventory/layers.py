"""The layer components of this project, as a stack shows them. A stranger's stack has none.

They register what they declare as outputs: `claims`, `phase`, `cluster`, and the `catalogue` on one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from policy.inventory.resource import Resource, items, mapping
from secret_authority.core.claims.conflicts import Claim
from secret_authority.core.claims.locations import KubernetesSecret
from secret_authority.core.claims.serialization import decode_claim
from secret_authority.core.phases import Phase

PREFIX = "secret-authority:layer:"
# In the order in which they are built.
ORDER = ("RootOfTrust", "GitOps", "BootstrapSecrets", "RuntimeAuthority", "Consumption")


@dataclass(frozen=True)
class Layer:
    """One layer component. `broken` says which of its declared claims cannot be read."""

    resource: Resource
    name: str
    phase: Phase | None
    cluster: str | None
    claims: tuple[Claim, ...]
    catalogue: Mapping[str, Any]
    broken: tuple[str, ...]

    @property
    def built_in(self) -> Phase:
        return Phase(ORDER.index(self.name))


def read_layers(resources: Iterable[Resource]) -> list[Layer]:
    """The layers of a stack, lowest first."""
    found = [_read(r) for r in resources if r.token.startswith(PREFIX) and r.token.removeprefix(PREFIX) in ORDER]
    return sorted(found, key=lambda layer: layer.built_in)


def _read(resource: Resource) -> Layer:
    claims: list[Claim] = []
    broken: list[str] = []
    for index, entry in enumerate(items(resource.get("claims"))):
        try:
            claims.append(decode_claim(entry))
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            broken.append(f"claims[{index}]: {error if isinstance(error, ValueError) else 'is not a claim'}")
    number = resource.get("phase")
    phase = Phase(int(number)) if isinstance(number, int | float) and int(number) in list(Phase) else None
    clusters = {c.location.cluster for c in claims if isinstance(c.location, KubernetesSecret)}
    given = resource.get("cluster")
    named = given if isinstance(given, str) else next(iter(clusters)) if len(clusters) == 1 else None
    return Layer(
        resource,
        resource.token.removeprefix(PREFIX),
        phase,
        named if isinstance(named, str) else None,
        tuple(claims),
        mapping(resource.get("catalogue")),
        tuple(broken),
    )
