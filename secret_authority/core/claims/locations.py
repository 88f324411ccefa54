"""Places where a secret value can stand: a key of a Kubernetes Secret, or a key of a Vault path.

A part of a location may be unknown (a Pulumi output in preview, a templated name). Then the location overlaps
others only perhaps, and the rule that asks must fail closed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias


@dataclass(frozen=True)
class Unknown:
    """A part of an identity that cannot be known yet. `field` says which field to make known."""

    field: str

    def __str__(self) -> str:
        return f"<unknown {self.field}>"


Part: TypeAlias = str | Unknown


class Overlap(Enum):
    """Whether two locations are the same one."""

    NO = "no"
    YES = "yes"
    PERHAPS = "perhaps"


@dataclass(frozen=True)
class KubernetesSecret:
    """A Secret object of one cluster."""

    cluster: Part
    namespace: Part
    name: Part

    def parts(self) -> tuple[Part, ...]:
        return (self.cluster, self.namespace, self.name)

    def __str__(self) -> str:
        return f"Secret {self.namespace}/{self.name}"


@dataclass(frozen=True)
class VaultSecret:
    """A path of one Vault server. `server` is its address or a name that stands for it."""

    server: Part
    mount: Part
    path: Part

    def parts(self) -> tuple[Part, ...]:
        return (self.server, self.mount, self.path)

    def __str__(self) -> str:
        return f"Vault {self.mount}/{self.path}"


Location: TypeAlias = KubernetesSecret | VaultSecret


@dataclass(frozen=True)
class Keys:
    """Which keys of a location are meant: all of them (`names` is None), or some.

    `unknown` is set when the names cannot all be known; it names the field to make known.
    """

    names: frozenset[str] | None
    unknown: Unknown | None = None

    @classmethod
    def all(cls) -> Keys:
        return cls(None)

    @classmethod
    def of(cls, *names: str) -> Keys:
        return cls(frozenset(names))

    def __str__(self) -> str:
        if self.names is None:
            return "all keys"
        listed = ", ".join(sorted(self.names))
        return f"{listed}, {self.unknown}".lstrip(", ") if self.unknown else listed


def overlap_locations(a: Location, b: Location) -> Overlap:
    """NO when a known part differs, YES when all parts are known and equal, else PERHAPS."""
    if type(a) is not type(b):
        return Overlap.NO
    answer = Overlap.YES
    for left, right in zip(a.parts(), b.parts(), strict=True):
        if isinstance(left, Unknown) or isinstance(right, Unknown):
            answer = Overlap.PERHAPS
        elif left != right:
            return Overlap.NO
    return answer


def overlap_keys(a: Keys, b: Keys) -> tuple[Overlap, Keys]:
    """Whether two sets of keys meet, and the keys in which they do (or may)."""
    if a.names is None:
        return (Overlap.YES if _surely_not_empty(b) else Overlap.PERHAPS), b
    if b.names is None:
        return (Overlap.YES if _surely_not_empty(a) else Overlap.PERHAPS), a
    shared = a.names & b.names
    if shared:
        return Overlap.YES, Keys(shared)
    unknown = a.unknown or b.unknown
    if unknown:
        return Overlap.PERHAPS, Keys(frozenset(), unknown)
    return Overlap.NO, Keys(frozenset())


def _surely_not_empty(keys: Keys) -> bool:
    # An empty set of keys still owns nothing; "all keys" owns the object, also an empty one.
    return keys.names is None or bool(keys.names)


def unknown_parts(*locations: Location) -> tuple[Unknown, ...]:
    """The unknown parts of the locations, each once, in order."""
    found = [part for location in locations for part in location.parts() if isinstance(part, Unknown)]
    return tuple(dict.fromkeys(found))
