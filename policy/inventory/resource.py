"""One neutral picture of a resource, whatever it was read from: a stack, a state file or a Git tree.

Readers fill it, claims and rules read it. Values are plain mappings, lists and scalars; a value that cannot be
known yet is `Unknown` and names its field, a value that was encrypted is `Hidden`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from secret_authority.core.claims.locations import Part, Unknown

if TYPE_CHECKING:
    from functools import cached_property as computed_once
else:

    class computed_once:
        """A property that is computed on first use; functools.cached_property of Python 3.11 takes a lock for it."""

        def __init__(self, compute):
            self._compute = compute
            self.__doc__ = compute.__doc__

        def __set_name__(self, _owner, name):
            self._name = name

        def __get__(self, instance, _owner=None):
            if instance is None:
                return self
            value = instance.__dict__[self._name] = self._compute(instance)
            return value


class Hidden:
    """A value that is there but cannot be read (a secret in a state file). There is one of it: `HIDDEN`."""

    def __repr__(self) -> str:
        return "<hidden>"


HIDDEN: Final = Hidden()
# What is said of a variable whose value the tree has as ciphertext.
ENCRYPTED: Final = "where it is encrypted"


class Origin(Enum):
    """Where a resource was read from."""

    STACK = "stack"
    GIT = "git"


@dataclass(frozen=True)
class Position:
    """A URN, or a file of the tree with a line (from 1)."""

    urn: str = ""
    file: str = ""
    line: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.file else self.urn


@dataclass(frozen=True)
class AppliedBy:
    """How Git brings a manifest into a cluster. `decrypts` is None when nothing in the tree says."""

    applier: str = ""
    decrypts: bool | None = None
    # The applier does nothing for now: what it applied before may be there, and is not changed.
    suspended: bool = False


@dataclass(frozen=True)
class Provider:
    """The Pulumi provider of a resource."""

    name: str
    urn: str = ""
    props: Mapping[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Resource:
    """One object. `token` is a Pulumi type token; manifests get the token that Pulumi would give them."""

    token: str
    name: str
    where: Position
    origin: Origin
    load: Callable[[], Mapping[str, Any]]
    cluster: Part = "this cluster"
    parent: str | None = None
    dependencies: tuple[str, ...] = ()
    property_dependencies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    provider: Provider | None = None
    applied_by: AppliedBy = AppliedBy()
    # All of these follow from the token; "" for what is no Kubernetes object. A Pulumi `...Patch` resource counts as
    # the kind that it patches.
    is_kubernetes: bool = field(init=False, repr=False)
    group: str = field(init=False, repr=False)
    kind: str = field(init=False, repr=False)
    is_patch: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        shape = _shape_of(self.token, self.origin is Origin.STACK)
        self.is_kubernetes, self.group, self.kind, self.is_patch = shape

    @computed_once
    def props(self) -> Mapping[str, Any]:
        return self.load()

    @computed_once
    def derived(self) -> dict[str, Any]:
        """What others worked out about the resource and want to keep."""
        return {}

    def is_a(self, group: str, *kinds: str) -> bool:
        """Whether this is one of the kinds of a group, in any version."""
        return self.group == group and self.kind in kinds

    def get(self, *path: str | int) -> Any:
        """The value at a path, None when there is none, `Unknown` or `Hidden` when it cannot be read."""
        value: Any = self.props
        for step in path:
            # Nearly all that is asked is in plain mappings.
            if type(value) is dict:
                value = value.get(step)
            elif value is None:
                return None
            else:
                return dig(self.props, *path)
        return value

    @computed_once
    def metadata_name(self) -> Part:
        given = self.get("metadata", "name")
        return given if type(given) is str and given else part(given, f"metadata.name of {self.name}")

    @computed_once
    def namespace(self) -> Part:
        """The namespace in which the API server would put the object."""
        given = self.get("metadata", "namespace")
        if given is None and self.provider is not None:
            given = dig(self.provider.props, "namespace")
        return given if type(given) is str and given else part(given or "default", f"metadata.namespace of {self.name}")

    @computed_once
    def label(self) -> str:
        """How messages name the object: kind, namespace and name; never a value."""
        if not self.kind:
            return f"{self.token} {self.name}"
        if isinstance(self.metadata_name, Unknown):
            return f"{self.kind} {self.name}"
        if self.kind.startswith("Cluster") or self.kind in ("Namespace", "PersistentVolume"):
            return f"{self.kind} {self.metadata_name}"
        space = "?" if isinstance(self.namespace, Unknown) else self.namespace
        return f"{self.kind} {space}/{self.metadata_name}"

    def mark(self, kind: str, key: str) -> str | None:
        """A label or an annotation (`kind` is "labels" or "annotations"); None when it cannot be read."""
        value = self.get("metadata", kind, key)
        return value if isinstance(value, str) else None


@lru_cache(maxsize=4096)
def _shape_of(token: str, in_stack: bool) -> tuple[bool, str, str, bool]:
    """(is a Kubernetes object, group, kind, is a patch) of a type token."""
    package, _, rest = token.partition(":")
    if package != "kubernetes":
        return False, "", "", False
    api, _, kind = rest.rpartition(":")
    group = api.rpartition("/")[0] if "/" in api else ""
    is_patch = in_stack and kind.endswith("Patch")
    # What Helm makes is in Pulumi's provider of Kubernetes, and is no object of its API.
    is_object = not token.startswith("kubernetes:helm.sh/")
    return is_object, "" if group == "core" else group, kind.removesuffix("Patch") if is_patch else kind, is_patch


def dig(value: Any, *path: str | int) -> Any:
    """Walk down a path. Stops at the first unknown or hidden value and gives that."""
    for step in path:
        if value is None:
            return None
        if type(value) is dict and type(step) is str:
            # Nearly all that is asked.
            value = value.get(step)
            continue
        if isinstance(value, (Unknown, Hidden)):
            return value
        if isinstance(step, int):
            if not isinstance(value, Sequence) or isinstance(value, str) or step >= len(value):
                return None
            value = value[step]
        else:
            if not isinstance(value, Mapping):
                return None
            value = value.get(step)
    return value


def mapping(value: Any) -> Mapping[str, Any]:
    """The value when it is a mapping, else an empty one."""
    if value is None:
        return {}
    return value if type(value) is dict or isinstance(value, Mapping) else {}


def items(value: Any) -> Sequence[Any]:
    """The value when it is a list, else an empty one."""
    return value if isinstance(value, (list, tuple)) else ()


def part(value: Any, field_name: str) -> Part:
    """A part of an identity: the text, or `Unknown` naming the field."""
    if isinstance(value, str) and value:
        return value
    return value if isinstance(value, Unknown) else Unknown(field_name)


def opaque(value: Any) -> bool:
    """Whether a value is there but cannot be read."""
    return isinstance(value, (Unknown, Hidden))


def walk(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every scalar below a value, with its path."""
    if type(value) is str or value is None:
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from walk(inner, (*path, key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from walk(inner, (*path, index))
    else:
        yield path, value
