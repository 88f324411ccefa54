"""PushSecret and ClusterPushSecret: what External Secrets writes into Vault.

External Secrets, PushSecret v1alpha1: updatePolicy Replace (default) or IfNotExists; the remote identity is the
store's mount plus remoteKey, and property when one key is meant. dataTo pushes many keys of the Secret: together under
its remoteKey, or each one under its own name, as match.regexp takes and rewrite changes it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from policy.claims.kubernetes import secret_keys
from policy.claims.namespaces import Spread, selected_namespaces
from policy.claims.origin import claimant
from policy.go_regex import replace_all, search
from policy.inventory.inventory import Inventory
from policy.inventory.resource import Resource, dig, items, mapping, part
from policy.inventory.secret_stores import ESO, Store, Stores
from secret_authority.core.claims.conflicts import Claim, System
from secret_authority.core.claims.locations import Keys, KubernetesSecret, Location, Part, Unknown

# A group in a replacement of Go: $1 or ${1}.
_GROUP = re.compile(r"\$\{?(\d+)\}?")


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
    pushed = _pushed_keys(inventory, sources) if items(dig(spec, "dataTo")) else None
    for named, store in _stores(inventory, stores, resource, spec, spread.namespace):
        for location, keys in _targets(store, stores, resource, spec, named, pushed).items():
            held = Keys(frozenset(), spread.doubt) if spread.doubt else keys
            for source in sources:
                yield Claim(pusher, location, held, source=source, create_only=create_only), resource


def _targets(
    store: Store, stores: Stores, resource: Resource, spec: Any, named: tuple[Any, Any], pushed: frozenset[str] | None
) -> dict[Location, Keys]:
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
    listed = {str(dig(entry, "match", "secretKey")) for entry in items(dig(spec, "data"))}
    for entry in items(dig(spec, "dataTo")):
        to = dig(entry, "storeRef", "name")
        if isinstance(to, str) and (str(dig(entry, "storeRef", "kind") or "SecretStore"), to) != named:
            continue
        for key in _remote_keys(entry, pushed - listed if pushed is not None else None, resource):
            whole[store.remote(key, stores.mounts)] = None
    if isinstance(dig(spec, "data"), Unknown):
        unknown = Unknown(f"spec.data of {resource.label}")
        whole[store.remote(unknown, stores.mounts)] = None
    found = {location: Keys(frozenset(keys)) for location, keys in names.items()}
    for location, doubt in whole.items():
        found[location] = Keys(frozenset(names.get(location, ())), doubt) if doubt else Keys.all()
    return found


def _remote_keys(entry: Any, pushed: frozenset[str] | None, resource: Resource) -> Iterator[Part]:
    """The remote keys that an entry of dataTo writes; `pushed` are the keys of the Secret, None where not known."""
    bundle = dig(entry, "remoteKey")
    if bundle is not None:
        yield part(bundle, f"spec.dataTo[].remoteKey of {resource.label}")
        return
    unknown = Unknown(f"the remote keys of spec.dataTo of {resource.label}: list them under spec.data")
    pattern = dig(entry, "match", "regexp")
    rewrites = [(dig(r, "regexp", "source"), dig(r, "regexp", "target")) for r in items(dig(entry, "rewrite"))]
    told = (pattern, *(text for rewrite in rewrites for text in rewrite))
    if pushed is None or any(text is not None and not isinstance(text, str) for text in told) or None in told[1:]:
        yield unknown
        return
    for name in sorted(pushed):
        if pattern and not search(pattern, name):
            continue
        key: str | None = name
        for source, target in rewrites:
            key = replace_all(source, _GROUP.sub(r"\\\1", target), key) if key is not None else None
        yield key if key is not None else unknown


def _pushed_keys(inventory: Inventory, sources: Sequence[KubernetesSecret | None]) -> frozenset[str] | None:
    """The keys of the Secrets that are pushed; None where they are not all in sight."""
    found: set[str] = set()
    for source in sources:
        keys = next((secret_keys(s) for s in inventory.index.secrets if inventory.secret_location(s) == source), None)
        if keys is None or keys.names is None or keys.unknown is not None:
            return None
        found |= keys.names
    return frozenset(found)


def _stores(
    inventory: Inventory, stores: Stores, resource: Resource, spec: Any, namespace: Part
) -> Iterator[tuple[tuple[Any, Any], Store]]:
    """The stores that are pushed to, each with its kind and its name."""
    references = dig(spec, "secretStoreRefs")
    if isinstance(references, Unknown):
        yield (None, None), Store("vault", references, references)
    for reference in items(references):
        selector = dig(reference, "labelSelector")
        if selector is None:
            named = (str(dig(reference, "kind") or "SecretStore"), dig(reference, "name"))
            yield named, stores.resolve(reference, resource, namespace)
            continue
        kind = dig(reference, "kind") or "SecretStore"
        for candidate in inventory.index.of(ESO, str(kind)):
            if kind == "SecretStore" and candidate.namespace != namespace:
                continue
            labels = mapping(candidate.get("metadata", "labels"))
            if all(labels.get(key) == value for key, value in mapping(dig(selector, "matchLabels")).items()):
                named = (str(kind), candidate.metadata_name)
                yield named, stores.resolve({"kind": kind, "name": candidate.metadata_name}, candidate)


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
        template = candidate.get("spec", "target", "template")
        # Without a template the Secret gets the labels of its ExternalSecret.
        labels = mapping(dig(template, "metadata", "labels") if template else candidate.get("metadata", "labels"))
        if candidate.namespace == namespace and wanted and all(labels.get(k) == v for k, v in wanted.items()):
            target = candidate.get("spec", "target", "name")
            yield inventory.secret_location(candidate, target if isinstance(target, str | Unknown) else None)
