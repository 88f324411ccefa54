"""ExternalSecret and ClusterExternalSecret: what External Secrets will write, defaults filled in as it does.

External Secrets v1: target.name = metadata.name, creationPolicy Owner. Owner and Orphan own the object;
Merge and CreateOrMerge write their keys into it; None writes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from policy.claims.namespaces import Spread, selected_namespaces
from policy.claims.origin import claimant
from policy.inventory.inventory import Inventory
from policy.inventory.resource import Resource, dig, items, mapping, opaque, part
from policy.inventory.secret_stores import ESO, Stores
from secret_authority.core.claims.conflicts import Claim, System
from secret_authority.core.claims.locations import Keys, Location, Part, Unknown

# A Go duration of nothing: 0, 0s, 0h0m0s.
_ZERO = re.compile(r"(0+(\.0+)?(ns|us|ms|s|m|h)?)+")
WHOLE_OBJECT = frozenset({"Owner", "Orphan"})


def claims(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    stores = inventory.stores
    for resource in inventory.index.of(ESO, "ExternalSecret"):
        spec = resource.get("spec")
        name = resource.metadata_name
        yield from _of_spec(inventory, stores, resource, spec, Spread(resource.namespace), name)
    for resource in inventory.index.of(ESO, "ClusterExternalSecret"):
        spec = resource.get("spec", "externalSecretSpec")
        given = resource.get("spec", "externalSecretName")
        name = part(given, "spec.externalSecretName") if given else resource.metadata_name
        for spread in selected_namespaces(inventory, resource):
            yield from _of_spec(inventory, stores, resource, spec, spread, name)


def _of_spec(
    inventory: Inventory, stores: Stores, resource: Resource, spec: Any, spread: Spread, name: Part
) -> Iterator[tuple[Claim, Resource]]:
    if opaque(spec):
        spec = {}
        keys: Keys | None = Keys(frozenset(), Unknown(f"spec of {resource.label}"))
    else:
        keys = target_keys(spec, resource)
    if keys is None:
        return
    target = dig(spec, "target", "name")
    location = inventory.secret_location(
        resource, part(target, f"spec.target.name of {resource.label}") if target else name
    )
    location = type(location)(location.cluster, spread.namespace, location.name)
    if spread.doubt is not None:
        keys = Keys(frozenset(), spread.doubt)
    seed = writes_once(spec)
    for source, system in _sources(stores, resource, spec, spread.namespace):
        yield Claim(claimant(inventory, system, resource), location, keys, source=source, create_only=seed), resource


def writes_once(spec: Any) -> bool:
    """Whether External Secrets writes the Secret when it makes it, and never again.

    refreshPolicy CreatedOnce; or a refreshInterval of 0 without another policy, as before refreshPolicy existed.
    """
    policy = dig(spec, "refreshPolicy")
    if policy is not None:
        return bool(policy == "CreatedOnce")
    interval = dig(spec, "refreshInterval")
    return interval is not None and not isinstance(interval, Unknown) and _ZERO.fullmatch(str(interval)) is not None


def target_keys(spec: Any, resource: Resource) -> Keys | None:
    """The keys that the target gets; None when nothing is written to a Secret."""
    policy = dig(spec, "target", "creationPolicy") or "Owner"
    if isinstance(policy, Unknown):
        return Keys.all()
    if policy == "None" or dig(spec, "target", "manifest"):
        return None
    if str(policy) in WHOLE_OBJECT:
        return Keys.all()
    template = mapping(dig(spec, "target", "template"))
    names: set[str] = {str(key) for key in mapping(template.get("data"))}
    unknown: Unknown | None = None
    if template.get("templateFrom") or opaque(template.get("data")):
        unknown = Unknown(f"spec.target.template of {resource.label}")
    # A template replaces the fetched keys unless it says Merge.
    if not names or template.get("mergePolicy") == "Merge":
        if opaque(dig(spec, "data")):
            unknown = Unknown(f"spec.data of {resource.label}")
        for entry in items(dig(spec, "data")):
            key = part(dig(entry, "secretKey"), f"spec.data[].secretKey of {resource.label}")
            if isinstance(key, Unknown):
                unknown = key
            else:
                names.add(key)
        if dig(spec, "dataFrom"):
            unknown = Unknown(f"the keys of spec.dataFrom of {resource.label}: list them under spec.data")
    return Keys(frozenset(names), unknown)


def _sources(
    stores: Stores, resource: Resource, spec: Any, namespace: Part
) -> Iterator[tuple[Location | None, System]]:
    """Each location that is read, once, and None for a generator; the store may be named three ways."""
    default = dig(spec, "secretStoreRef")
    found: dict[tuple[Location | None, System], None] = {}
    for entry in items(dig(spec, "data")):
        store = stores.resolve(dig(entry, "sourceRef", "storeRef") or default, resource, namespace)
        key = part(dig(entry, "remoteRef", "key"), f"spec.data[].remoteRef.key of {resource.label}")
        found[store.remote(key, stores.mounts), System.EXTERNAL_SECRETS] = None
    for entry in items(dig(spec, "dataFrom")):
        if dig(entry, "sourceRef", "generatorRef"):
            found[None, System.GENERATOR] = None
            continue
        store = stores.resolve(dig(entry, "sourceRef", "storeRef") or default, resource, namespace)
        key = part(dig(entry, "extract", "key"), f"spec.dataFrom of {resource.label}")
        found[store.remote(key, stores.mounts), System.EXTERNAL_SECRETS] = None
    systems = {system for _, system in found}
    if len(systems) > 1:
        # One controller writes all of it: the claimant is one.
        found = {(location, System.EXTERNAL_SECRETS): None for location, _ in found}
    yield from found or {(None, System.EXTERNAL_SECRETS): None}
