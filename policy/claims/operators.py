"""Other systems that make Secrets: Sealed Secrets, Vault Secrets Operator, Secrets Store CSI, mirrors.

Sealed Secrets: spec.template names the Secret, which it owns. Vault Secrets Operator v1beta1:
spec.destination. Secrets Store CSI v1: spec.secretObjects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from policy.claims.origin import claimant
from policy.go_regex import fullmatch
from policy.inventory.inventory import Inventory
from policy.inventory.resource import Resource, dig, items, mapping, part
from policy.inventory.writers import targets, writers_of
from secret_authority.core.claims.conflicts import Claim, System
from secret_authority.core.claims.locations import Keys, Location, Part, Unknown, VaultSecret

VSO = "secrets.hashicorp.com"
_VSO_KINDS = ("VaultStaticSecret", "VaultDynamicSecret", "VaultPKISecret", "HCPVaultSecretsApp")
_REFLECTOR = "reflector.v1.k8s.emberstack.com"
# Annotations by which a controller copies a Secret to other namespaces: key -> is its value a list of namespaces.
MIRRORS = {
    f"{_REFLECTOR}/reflection-auto-namespaces": True,
    "replicator.v1.mittwald.de/replicate-to": True,
    "kubed.appscode.com/sync": False,
}
# Annotations with which a Secret names the one that a controller copies into it.
COPIES = (f"{_REFLECTOR}/reflects", "replicator.v1.mittwald.de/replicate-from")


def claims(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    yield from _sealed(inventory)
    yield from _vault_operator(inventory)
    yield from _csi(inventory)
    yield from _mirrors(inventory)
    yield from _writers(inventory)
    yield from _reflected(inventory)


def _sealed(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    for resource in inventory.index.of("bitnami.com", "SealedSecret"):
        template = resource.get("spec", "template", "metadata")
        name, space = dig(template, "name"), dig(template, "namespace")
        location = inventory.secret_location(resource, name, space)
        yield Claim(claimant(inventory, System.SEALED_SECRETS, resource), location, Keys.all()), resource


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
    marks = {
        **own,
        **mapping(resource.get("spec", "target", "template", "metadata", "annotations")),
        **mapping(resource.get("spec", "secretTemplate", "annotations")),
    }
    if not marks:
        return {}
    enabled = str(marks.get(f"{_REFLECTOR}/reflection-auto-enabled", "")).lower()
    auto = f"{_REFLECTOR}/reflection-auto-namespaces"
    if enabled == "false":
        marks.pop(auto, None)
    elif enabled == "true" and not marks.get(auto):
        # Reflector copies to all namespaces that are allowed, by default to all.
        marks[auto] = marks.get(f"{_REFLECTOR}/reflection-allowed-namespaces") or ".*"
    return {mark: str(marks[mark]) for mark in MIRRORS if marks.get(mark)}


def _mirrors(inventory: Inventory) -> Iterator[tuple[Claim, Resource]]:
    """A mirror writes the whole copy; the copy has the name of the original."""
    index = inventory.index
    makers = [
        *index.secrets,
        *index.of("external-secrets.io", "ExternalSecret"),
        *index.of("cert-manager.io", "Certificate"),
    ]
    for resource in makers:
        for annotation, value in mirror_marks(resource).items():
            targets = _namespaces(value, inventory) if MIRRORS[annotation] else inventory.namespaces_in_use
            name = None if resource.is_a("", "Secret") else _made_name(resource)
            source = inventory.secret_location(resource, name)
            mirror = claimant(inventory, System.MIRROR, resource)
            for target in targets:
                if target != resource.namespace:
                    yield (
                        Claim(mirror, inventory.secret_location(resource, name, target), Keys.all(), source=source),
                        resource,
                    )


def _made_name(resource: Resource) -> Part:
    given = resource.get("spec", "target", "name") or resource.get("spec", "secretName")
    return part(given, f"the name of the Secret of {resource.label}") if given else resource.metadata_name


def _namespaces(value: str, inventory: Inventory) -> Iterator[str]:
    """Namespaces of a list; an entry that is a regular expression stands for the namespaces in use that fit it."""
    for name in filter(None, (entry.strip() for entry in value.split(","))):
        if re.fullmatch(r"[a-z0-9-]+", name):
            yield name
        else:
            yield from (n for n in inventory.namespaces_in_use if fullmatch(name, n))


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
            keys = Keys(writer.keys) if writer.keys is not None else Keys.all()
            by = claimant(inventory, System.OPERATOR, resource, shown=writer.project)
            given = _inputs(inventory, writer.input_label) if writer.input_label else frozenset()
            for name, namespace in targets(writer, resource):
                location = inventory.secret_location(resource, name, namespace)
                if location not in given:
                    yield Claim(by, location, keys, create_only=bool(writer.asks)), resource


def _inputs(inventory: Inventory, label: str) -> frozenset[Location]:
    """The Secrets of a tree or a stack from which a controller takes the values, by the label that it asks for."""
    return frozenset(inventory.secret_location(s) for s in inventory.index.secrets if s.mark("labels", label))
