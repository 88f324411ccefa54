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
    """A part of an identity that cannot be known yet. `field` says which field to make known.

    `shape` is what is known of the text, with * for each part that is not: "*-tls" is never "db". Two parts with the
    same `same` have the same text, whatever it is.
    """

    field: str
    shape: str | None = None
    same: str | None = None

    def may_be(self, text: str) -> bool:
        """Whether the part can turn out to be this text."""
        if self.shape is None:
            return True
        pieces = self.shape.split("*")
        if len(pieces) == 1:
            return text == self.shape
        if len(text) < sum(map(len, pieces)) or not (text.startswith(pieces[0]) and text.endswith(pieces[-1])):
            return False
        at, end = len(pieces[0]), len(text) - len(pieces[-1])
        for piece in pieces[1:-1]:
            at = text.find(piece, at, end)
            if at < 0:
                return False
            at += len(piece)
        return True

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


@dataclass(frozen=True)
class StoreSecret:
    """A secret of another store than Vault. `store` is what tells one account, project or vault from another."""

    provider: Part
    store: Part
    path: Part

    def parts(self) -> tuple[Part, ...]:
        return (self.provider, self.store, self.path)

    def __str__(self) -> str:
        return f"{self.provider} {self.path}"


Location: TypeAlias = KubernetesSecret | VaultSecret | StoreSecret


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
    """NO when a part differs for certain, YES when all parts are equal for certain, else PERHAPS."""
    if type(a) is not type(b):
        return Overlap.NO
    answer = Overlap.YES
    for left, right in zip(a.parts(), b.parts(), strict=True):
        if isinstance(left, Unknown) and isinstance(right, Unknown):
            if left.same is None or left.same != right.same:
                answer = Overlap.PERHAPS if _may_meet(left, right) else Overlap.NO
        elif isinstance(left, Unknown):
            answer = Overlap.PERHAPS if left.may_be(str(right)) else Overlap.NO
        elif isinstance(right, Unknown):
            answer = Overlap.PERHAPS if right.may_be(left) else Overlap.NO
        elif left != right:
            return Overlap.NO
        if answer is Overlap.NO:
            return Overlap.NO
    return answer


def _may_meet(left: Unknown, right: Unknown) -> bool:
    """Whether two unknown parts can turn out to be one text: their known ends must fit."""
    if left.shape is None or right.shape is None:
        return True
    here, there = _around(left), _around(right)
    if here and there and here[0] == there[0] and here[1] != there[1]:
        # One text, whatever it is, with more around it here than there.
        return False
    one, other = left.shape.split("*"), right.shape.split("*")
    heads = one[0].startswith(other[0]) or other[0].startswith(one[0])
    return heads and (one[-1].endswith(other[-1]) or other[-1].endswith(one[-1]))


def _around(part: Unknown) -> tuple[str, int] | None:
    """What the only unknown piece of a part is the same as, and how long the text around it is."""
    if part.same is None or part.shape is None or part.shape.count("*") != 1:
        return None
    head, tail = part.shape.split("*")
    length = len(head) + len(tail)
    if len(part.same) <= length or not (part.same.startswith(head) and part.same.endswith(tail)):
        return None
    return part.same[len(head) : len(part.same) - len(tail)], length


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
