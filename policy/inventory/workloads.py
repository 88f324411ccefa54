"""Workloads: whatever carries a pod template, and what their pods refer to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from policy.inventory.resource import Resource, dig, items, mapping, part
from secret_authority.contract.pod_secret_refs import POD_FIELDS
from secret_authority.core.claims.locations import Part

_BUILT_IN = {
    ("", "Pod"): (),
    ("", "PodTemplate"): ("template",),
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
}
_Way = tuple[tuple[str, bool], ...]
# What messages call a field of `POD_FIELDS`, the way to what holds it (each step with: is it a list), and its name.
_WAYS: tuple[tuple[str, _Way, str], ...] = tuple(
    (how, tuple((step.removesuffix("[]"), step.endswith("[]")) for step in way), field)
    for how, (*way, field) in ((how, path.split(".")) for path, how in POD_FIELDS.items())
)


@dataclass(frozen=True)
class Pods:
    """The pods that a resource makes."""

    resource: Resource
    metadata: Any
    spec: Any

    @cached_property
    def containers(self) -> tuple[Any, ...]:
        fields = ("initContainers", "containers", "ephemeralContainers")
        return tuple(container for field in fields for container in items(dig(self.spec, field)))

    @property
    def account(self) -> Part:
        """The service account; the API server fills in "default"."""
        given = dig(self.spec, "serviceAccountName") or dig(self.spec, "serviceAccount") or "default"
        return part(given, f"serviceAccountName of {self.resource.label}")


def pods_of(resource: Resource) -> Pods | None:
    """The pods of a resource, None when it makes none. Also for custom kinds with spec.template."""
    if not resource.is_kubernetes:
        return None
    path = _BUILT_IN.get((resource.group, resource.kind), ("spec", "template"))
    template = resource.get(*path)
    if template is None:
        return None
    spec = dig(template, "spec")
    return Pods(resource, dig(template, "metadata"), spec) if items(dig(spec, "containers")) else None


@dataclass(frozen=True)
class SecretUse:
    """A reference to a Secret. `how` says by which field."""

    how: str
    name: Part


def account_uses(account: Resource) -> Iterator[SecretUse]:
    """Every reference of a service account to a Secret of its namespace."""
    for field in ("secrets", "imagePullSecrets"):
        for entry in items(account.get(field)):
            yield SecretUse(field, _name(entry, "name", account))


def secret_uses(pods: Pods) -> Iterator[SecretUse]:
    """Every reference of a workload to a Secret of its namespace."""
    for how, way, field in _WAYS:
        if way[0][0] not in pods.spec:
            continue
        for reference in _references(pods.spec, way):
            if reference:
                yield SecretUse(how, _name(reference, field, pods.resource))


def _references(value: Any, way: _Way) -> Iterator[Any]:
    """What is at the end of a way through lists and fields."""
    for position, (step, is_list) in enumerate(way):
        value = dig(value, step)
        if is_list:
            for entry in items(value):
                yield from _references(entry, way[position + 1 :])
            return
    yield value


def _name(reference: Any, field: str, resource: Resource) -> Part:
    given = dig(reference, field)
    return (
        given if isinstance(given, str) and given else part(given, f"the name of a Secret that {resource.label} uses")
    )


def all_annotations(pods: Pods) -> dict[str, Any]:
    """Annotations of the pods and of the object that makes them."""
    own = mapping(pods.resource.get("metadata", "annotations"))
    return {**own, **mapping(dig(pods.metadata, "annotations"))}
