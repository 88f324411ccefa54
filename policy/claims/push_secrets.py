"""PushSecret and ClusterPushSecret: what External Secrets writes into Vault.

External Secrets, PushSecret v1alpha1: updatePolicy Replace (default) or IfNotExists; the remote identity is the
store's mount plus remoteKey, and property when one key is meant.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from policy.claims.namespaces import Spread, selected_namespaces
from policy.claims.origin import claimant
from policy.inventory.inventory import Inventory
from policy.inventory.resource import Resource, dig, items, mapping, part
from policy.inventory.secret_stores import ESO, Store, Stores
from secret_authority.core.claims.conflicts import Claim, System
from secret_authority.core.claims.locations import Keys, KubernetesSecret, Location, Part, Unknown


def claims(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    stores = inventory.stores
    for resource in inventory.index.of(ESO, "PushSecret"):
        yield from _of_spec(inventory, stores, resource, resource.get("spec"), Spread(resource.namespace))
    for resource in inventory.index.of(ESO, "ClusterPushSecret"):
        for spread in selected_namespaces(inventory, resource):
            yield from _of_spec(inventory, stores, resource, resource.get("spec", "pushSecretSpec"), spread)


def _of_spec(
    inventory: Inventory, stores: Stores, resource: Resource, spec: Any, spread: Spread
) -> Iterator[tuple[Claim, Resource]]:
    create_only = dig(spec, "updatePolicy") == "IfNotExists"
    sources = list(push_sources(inventory, resource, spec, spread.namespace)) or [None]
    # Pushing from several namespaces to one path is several writers, so the namespace is part of the subject.
    inside = f" in {spread.namespace}" if resource.kind == "ClusterPushSecret" else ""
    pusher = claimant(inventory, System.PUSH_SECRET, resource, f"{resource.label}{inside}")
    for store in _stores(inventory, stores, resource, spec, spread.namespace):
        for location, keys in _targets(store, stores, resource, spec).items():
            held = Keys(frozenset(), spread.doubt) if spread.doubt else keys
            for source in sources:
                yield Claim(pusher, location, held, source=source, create_only=create_only), resource


def _targets(store: Store, stores: Stores, resource: Resource, spec: Any) -> dict[Location, Keys]:
    """Each remote location with the keys that are written there."""
    names: dict[Location, set[str]] = defaultdict(set)
    whole: dict[Location, Unknown | None] = {}
    for entry in items(dig(spec, "data")):
        remote = part(
            dig(entry, "match", "remoteRef", "remoteKey"), f"spec.data[].match.remoteRef.remoteKey of {resource.label}"
        )
        location = store.remote(remote, stores.mounts)
        given = dig(entry, "match", "remoteRef", "property")
        if given is None:
            whole[location] = None
        elif isinstance(given, Unknown):
            whole[location] = given
        else:
            names[location].add(str(given))
    if items(dig(spec, "dataTo")):
        unknown = Unknown(f"the remote keys of spec.dataTo of {resource.label}: list them under spec.data")
        whole[store.remote(unknown, stores.mounts)] = None
    if isinstance(dig(spec, "data"), Unknown):
        unknown = Unknown(f"spec.data of {resource.label}")
        whole[store.remote(unknown, stores.mounts)] = None
    found = {location: Keys(frozenset(keys)) for location, keys in names.items()}
    for location, doubt in whole.items():
        found[location] = Keys(frozenset(names.get(location, ())), doubt) if doubt else Keys.all()
    return found


def _stores(inventory: Inventory, stores: Stores, resource: Resource, spec: Any, namespace: Part) -> Iterator[Store]:
    references = dig(spec, "secretStoreRefs")
    if isinstance(references, Unknown):
        yield Store("vault", references, references)
    for reference in items(references):
        selector = dig(reference, "labelSelector")
        if selector is None:
            yield stores.resolve(reference, resource, namespace)
            continue
        kind = dig(reference, "kind") or "SecretStore"
        for candidate in inventory.index.of(ESO, str(kind)):
            if kind == "SecretStore" and candidate.namespace != namespace:
                continue
            labels = mapping(candidate.get("metadata", "labels"))
            if all(labels.get(key) == value for key, value in mapping(dig(selector, "matchLabels")).items()):
                yield stores.resolve({"kind": kind, "name": candidate.metadata_name}, candidate)


def push_sources(
    inventory: Inventory, resource: Resource, spec: Any, namespace: Part
) -> Iterator[KubernetesSecret | None]:
    """The Secrets that are pushed. A generator is none: the value is born on its way to Vault."""
    secret = dig(spec, "selector", "secret")
    if secret is None:
        if isinstance(dig(spec, "selector"), Unknown):
            yield inventory.secret_location(resource, Unknown(f"spec.selector of {resource.label}"), namespace)
        return
    name = dig(secret, "name")
    if name is not None:
        yield inventory.secret_location(
            resource, part(name, f"spec.selector.secret.name of {resource.label}"), namespace
        )
        return
    wanted = mapping(dig(secret, "selector", "matchLabels"))
    for candidate in inventory.index.secrets:
        labels = mapping(candidate.get("metadata", "labels"))
        if candidate.namespace == namespace and all(labels.get(k) == v for k, v in wanted.items()):
            yield inventory.secret_location(candidate)
    for candidate in inventory.index.of(ESO, "ExternalSecret"):
        labels = mapping(candidate.get("spec", "target", "template", "metadata", "labels"))
        if candidate.namespace == namespace and wanted and all(labels.get(k) == v for k, v in wanted.items()):
            target = candidate.get("spec", "target", "name")
            yield inventory.secret_location(candidate, target if isinstance(target, str | Unknown) else None)
