"""Reads what CrossGuard hands to a policy: the resources of a stack, or the one that is about to be registered.

An unknown value raises on access in the SDK, and an error that leaves a policy ends the whole policy with an
advisory line. So every access is guarded here, once, and becomes `Unknown` with the name of its field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pulumi_policy import PolicyProviderResource, PolicyResource, ResourceValidationArgs
from pulumi_policy.proxy import UnknownValueError

from policy.inventory.resource import HIDDEN, Origin, Position, Provider, Resource
from policy.readers.lists import expand_lists
from policy.shared_requests import REDACTED, SharedProperties
from secret_authority.core.claims.locations import Unknown


def plain(value: Any, owner: str, path: str = "") -> Any:
    """Plain mappings and lists, with `Unknown("<field> of <owner>")` where the engine knows no value yet."""

    if isinstance(value, SharedProperties):
        return value.plain(owner)

    def child(container: Any, key: Any, where: str) -> Any:
        try:
            inner = container[key]
        except UnknownValueError:
            return Unknown(f"{where} of {owner}")
        return plain(inner, owner, where)

    if isinstance(value, Mapping):
        return {key: child(value, key, f"{path}.{key}" if path else str(key)) for key in value}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [child(value, index, f"{path}[{index}]") for index in range(len(value))]
    return HIDDEN if value == REDACTED else value


def _provider(given: PolicyProviderResource | None) -> Provider | None:
    return Provider(given.name, given.urn, plain(given.props, f"provider {given.name}")) if given else None


def _once(props: Any, name: str, keys: Mapping[str, Any] | None = None) -> Callable[[], Mapping[str, Any]]:
    return lambda: {**plain(props, name), **(keys or {})}


class WrittenKeys:
    """Which keys of a Secret each resource writes, remembered from the registrations of this run.

    A stack policy sees outputs, and those of a Kubernetes object are the live object: the keys that External Secrets
    merged into it stand there too. The engine asks about each registration, with its inputs, before it asks about
    the stack. Names of keys are kept, no value. What was not seen registered counts with its outputs.
    """

    _FIELDS = ("data", "stringData")

    def __init__(self) -> None:
        self._by_urn: dict[str, Mapping[str, Any]] = {}

    def remember(self, args: ResourceValidationArgs) -> None:
        """Note the keys of a Secret that is being registered."""
        if not args.resource_type.startswith("kubernetes:core/v1:Secret"):
            return
        found: dict[str, Any] = {}
        props = plain(args.props, args.name)
        for field in self._FIELDS:
            # The provider moves stringData into data.
            value = props.get(field)
            found[field] = {str(key): HIDDEN for key in value} if isinstance(value, Mapping) else value
        self._by_urn[args.urn] = found

    def of(self, urn: str) -> Mapping[str, Any] | None:
        """The fields with their keys, None when the resource was not registered in this run."""
        return self._by_urn.get(urn)


def read_stack(resources: Iterable[PolicyResource], written: WrittenKeys | None = None) -> list[Resource]:
    """The resources of a stack, in the engine's order."""
    written = written or WrittenKeys()
    providers: dict[str, Provider | None] = {}
    found = []
    for given in resources:
        urn = given.provider.urn if given.provider else ""
        if urn not in providers:
            providers[urn] = _provider(given.provider)
        found.append(
            Resource(
                given.resource_type,
                given.name,
                Position(urn=given.urn),
                Origin.STACK,
                _once(given.props, given.name, written.of(given.urn)),
                parent=given.parent.urn if given.parent else None,
                dependencies=tuple(other.urn for other in given.dependencies),
                property_dependencies={
                    key: tuple(other.urn for other in others) for key, others in given.property_dependencies.items()
                },
                provider=providers[urn],
            )
        )
    return expand_lists(found)


def read_registration(args: ResourceValidationArgs) -> list[Resource]:
    """The one resource that a resource policy is asked about, with its inputs."""
    resource = Resource(
        args.resource_type,
        args.name,
        Position(urn=args.urn),
        Origin.STACK,
        _once(args.props, args.name),
        parent=args.opts.parent if args.opts else None,
        provider=_provider(args.provider),
    )
    return expand_lists([resource])
