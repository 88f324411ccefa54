"""One secret, one authority: the rule, written once.

A claim says that a system determines the value at a location. The rule: over one key of one location there is
at most one claimant. The Pulumi program checks it before the first change, the policy pack over a stack, a
state file or a Git tree, and the engine in the cluster before it hands a secret over.

RFC-SECOPS-0001 §3.3: at no point may two systems be considered equally authoritative for the same secret.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations, combinations_with_replacement, product
from typing import TypeAlias

from secret_authority.core.claims.locations import (
    Keys,
    KubernetesSecret,
    Location,
    Overlap,
    Part,
    Unknown,
    overlap_keys,
    overlap_locations,
    unknown_parts,
)


class System(StrEnum):
    """The systems that can determine a secret's value."""

    GIT = "Git (SOPS, applied by Flux)"
    VAULT = "Vault"
    EXTERNAL_SECRETS = "External Secrets"
    PUSH_SECRET = "External Secrets (push)"
    PULUMI = "Pulumi"
    ENGINE = "the handover engine"
    SEALED_SECRETS = "Sealed Secrets"
    VAULT_OPERATOR = "Vault Secrets Operator"
    ARGOCD_VAULT = "Argo CD Vault plugin"
    SECRETS_STORE_CSI = "Secrets Store CSI driver"
    HELM = "Helm"
    GENERATOR = "External Secrets generator"
    MIRROR = "a controller that mirrors Secrets"
    OPERATOR = "an operator"


@dataclass(frozen=True, order=True)
class Claimant:
    """Who claims: a system, and the object or file through which it does.

    `origin` says where that object was found, when its name alone does not tell it from another one. `shown` is how
    this one of several systems of the kind is called, where that is known better than by `system`.
    """

    system: System
    subject: str
    origin: str = ""
    shown: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.subject} [{self.shown or self.system}]"


@dataclass(frozen=True)
class Claim:
    """`claimant` determines `keys` of `location`.

    `source` is the location it copies the value from, None when it brings the value itself.
    `create_only` says that it writes only where nothing is (a seed); it still decides the first value, so
    it conflicts with every other claimant.
    """

    claimant: Claimant
    location: Location
    keys: Keys
    source: Location | None = None
    create_only: bool = False
    # The catalogue's name of the secret, when the catalogue knows it.
    secret: str | None = None


@dataclass(frozen=True)
class Conflict:
    """Two claimants over one location. Not `certain` when an unknown part hides whether they meet."""

    first: Claim
    second: Claim
    keys: Keys
    certain: bool

    @property
    def unknown(self) -> tuple[Unknown, ...]:
        hidden = list(unknown_parts(self.first.location, self.second.location))
        hidden += [k.unknown for k in (self.first.keys, self.second.keys) if k.unknown]
        return tuple(dict.fromkeys(hidden))

    def __str__(self) -> str:
        names = sorted({claim.secret for claim in (self.first, self.second) if claim.secret})
        secret = f" (secret {', '.join(names)})" if names else ""
        first, second = self._claimants()
        if self.certain:
            return (
                f"two authorities over {self.first.location}, {self.keys}{secret}: {first} and {second}. "
                "Keep one of them and remove the other's claim"
            )
        fields = ", ".join(part.field for part in self.unknown)
        return (
            f"cannot rule out two authorities{secret}: {first} over {self.first.location} and "
            f"{second} over {self.second.location}. Make known: {fields or 'the keys of both'}"
        )

    def _claimants(self) -> tuple[str, str]:
        """Both claimants; two of one name are distinguished by where they were found."""
        first, second = self.first.claimant, self.second.claimant
        if str(first) != str(second):
            return str(first), str(second)
        return f"{first} in {first.origin}", f"{second} in {second.origin}"


def find_conflicts(claims: Iterable[Claim]) -> list[Conflict]:
    """Every pair of claims by different claimants that meets, or may meet, over one key of one location.

    The same claimant may claim a location several times (a declaration and what was observed of it).
    Time grows with the number of claims on one object, not with the square of all claims, as long as
    namespace and name (mount and path) are known.
    """
    return sorted(
        (conflict for pair in _candidates(claims) for conflict in _meet(*pair)),
        key=lambda conflict: (not conflict.certain, str(conflict)),
    )


def _candidates(claims: Iterable[Claim]) -> Iterator[tuple[Claim, Claim]]:
    """Pairs that can meet. Claims are grouped by identity; groups are joined on the parts that both know.

    Two locations overlap when they agree in every part that is known in both, so one lookup for each set of
    known parts finds them without a comparison of all with all.
    """
    groups: dict[_Identity, list[Claim]] = defaultdict(list)
    for claim in dict.fromkeys(claims):
        groups[type(claim.location), claim.location.parts()].append(claim)
    for members in groups.values():
        yield from combinations(members, 2)
    rank = {identity: number for number, identity in enumerate(groups)}
    shapes: dict[frozenset[int], list[_Identity]] = defaultdict(list)
    for identity in groups:
        shapes[frozenset(i for i, part in enumerate(identity[1]) if not isinstance(part, Unknown))].append(identity)
    for left, right in combinations_with_replacement(shapes, 2):
        shared = sorted(left & right)
        if left == right and len(shared) == _PARTS:
            continue  # Both are wholly known: the same location is one group, others do not overlap.
        index: dict[_Identity, list[_Identity]] = defaultdict(list)
        for identity in shapes[right]:
            index[_project(identity, shared)].append(identity)
        for identity in shapes[left]:
            for other in index.get(_project(identity, shared), ()):
                # Within one shape each pair comes up from both sides.
                if left == right and rank[other] <= rank[identity]:
                    continue
                yield from product(groups[identity], groups[other])


_Identity: TypeAlias = tuple[type[Location], tuple[Part, ...]]
_PARTS = 3


def _project(identity: _Identity, positions: list[int]) -> _Identity:
    return identity[0], tuple(identity[1][i] for i in positions)


def _meet(a: Claim, b: Claim) -> Iterator[Conflict]:
    if a.claimant == b.claimant:
        return
    location = overlap_locations(a.location, b.location)
    keys, shared = overlap_keys(a.keys, b.keys)
    if Overlap.NO in (location, keys):
        return
    first, second = sorted((a, b), key=lambda claim: claim.claimant)
    yield Conflict(first, second, shared, certain=location is Overlap.YES and keys is Overlap.YES)


@dataclass(frozen=True)
class ReverseFlow:
    """A value that flows up: a claim that copies from a Kubernetes Secret which another claim fills.

    `cycle` holds the claims that form a ring, when following the sources comes back to the start.
    """

    claim: Claim
    through: Claim
    cycle: tuple[Claim, ...] = ()

    def __str__(self) -> str:
        if self.cycle:
            ring = " -> ".join(str(claim.location) for claim in (*self.cycle, self.cycle[0]))
            return f"values run in a ring: {ring}. Remove {self.claim.claimant}"
        return (
            f"{self.claim.claimant} copies {self.claim.source} up to {self.claim.location}, but "
            f"{self.through.claimant} fills {self.claim.source}: values never flow back up. "
            "Write the value to Vault at its origin, and let it flow down"
        )


def find_reverse_flows(claims: Iterable[Claim]) -> list[ReverseFlow]:
    """Claims that send a value upwards (RFC §3.4, one-way funnel).

    A create-only push from a Secret that nothing else claims is the one allowed way up: it is how an
    internal secret is born (RFC §2, publish then materialise). A Secret that is claimed by a copier from
    the very same Vault path is that secret's own cache; a create-only push beside it writes nothing.
    The engine's handover goes up too: it is the one transfer of authority (RFC §4), and has rules of its own.
    """
    every = list(dict.fromkeys(claims))
    filled: dict[Location, list[Claim]] = defaultdict(list)
    for claim in every:
        filled[claim.location].append(claim)
    found: list[ReverseFlow] = []
    for claim in every:
        if not isinstance(claim.source, KubernetesSecret) or claim.claimant.system is System.ENGINE:
            continue
        for through in filled.get(claim.source, []):
            if through.claimant == claim.claimant:
                continue
            if claim.create_only and through.source == claim.location:
                continue
            found.append(ReverseFlow(claim, through, _ring(claim, filled)))
    return found


def _ring(start: Claim, filled: dict[Location, list[Claim]]) -> tuple[Claim, ...]:
    """The claims passed when following sources from `start` back to its own location; empty when there is none."""
    stack: list[tuple[Claim, tuple[Claim, ...]]] = [(start, (start,))]
    seen = {start}
    while stack:
        claim, path = stack.pop()
        if claim.source is None:
            continue
        if claim.source == start.location:
            return path
        for upstream in filled.get(claim.source, []):
            if upstream not in seen:
                seen.add(upstream)
                stack.append((upstream, (*path, upstream)))
    return ()
