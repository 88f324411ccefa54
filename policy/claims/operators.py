"""Other systems that make Secrets: Sealed Secrets, Vault Secrets Operator, Secrets Store CSI, mirrors.

Sealed Secrets: the Secret has the name and the namespace of its SealedSecret, whatever spec.template says. Vault
Secrets Operator v1beta1: spec.destination. Secrets Store CSI v1: spec.secretObjects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from policy.claims.namespaces import Spread, by_labels, parsed_selector
from policy.claims.origin import claimant
from policy.go_regex import fullmatch
from policy.inventory.inventory import Inventory
from policy.inventory.resource import Resource, dig, items, mapping, part
from policy.inventory.writers import Writer, joined, targets, writers_of
from secret_authority.core.claims.conflicts import Claim, System
from secret_authority.core.claims.locations import Keys, Location, Part, Unknown, VaultSecret

# With it the controller adds its keys to a Secret that is there, and leaves the others.
_PATCH = "sealedsecrets.bitnami.com/patch"
VSO = "secrets.hashicorp.com"
_VSO_KINDS = ("VaultStaticSecret", "VaultDynamicSecret", "VaultPKISecret", "HCPVaultSecretsApp")
_REFLECTOR = "reflector.v1.k8s.emberstack.com"
_KUBED = "kubed.appscode.com/sync"
# Annotations by which a controller copies a Secret to other namespaces: key -> does its value list the namespaces.
# Else it selects them by their labels.
MIRRORS = {
    f"{_REFLECTOR}/reflection-auto-namespaces": True,
    "replicator.v1.mittwald.de/replicate-to": True,
    "replicator.v1.mittwald.de/replicate-to-matching": False,
    _KUBED: False,
}
# Annotations with which a Secret names the one that a controller copies into it; the last one in a ResourceSet.
COPIES = (
    f"{_REFLECTOR}/reflects",
    "replicator.v1.mittwald.de/replicate-from",
    "fluxcd.controlplane.io/copyFrom",
)


# Where objects that make a Secret say which annotations it gets: External Secrets, cert-manager, Sealed Secrets, VSO.
_TEMPLATES = (
    ("target", "template", "metadata", "annotations"),
    ("secretTemplate", "annotations"),
    ("template", "metadata", "annotations"),
    ("destination", "annotations"),
)


def claims(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    yield from _sealed(inventory)
    yield from _vault_operator(inventory)
    yield from _csi(inventory)
    yield from _mirrors(inventory)
    yield from _writers(inventory)
    yield from _reflected(inventory)


def _sealed(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    for resource in inventory.index.of("bitnami.com", "SealedSecret"):
        location = inventory.secret_location(resource)
        keys = Keys.all()
        if str(resource.get("spec", "template", "metadata", "annotations", _PATCH)).lower() == "true":
            given = (resource.get("spec", "encryptedData"), resource.get("spec", "template", "data"))
            keys = Keys(frozenset(str(key) for field in given for key in mapping(field)))
        yield Claim(claimant(inventory, System.SEALED_SECRETS, resource), location, keys), resource


def _vault_operator(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    for resource in inventory.index.of(VSO, *_VSO_KINDS):
        destination = resource.get("spec", "destination")
        name = part(dig(destination, "name"), f"spec.destination.name of {resource.label}")
        mount = part(resource.get("spec", "mount"), f"spec.mount of {resource.label}")
        path = part(resource.get("spec", "path"), f"spec.path of {resource.label}")
        claim = Claim(
            claimant(inventory, System.VAULT_OPERATOR, resource),
            inventory.secret_location(resource, name),
            Keys.all(),
            source=VaultSecret(_server(inventory, resource), mount, path),
        )
        yield claim, resource


def _server(inventory: Inventory, resource: Resource) -> Part:
    """The server behind spec.vaultAuthRef -> VaultAuth -> VaultConnection, each by default named "default"."""
    auth = str(resource.get("spec", "vaultAuthRef") or "default").rpartition("/")[2]
    connection = "default"
    for candidate in inventory.index.of(VSO, "VaultAuth"):
        if candidate.metadata_name == auth:
            connection = str(candidate.get("spec", "vaultConnectionRef") or "default")
    for candidate in inventory.index.of(VSO, "VaultConnection"):
        if candidate.metadata_name == connection:
            cluster = inventory.identities.cluster(candidate)
            return inventory.identities.server(part(candidate.get("spec", "address"), "spec.address"), cluster)
    return Unknown(f"VaultConnection {connection}, which is not in sight")


def _csi(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    for resource in inventory.index.of("secrets-store.csi.x-k8s.io", "SecretProviderClass"):
        for entry in items(resource.get("spec", "secretObjects")):
            name = part(dig(entry, "secretName"), f"spec.secretObjects[].secretName of {resource.label}")
            names = frozenset(str(dig(data, "key")) for data in items(dig(entry, "data")))
            driver = claimant(inventory, System.SECRETS_STORE_CSI, resource)
            yield (
                Claim(driver, inventory.secret_location(resource, name), Keys(names) if names else Keys.all()),
                resource,
            )


def mirror_marks(resource: Resource) -> dict[str, str]:
    """The annotations on the Secret of a resource by which a controller copies it, with their values."""
    known = resource.derived
    if "mirror marks" not in known:
        known["mirror marks"] = _mirror_marks(resource)
    found: dict[str, str] = known["mirror marks"]
    return found


def _mirror_marks(resource: Resource) -> dict[str, str]:
    own = mapping(resource.get("metadata", "annotations")) if resource.is_a("", "Secret") else {}
    if resource.kind == "ExternalSecret" and not resource.get("spec", "target", "template"):
        # Without a template the Secret gets the annotations of its ExternalSecret.
        own = mapping(resource.get("metadata", "annotations"))
    marks = {**own}
    for path in _TEMPLATES:
        marks.update(mapping(resource.get("spec", *path)))
    if not marks:
        return {}
    enabled = str(marks.get(f"{_REFLECTOR}/reflection-auto-enabled", "")).lower()
    auto = f"{_REFLECTOR}/reflection-auto-namespaces"
    if enabled == "false":
        marks.pop(auto, None)
    elif enabled == "true" and not marks.get(auto):
        # Reflector copies to all namespaces that are allowed, by default to all.
        marks[auto] = marks.get(f"{_REFLECTOR}/reflection-allowed-namespaces") or ".*"
    # kubed copies to all namespaces where the value is empty.
    return {mark: str(marks[mark]) for mark in MIRRORS if marks.get(mark) or (mark == _KUBED and mark in marks)}


def _mirrors(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    """A mirror writes the whole copy; the copy has the name of the original."""
    index = inventory.index
    makers = [
        *index.secrets,
        *index.of("external-secrets.io", "ExternalSecret"),
        *index.of("cert-manager.io", "Certificate"),
        *index.of("bitnami.com", "SealedSecret"),
        *index.of(VSO, *_VSO_KINDS),
    ]
    for resource in makers:
        for annotation, value in mirror_marks(resource).items():
            by_name = MIRRORS[annotation]
            targets = _namespaces(value, inventory) if by_name else _selected(value, resource, inventory)
            name = None if resource.is_a("", "Secret") else _made_name(resource)
            source = inventory.secret_location(resource, name)
            mirror = claimant(inventory, System.MIRROR, resource)
            for spread in targets:
                if spread.namespace != resource.namespace:
                    location = inventory.secret_location(resource, name, spread.namespace)
                    keys = Keys(frozenset(), spread.doubt) if spread.doubt else Keys.all()
                    yield Claim(mirror, location, keys, source=source), resource


def _made_name(resource: Resource) -> Part:
    given = (
        resource.get("spec", "target", "name")
        or resource.get("spec", "secretName")
        or resource.get("spec", "destination", "name")
    )
    return part(given, f"the name of the Secret of {resource.label}") if given else resource.metadata_name


def _namespaces(value: str, inventory: Inventory) -> Iterator[Spread]:
    """Namespaces of a list; an entry that is a regular expression stands for the namespaces in use that fit it."""
    for name in filter(None, (entry.strip() for entry in value.split(","))):
        if re.fullmatch(r"[a-z0-9-]+", name):
            yield Spread(name)
        else:
            yield from (Spread(n) for n in inventory.namespaces_in_use if fullmatch(name, n))


def _selected(value: str, resource: Resource, inventory: Inventory) -> Iterator[Spread]:
    """Namespaces whose labels fit a selector in text, as kubectl takes it; kubed also has true and nothing for all."""
    selector = parsed_selector("" if value == "true" else value)
    if selector is not None:
        yield from by_labels(inventory, resource, [selector])


def _reflected(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    """A Secret that names the one which a controller copies into it."""
    for resource in inventory.index.secrets:
        for mark in COPIES:
            value = resource.mark("annotations", mark)
            if value:
                space, _, name = value.rpartition("/")
                source = inventory.secret_location(resource, name, space or None)
                writer = claimant(inventory, System.MIRROR, resource, f"the copy of Secret {value}")
                yield Claim(writer, inventory.secret_location(resource), Keys.all(), source=source), resource


def _writers(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    """What the controllers of the table in policy/inventory/writers.py write."""
    for resource in inventory.index.kubernetes:
        for writer in writers_of(resource):
            written = writer.written(resource.props)
            keys = Keys(written) if written is not None else Keys.all()
            by = claimant(inventory, System.OPERATOR, resource, shown=writer.project)
            given = _inputs(inventory, writer.input_label) if writer.input_label else frozenset()
            for given_name, namespace in targets(writer, resource):
                name = joined(_prefix(inventory, writer, resource), given_name) if writer.prefix else given_name
                location = inventory.secret_location(resource, name, namespace)
                if location not in given:
                    yield Claim(by, location, keys, create_only=bool(writer.asks)), resource


def _prefix(inventory: Inventory, writer: Writer, resource: Resource) -> Part:
    """What the names of Secrets begin with, as the object says that a label names."""
    kind, label, path = writer.prefix or ("", "", "")
    named = resource.mark("labels", label)
    for owner in inventory.index.of(writer.group, kind):
        if owner.metadata_name == named and owner.namespace == resource.namespace:
            found = owner.get(*path.split("."))
            return found if isinstance(found, str | Unknown) else ""
    return ""


def _inputs(inventory: Inventory, label: str) -> frozenset[Location]:
    """The Secrets of a tree or a stack from which a controller takes the values, by the label that it asks for."""
    return frozenset(inventory.secret_location(s) for s in inventory.index.secrets if s.mark("labels", label))
