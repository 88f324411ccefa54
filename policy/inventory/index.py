"""The resources of one stack or tree, found by kind, package, URN and parent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

from policy.inventory.resource import Resource
from policy.inventory.workloads import Pods, pods_of


class ResourceIndex:
    """Indexes over resources. Each is built on first use."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self.resources = list(resources)

    def of(self, group: str, *kinds: str) -> list[Resource]:
        """Kubernetes objects of the kinds, in the order in which they were read."""
        return [resource for kind in kinds for resource in self._by_kind.get((group, kind), ())]

    @property
    def by_kind(self) -> Mapping[tuple[str, str], list[Resource]]:
        """Kubernetes objects by their group and kind."""
        return self._by_kind

    def of_package(self, package: str) -> list[Resource]:
        """Pulumi resources of a package ("vault", "random")."""
        return self._by_package.get(package, [])

    @cached_property
    def kubernetes(self) -> list[Resource]:
        return [resource for resource in self.resources if resource.is_kubernetes]

    @cached_property
    def secrets(self) -> list[Resource]:
        return self.of("", "Secret")

    @cached_property
    def workloads(self) -> list[Pods]:
        """The pods of each object that makes some, in the order in which they were read."""
        return [pods for resource in self.kubernetes if (pods := pods_of(resource)) is not None]

    @cached_property
    def by_urn(self) -> Mapping[str, Resource]:
        return {resource.where.urn: resource for resource in self.resources if resource.where.urn}

    def family(self, urn: str) -> frozenset[str]:
        """A component and everything below it, as URNs."""
        found, stack = {urn}, [urn]
        while stack:
            for child in self._children.get(stack.pop(), ()):
                if child not in found:
                    found.add(child)
                    stack.append(child)
        return frozenset(found)

    def ancestors(self, resource: Resource) -> Iterator[Resource]:
        """The parents of a resource, nearest first."""
        urn = resource.parent
        while urn and (parent := self.by_urn.get(urn)):
            yield parent
            urn = parent.parent

    @cached_property
    def _by_kind(self) -> Mapping[tuple[str, str], list[Resource]]:
        found: dict[tuple[str, str], list[Resource]] = defaultdict(list)
        for resource in self.kubernetes:
            found[resource.group, resource.kind].append(resource)
        return found

    @cached_property
    def _by_package(self) -> Mapping[str, list[Resource]]:
        found: dict[str, list[Resource]] = defaultdict(list)
        for resource in self.resources:
            found[resource.token.partition(":")[0]].append(resource)
        return found

    @cached_property
    def _children(self) -> Mapping[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for resource in self.resources:
            if resource.parent:
                found[resource.parent].append(resource.where.urn)
        return found
